//! Validation of registrations: a definition is checked and every default is filled in, so that
//! the agent compares, persists and runs definitions that are complete.
//!
//! Pure. Source: Consul's "Register Service" and "Register Check" pages of the agent HTTP API.
//! A name that DNS cannot carry is accepted with a warning, as Consul does.

use std::{collections::BTreeMap, time::Duration};

use lictor_api::{
    CheckId, GoDuration, NodeName, ServiceId,
    types::{
        agent::{CheckDefinition, ServiceDefinition},
        catalog::{NodeService, ServiceConnect, ServiceKind, Weights},
        health::{CheckStatus, HealthCheck},
    },
};

use super::error::RegistrationError;

/// The most bytes of output that are kept of a check.
pub const MAX_OUTPUT_BYTES: u32 = 4096;
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MIN_DEREGISTER_AFTER: Duration = Duration::from_secs(60);
const MAX_META_PAIRS: usize = 64;
const MAX_META_KEY_BYTES: usize = 128;
const MAX_META_VALUE_BYTES: usize = 512;

/// Where a definition came from: files and the HTTP API own different definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A configuration file; a reload replaces it.
    File,
    /// The HTTP API; persisted in the data directory, untouched by a reload.
    Http,
}

/// Which script checks are permitted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScriptPolicy {
    /// Those from configuration files.
    pub local: bool,
    /// Those from the HTTP API and from configuration files.
    pub remote: bool,
}

impl ScriptPolicy {
    fn vet(self, check: &CheckDefinition, source: Source) -> Result<(), RegistrationError> {
        match source {
            _ if check.args.is_empty() || self.remote => Ok(()),
            Source::File if self.local => Ok(()),
            Source::Http if self.local => Err(RegistrationError::RemoteScriptsDisabled),
            _ => Err(RegistrationError::ScriptsDisabled),
        }
    }
}

/// Validates a service definition and fills in its defaults. Its checks move to `checks` with IDs
/// and names; a sidecar stays in `connect.sidecar_service` for [`super::sidecar::expand`].
///
/// # Errors
/// [`RegistrationError`] names the first invalid field.
pub fn service(
    mut definition: ServiceDefinition,
    source: Source,
    scripts: ScriptPolicy,
) -> Result<ServiceDefinition, RegistrationError> {
    if definition.name.is_empty() {
        return Err(RegistrationError::MissingServiceName);
    }
    if matches!(definition.address.as_str(), "0.0.0.0" | "::" | "[::]") {
        return Err(RegistrationError::InvalidServiceAddress);
    }
    if definition.id.is_empty() {
        definition.id = ServiceId::from(&*definition.name);
    }
    let weights = *definition.weights.get_or_insert_default();
    validate_weights(weights)?;
    validate_meta(&definition.meta)?;
    validate_kind(&definition)?;
    warn_of_dns(&definition);
    let mut checks: Vec<_> = definition.check.take().into_iter().collect();
    checks.append(&mut definition.checks);
    let alone = checks.len() == 1;
    for (number, check) in checks.into_iter().enumerate() {
        let default_id = match alone {
            true => format!("service:{}", definition.id),
            false => format!("service:{}:{}", definition.id, number + 1),
        };
        let default_name = format!("Service '{}' check", definition.name);
        let check = CheckDefinition { service_id: definition.id.clone(), ..check };
        definition.checks.push(complete(check, default_id, default_name, source, scripts)?);
    }
    Ok(definition)
}

/// Validates a check that is registered by itself and fills in its defaults.
///
/// # Errors
/// [`RegistrationError`] names the first invalid field.
pub fn check(
    definition: CheckDefinition,
    source: Source,
    scripts: ScriptPolicy,
) -> Result<CheckDefinition, RegistrationError> {
    if definition.name.is_empty() {
        return Err(RegistrationError::MissingCheckName);
    }
    let id = definition.name.clone();
    complete(definition, id, String::new(), source, scripts)
}

