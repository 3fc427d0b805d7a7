//! Builds the runtime configuration from the source: defaults, older spellings, validation.

mod addresses;
mod bootstrap;
mod cluster;
mod dns;
mod limits;
mod mesh;
mod telemetry;
mod tls;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use lictor_api::contract::{DEFAULT_DATACENTER, DEFAULT_DOMAIN};
use lictor_api::types::session::MIN_TTL;

use super::{
    runtime::{self, Log, RuntimeConfig},
    source::{self, Source},
};

/// Why a configuration is rejected; names the key and its value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value out of bounds or of the wrong form.
    #[error("{key} {problem}")]
    Invalid {
        /// The key as written in files.
        key: String,
        /// The problem, with the value.
        problem: String,
    },
    /// `data_dir` is required unless `-dev`.
    #[error("data_dir cannot be empty")]
    DataDir,
    /// The machine has several addresses to choose from.
    #[error(
        "Multiple private IPv4 addresses found. Please configure one with 'bind' and/or 'advertise'."
    )]
    ManyPrivateAddresses,
    /// The machine has no private address to advertise.
    #[error("No private IPv4 address found. Please configure one with 'bind' and/or 'advertise'.")]
    NoPrivateAddress,
    /// Keys that exclude each other; Consul's error text, which names them.
    #[error("{0}")]
    Conflict(String),
}

impl ConfigError {
    fn invalid(key: &str, problem: impl Into<String>) -> Self {
        Self::Invalid { key: key.to_owned(), problem: problem.into() }
    }
}

/// Validates files of a configuration. COMPAT: a fragment is valid on its own, so required keys
/// that it lacks get a value; the role is the one that the files set.
///
/// # Errors
/// [`ConfigError`] names the first key that is rejected.
pub fn validate(mut source: Source, sources: Vec<PathBuf>) -> Result<RuntimeConfig, ConfigError> {
    source.data_dir.get_or_insert_with(|| ".".to_owned());
    if source.bind_addr.is_none() && source.advertise_addr.is_none() {
        source.bind_addr = Some("127.0.0.1".to_owned());
    }
    build(source, false, sources)
}

/// Builds the runtime configuration. `dev` replaces the defaults by Consul's for development.
///
/// # Errors
/// [`ConfigError`] names the first key that is rejected.
pub fn build(
    source: Source,
    dev: bool,
    sources: Vec<PathBuf>,
) -> Result<RuntimeConfig, ConfigError> {
    let mut warnings = warnings(&source);
    let server = source.server.unwrap_or(dev);
    let bootstrap_expect = bootstrap::expect(&source, server, dev, &mut warnings)?;
    let data_dir = source.data_dir.as_deref().filter(|dir| !dir.is_empty()).map(PathBuf::from);
    if data_dir.is_none() && !dev {
        return Err(ConfigError::DataDir);
    }
    let bind_addr = addresses::ip("bind_addr", source.bind_addr.as_deref(), dev)?;
    let advertised = addresses::advertised(&source, bind_addr)?;
    let datacenter = datacenter("datacenter", source.datacenter.as_deref(), DEFAULT_DATACENTER)?;
    let auto_encrypt = tls::auto_encrypt(&source.auto_encrypt, server)?;
    Ok(RuntimeConfig {
        node_name: node_name(source.node_name.clone())?,
        node_id: source.node_id.clone(),
        node_meta: node_meta(source.node_meta.clone())?,
        primary_datacenter: self::datacenter(
            "primary_datacenter",
            source.primary_datacenter.as_deref().filter(|name| !name.is_empty()),
            &datacenter,
        )?,
        datacenter,
        domain: domain("domain", source.domain.as_deref().unwrap_or(DEFAULT_DOMAIN))?,
        alt_domain: domain("alt_domain", source.alt_domain.as_deref().unwrap_or_default())?,
        server,
        dev,
        bootstrap_expect,
        snapshots: cluster::snapshots(source.snapshot.as_ref(), data_dir.as_deref())?,
        data_dir: if dev { None } else { data_dir },
        bind_addr,
        advertise_addr: advertised.lan,
        advertise_addr_wan: advertised.wan,
        tagged_addresses: source.tagged_addresses.clone(),
        listen: addresses::listen(&source, server, dev)?,
        server_port: addresses::needed_port("ports.server", source.ports.server, 8300)?,
        serf_lan_bind: cluster::pool_address("serf_lan", source.serf_lan.as_deref(), bind_addr)?,
        serf_lan_port: addresses::needed_port("ports.serf_lan", source.ports.serf_lan, 8301)?,
        serf_wan_bind: cluster::pool_address("serf_wan", source.serf_wan.as_deref(), bind_addr)?,
        serf_wan_port: cluster::wan_port(source.ports.serf_wan, server)?,
        join: cluster::join(&source)?,
        gossip: cluster::gossip(&source, dev, &mut warnings)?,
        performance: cluster::performance(&source.performance)?,
        raft: cluster::raft(&source)?,
        autopilot: cluster::autopilot(&source.autopilot)?,
        queries: cluster::queries(&source)?,
        session_ttl_min: source.session_ttl_min.map_or(MIN_TTL, |d| d.0),
        translate_wan_addrs: source.translate_wan_addrs.unwrap_or(false),
        sidecar_ports: addresses::sidecar_ports(&source.ports)?,
        dns: dns::build(&source)?,
        enable_local_script_checks: source.enable_local_script_checks.unwrap_or(false)
            || source.enable_script_checks.unwrap_or(false),
        enable_remote_script_checks: source.enable_script_checks.unwrap_or(false),
        check_update_interval: source
            .check_update_interval
            .map_or(Duration::from_secs(300), |d| d.0),
        connect: mesh::connect(&source, &auto_encrypt)?,
        tls: tls::build(&source, &auto_encrypt)?,
        auto_encrypt,
        kubernetes: mesh::kubernetes(source.kubernetes.as_ref())?,
        log: log(&source, dev)?,
        limits: limits::build(&source.limits)?,
        telemetry: telemetry::build(&source.telemetry, &mut warnings)?,
        pretty_json: dev,
        leave_on_terminate: source.leave_on_terminate.unwrap_or(!server),
        skip_leave_on_interrupt: source.skip_leave_on_interrupt.unwrap_or(server),
        enable_debug: source.enable_debug.unwrap_or(dev),
        ui_enabled: source.ui_config.enabled.or(source.ui).unwrap_or(dev),
        services: source.services,
        checks: source.checks,
        sources,
        warnings,
    })
}