/// Returns the catalog instance of a complete definition.
pub fn node_service(definition: &ServiceDefinition) -> NodeService {
    NodeService {
        kind: definition.kind,
        id: definition.id.clone(),
        service: definition.name.clone(),
        tags: definition.tags.clone(),
        address: definition.address.clone(),
        tagged_addresses: definition.tagged_addresses.clone(),
        meta: definition.meta.clone(),
        port: definition.port,
        socket_path: definition.socket_path.clone(),
        weights: definition.weights.unwrap_or_default(),
        enable_tag_override: definition.enable_tag_override,
        proxy: definition.proxy.clone().unwrap_or_default(),
        connect: ServiceConnect { native: is_native(definition) },
        ..NodeService::default()
    }
}

/// Returns the catalog check of a complete definition, before its first result.
pub fn health_check(
    definition: &CheckDefinition,
    node: &NodeName,
    service: Option<&NodeService>,
) -> HealthCheck {
    HealthCheck {
        node: node.clone(),
        check_id: definition.id.clone(),
        name: definition.name.clone(),
        status: definition.status.parse().unwrap_or(CheckStatus::Critical),
        notes: definition.notes.clone(),
        service_id: definition.service_id.clone(),
        service_name: service.map(|service| service.service.clone()).unwrap_or_default(),
        service_tags: service.map(|service| service.tags.clone()).unwrap_or_default(),
        check_type: check_type(definition).to_owned(),
        interval: definition.interval.to_string(),
        timeout: definition.timeout.to_string(),
        ..HealthCheck::default()
    }
}

/// Returns Consul's name for the type of a check.
pub fn check_type(definition: &CheckDefinition) -> &'static str {
    match definition {
        check if !check.args.is_empty() => "script",
        check if !check.http.is_empty() => "http",
        check if !check.tcp.is_empty() => "tcp",
        check if !check.udp.is_empty() => "udp",
        check if !check.grpc.is_empty() => "grpc",
        check if is_alias(check) => "alias",
        _ => "ttl",
    }
}

fn is_alias(check: &CheckDefinition) -> bool {
    !check.alias_service.is_empty() || !check.alias_node.is_empty()
}

fn is_native(definition: &ServiceDefinition) -> bool {
    definition.connect.as_ref().is_some_and(|connect| connect.native)
}

fn complete(
    mut check: CheckDefinition,
    default_id: String,
    default_name: String,
    source: Source,
    scripts: ScriptPolicy,
) -> Result<CheckDefinition, RegistrationError> {
    if check.id.is_empty() {
        check.id = CheckId::from(default_id);
    }
    if check.name.is_empty() {
        check.name = default_name;
    }
    let script = std::mem::take(&mut check.script);
    if !script.is_empty() && check.args.is_empty() {
        check.args = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    }
    if !check.status.is_empty() && check.status.parse::<CheckStatus>().is_err() {
        return Err(RegistrationError::BadCheckStatus);
    }
    validate_check(&check).map_err(RegistrationError::InvalidCheck)?;
    scripts.vet(&check, source)?;
    raise(&mut check.interval, MIN_INTERVAL, "interval", &check.id);
    let after = &mut check.deregister_critical_service_after;
    raise(after, MIN_DEREGISTER_AFTER, "deregister_critical_service_after", &check.id);
    check.output_max_size = match check.output_max_size {
        0 => MAX_OUTPUT_BYTES,
        size => size.min(MAX_OUTPUT_BYTES),
    };
    Ok(check)
}

/// Raises a duration to its minimum. COMPAT: Consul does not reject one that is too short.
fn raise(duration: &mut GoDuration, minimum: Duration, key: &str, check: &CheckId) {
    if !duration.is_zero() && duration.0 < minimum {
        tracing::warn!(target: "agent", %check, key, given = %duration, "check has a time below minimum, raised it");
        *duration = GoDuration(minimum);
    }
}

fn validate_check(check: &CheckDefinition) -> Result<(), &'static str> {
    let kinds = [&check.http, &check.tcp, &check.udp, &check.grpc];
    let kinds =
        kinds.iter().filter(|text| !text.is_empty()).count() + usize::from(!check.args.is_empty());
    let (runs, alias) = (kinds > 0, is_alias(check));
    let (interval, ttl) = (!check.interval.is_zero(), !check.ttl.is_zero());
    let rules = [
        (interval && ttl, "Interval and TTL cannot both be specified"),
        (kinds > 1, "Only one of Script, HTTP, TCP, UDP or gRPC can be specified"),
        (runs && ttl, "TTL cannot be set for checks that the agent runs"),
        (
            runs && !interval,
            "Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks",
        ),
        ((runs || interval) && alias, "Interval cannot be set for Alias checks"),
        (ttl && alias, "TTL must be not be set for Alias checks"),
        (!runs && !alias && !ttl, "TTL must be > 0 for TTL checks"),
        (!check.grpc.is_empty(), "gRPC checks are not supported by this version"),
        (
            check.failures_before_critical > 0
                && check.failures_before_warning > check.failures_before_critical,
            "FailuresBeforeWarning can't be higher than FailuresBeforeCritical",
        ),
    ];
    match rules.iter().find(|(broken, _)| *broken) {
        Some((_, text)) => Err(text),
        None => Ok(()),
    }
}

fn validate_weights(weights: Weights) -> Result<(), RegistrationError> {
    if weights.passing < 1 {
        return Err(RegistrationError::InvalidWeights("Passing must be greater than 0"));
    }
    if weights.passing > 65535 || weights.warning > 65535 {
        return Err(RegistrationError::InvalidWeights("DNS Weight must be between 0 and 65535"));
    }
    Ok(())
}

fn validate_meta(meta: &BTreeMap<String, String>) -> Result<(), RegistrationError> {
    if meta.len() > MAX_META_PAIRS {
        return Err(RegistrationError::InvalidMeta(format!(
            "Node metadata cannot contain more than {MAX_META_PAIRS} key/value pairs"
        )));
    }
    for (key, value) in meta {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let problem = if key.is_empty() {
            "Key cannot be blank".to_owned()
        } else if !key.chars().all(plain) {
            "Key contains invalid characters".to_owned()
        } else if key.len() > MAX_META_KEY_BYTES {
            format!("Key is too long (limit: {MAX_META_KEY_BYTES} characters)")
        } else if key.starts_with("consul-") {
            "Key prefix 'consul-' is reserved for internal use".to_owned()
        } else if value.len() > MAX_META_VALUE_BYTES {
            format!("Value is too long (limit: {MAX_META_VALUE_BYTES} characters)")
        } else {
            continue;
        };
        return Err(RegistrationError::InvalidMeta(format!(
            "Couldn't load metadata pair ('{key}', '{value}'): {problem}"
        )));
    }
    Ok(())
}

fn validate_kind(definition: &ServiceDefinition) -> Result<(), RegistrationError> {
    let connect = definition.connect.as_ref();
    let has_sidecar = connect.is_some_and(|connect| connect.sidecar_service.is_some());
    let is_proxy = definition.kind == ServiceKind::ConnectProxy;
    let destination = definition.proxy.as_ref().map_or("", |proxy| &proxy.destination_service_name);
    let rules = [
        (
            is_proxy && destination.trim().is_empty(),
            "Proxy.DestinationServiceName must be non-empty for Connect proxy services",
        ),
        (
            is_proxy && definition.port == 0 && definition.socket_path.is_empty(),
            "Port or SocketPath must be set for a Connect proxy",
        ),
        (
            is_proxy && is_native(definition),
            "A Proxy cannot also be Connect Native, only typical services",
        ),
        (is_proxy && has_sidecar, "A Proxy cannot also have a sidecar_service"),
        (
            definition.port != 0 && !definition.socket_path.is_empty(),
            "Cannot specify both port and socket path",
        ),
    ];
    match rules.into_iter().find(|(broken, _)| *broken) {
        Some((_, text)) => Err(RegistrationError::Contradiction(text)),
        None => Ok(()),
    }
}

fn warn_of_dns(definition: &ServiceDefinition) {
    let label = |text: &str| {
        text.len() <= 63 && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    let name = &definition.name;
    if !label(name) {
        tracing::warn!(target: "agent", service = %name, "Service name will not be discoverable via DNS due to invalid characters or length. Valid characters include all alpha-numerics and dashes.");
    }
    for tag in definition.tags.iter().filter(|tag| !label(tag)) {
        tracing::debug!(target: "agent", service = %name, tag, "Service tag will not be discoverable via DNS due to invalid characters or length. Valid characters include all alpha-numerics and dashes.");
    }
}