/// Returns warnings about keys that are ignored or deprecated.
fn warnings(source: &Source) -> Vec<String> {
    let mut warnings: Vec<String> = source
        .without_effect()
        .into_iter()
        .map(|key| format!("the configuration key {key:?} is accepted but has no effect yet"))
        .collect();
    for (key, flag, list) in [
        ("start_join", "-join", &source.start_join),
        ("start_join_wan", "-join-wan", &source.start_join_wan),
    ] {
        if !list.is_empty() {
            let successor = key.replace("start", "retry");
            warnings.push(format!("the key {key:?} ({flag}) is deprecated; use {successor:?}"));
        }
    }
    if source.disable_host_node_id == Some(false) {
        warnings
            .push("\"disable_host_node_id\" is false: node IDs are random all the same".to_owned());
    }
    for (key, set) in [("ui", source.ui.is_some()), ("ui_dir", source.ui_dir.is_some())] {
        if set {
            warnings.push(format!("the key {key:?} is deprecated; use \"ui_config.enabled\""));
        }
    }
    warnings
}

/// Returns the given name, or the host's.
fn node_name(given: Option<String>) -> Result<String, ConfigError> {
    let name = match given {
        Some(name) => name,
        None => {
            nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).ok_or_else(
                || ConfigError::invalid("node_name", "is not set and the host has no name"),
            )?
        }
    };
    if name.trim().is_empty() {
        return Err(ConfigError::invalid("node_name", "cannot be empty"));
    }
    Ok(name)
}

/// Checks the bounds of node meta: 64 pairs, keys of 128 and values of 512 bytes, `consul-` is
/// reserved.
fn node_meta(meta: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ConfigError> {
    let invalid = |problem: String| Err(ConfigError::invalid("node_meta", problem));
    if meta.len() > 64 {
        return invalid(format!("has {} pairs; at most 64 are allowed", meta.len()));
    }
    for (key, value) in &meta {
        if key.is_empty() || key.len() > 128 {
            return invalid(format!("key {key:?} must have 1 to 128 bytes"));
        }
        if value.len() > 512 {
            return invalid(format!(
                "value of {key:?} has {} bytes; at most 512 are allowed",
                value.len()
            ));
        }
        if key.starts_with("consul-") {
            return invalid(format!("key {key:?} begins with the reserved prefix 'consul-'"));
        }
    }
    Ok(meta)
}

fn datacenter(key: &str, given: Option<&str>, default: &str) -> Result<String, ConfigError> {
    let name = given.unwrap_or(default).to_ascii_lowercase();
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(valid) {
        return Err(ConfigError::invalid(
            key,
            format!("{name:?} can only contain lowercase alphanumeric, - or _ characters."),
        ));
    }
    Ok(name)
}

/// Returns the domain in lower case without dots at its ends.
fn domain(key: &str, text: &str) -> Result<String, ConfigError> {
    let name = text.trim_matches('.').to_ascii_lowercase();
    let valid = |label: &str| !label.is_empty() && label.len() <= 63;
    if !name.is_empty() && !name.split('.').all(valid) {
        return Err(ConfigError::invalid(key, format!("{text:?} is not a DNS domain")));
    }
    Ok(name)
}

fn log(source: &Source, dev: bool) -> Result<Log, ConfigError> {
    let default = if dev { "debug" } else { "info" };
    let written = source.log_level.as_deref().unwrap_or(default);
    let level = match written.to_ascii_lowercase().as_str() {
        "err" | "error" => "error",
        "warn" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" => "trace",
        _ => {
            return Err(ConfigError::invalid(
                "log_level",
                format!("{written:?} is none of trace, debug, info, warn, error"),
            ));
        }
    };
    Ok(Log { level: level.to_owned(), json: source.log_json.unwrap_or(false) })
}

/// Returns whether an address is private: RFC 1918, RFC 6598 or, for IPv6, unique local.
fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests;
