//! The flags of `agent`: each overrides the key of the same meaning in the configuration files.

use std::path::PathBuf;

use anyhow::Context;
use lictor_api::GoDuration;
use lictor_config::{
    Source,
    source::{Ports, Secret},
};

/// Flags of `agent`.
#[derive(Clone, clap::Args)]
pub(super) struct Flags {
    /// Run a server with everything in memory, for trying out
    #[arg(long)]
    pub(super) dev: bool,
    /// Run as a server
    #[arg(long)]
    server: Option<bool>,
    /// Elect a leader at once
    #[arg(long)]
    bootstrap: Option<bool>,
    /// Servers to wait for before the first election
    #[arg(long, allow_hyphen_values = true)]
    bootstrap_expect: Option<i32>,
    /// Directory for state
    #[arg(long)]
    data_dir: Option<String>,
    /// File to read; may be given several times, merged in order
    #[arg(long)]
    pub(super) config_file: Vec<PathBuf>,
    /// Directory whose *.json files are read; may be given several times
    #[arg(long)]
    pub(super) config_dir: Vec<PathBuf>,
    /// Format of configuration files: json
    #[arg(long, value_parser = ["json"])]
    config_format: Option<String>,
    /// Name of this node; the host name by default
    #[arg(long)]
    node: Option<String>,
    /// UUID of this node; kept in the data directory when not given
    #[arg(long)]
    node_id: Option<String>,
    /// Node meta as key:value; may be given several times
    #[arg(long)]
    node_meta: Vec<String>,
    /// Accepted: node IDs are random
    #[arg(long)]
    disable_host_node_id: Option<bool>,
    /// Datacenter; dc1 by default
    #[arg(long)]
    datacenter: Option<String>,
    /// DNS domain; consul by default
    #[arg(long)]
    domain: Option<String>,
    /// Second DNS domain
    #[arg(long)]
    alt_domain: Option<String>,
    /// Address for server RPC and gossip
    #[arg(long)]
    bind: Option<String>,
    /// Address for HTTP, DNS and gRPC; 127.0.0.1 by default
    #[arg(long)]
    client: Option<String>,
    /// Address under which other agents reach this one
    #[arg(long)]
    advertise: Option<String>,
    /// The same over the WAN
    #[arg(long)]
    advertise_wan: Option<String>,
    /// Address for LAN gossip; that of -bind by default
    #[arg(long)]
    serf_lan_bind: Option<String>,
    /// Address for WAN gossip; that of -bind by default
    #[arg(long)]
    serf_wan_bind: Option<String>,
    /// Agent to join, retried until it succeeds; may be given several times
    #[arg(long)]
    retry_join: Vec<String>,
    /// Older spelling of -retry-join
    #[arg(long)]
    join: Vec<String>,
    /// Pause between attempts to join; 30s by default
    #[arg(long)]
    retry_interval: Option<GoDuration>,
    /// Attempts to join before the agent ends; 0 is no limit
    #[arg(long, allow_hyphen_values = true)]
    retry_max: Option<i64>,
    /// Server of another datacenter to join; may be given several times
    #[arg(long)]
    retry_join_wan: Vec<String>,
    /// Older spelling of -retry-join-wan
    #[arg(long)]
    join_wan: Vec<String>,
    /// Pause between attempts to join over the WAN
    #[arg(long)]
    retry_interval_wan: Option<GoDuration>,
    /// Attempts to join over the WAN before the agent ends
    #[arg(long, allow_hyphen_values = true)]
    retry_max_wan: Option<i64>,
    /// Join again after a leave
    #[arg(long)]
    rejoin: Option<bool>,
    /// Key of gossip in base64, as 'lictor keygen' prints it
    #[arg(long)]
    encrypt: Option<String>,
    /// Keep gossip keys in memory only
    #[arg(long)]
    disable_keyring_file: Option<bool>,
    /// Port of HTTP; -1 turns it off
    #[arg(long, allow_hyphen_values = true)]
    http_port: Option<i32>,
    /// Port of HTTPS
    #[arg(long, allow_hyphen_values = true)]
    https_port: Option<i32>,
    /// Port of gRPC
    #[arg(long, allow_hyphen_values = true)]
    grpc_port: Option<i32>,
    /// Port of gRPC over TLS
    #[arg(long, allow_hyphen_values = true)]
    grpc_tls_port: Option<i32>,
    /// Port of DNS
    #[arg(long, allow_hyphen_values = true)]
    dns_port: Option<i32>,
    /// Port of server RPC
    #[arg(long, allow_hyphen_values = true)]
    server_port: Option<i32>,
    /// Port of LAN gossip
    #[arg(long, allow_hyphen_values = true)]
    serf_lan_port: Option<i32>,
    /// Port of WAN gossip; -1 turns it off
    #[arg(long, allow_hyphen_values = true)]
    serf_wan_port: Option<i32>,
    /// Accepted: there is one version of the protocol
    #[arg(long, allow_hyphen_values = true)]
    protocol: Option<String>,
    /// Accepted: there is one version of the Raft protocol
    #[arg(long, allow_hyphen_values = true)]
    raft_protocol: Option<String>,
    /// Accepted: there is one segment
    #[arg(long)]
    segment: Option<String>,
    /// How long blocking queries wait by default; 5m
    #[arg(long)]
    default_query_time: Option<GoDuration>,
    /// How long blocking queries wait at most; 10m by default
    #[arg(long)]
    max_query_time: Option<GoDuration>,
    /// Datacenter that is authoritative for certificates and intentions
    #[arg(long)]
    primary_datacenter: Option<String>,
    /// Resolver for other domains; may be given several times
    #[arg(long)]
    recursor: Vec<String>,
    /// Let script checks from files run
    #[arg(long)]
    enable_local_script_checks: Option<bool>,
    /// Let script checks from files and from the HTTP API run
    #[arg(long)]
    enable_script_checks: Option<bool>,
    /// Decision where no intention matches: allow or deny
    #[arg(long)]
    default_intention_policy: Option<String>,
    /// trace, debug, info, warn or error
    #[arg(long)]
    log_level: Option<String>,
    /// Log JSON lines
    #[arg(long)]
    log_json: Option<bool>,
    /// Serve the web UI
    #[arg(long)]
    ui: Option<bool>,
    /// Older flag; the web UI is built in
    #[arg(long)]
    ui_dir: Option<String>,
    /// A configuration fragment as JSON; may be given several times
    #[arg(long)]
    pub(super) hcl: Vec<String>,
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest may hold secrets.
        f.debug_struct("Flags").field("dev", &self.dev).finish_non_exhaustive()
    }
}

impl Flags {
    /// Returns the flags as configuration keys.
    ///
    /// # Errors
    /// A `-node-meta` that is not `key:value`.
    pub(super) fn source(&self) -> anyhow::Result<Source> {
        let flags = self.clone();
        let mut source = Source {
            server: flags.server,
            bootstrap: flags.bootstrap,
            bootstrap_expect: flags.bootstrap_expect,
            data_dir: flags.data_dir,
            node_name: flags.node,
            node_id: flags.node_id,
            disable_host_node_id: flags.disable_host_node_id,
            datacenter: flags.datacenter,
            primary_datacenter: flags.primary_datacenter,
            domain: flags.domain,
            alt_domain: flags.alt_domain,
            bind_addr: flags.bind,
            client_addr: flags.client,
            advertise_addr: flags.advertise,
            advertise_addr_wan: flags.advertise_wan,
            serf_lan: flags.serf_lan_bind,
            serf_wan: flags.serf_wan_bind,
            retry_join: flags.retry_join,
            start_join: flags.join,
            retry_interval: flags.retry_interval,
            retry_max: flags.retry_max,
            retry_join_wan: flags.retry_join_wan,
            start_join_wan: flags.join_wan,
            retry_interval_wan: flags.retry_interval_wan,
            retry_max_wan: flags.retry_max_wan,
            rejoin_after_leave: flags.rejoin,
            encrypt: flags.encrypt.map(Secret::new),
            disable_keyring_file: flags.disable_keyring_file,
            default_query_time: flags.default_query_time,
            max_query_time: flags.max_query_time,
            recursors: flags.recursor,
            enable_local_script_checks: flags.enable_local_script_checks,
            enable_script_checks: flags.enable_script_checks,
            default_intention_policy: flags.default_intention_policy,
            log_level: flags.log_level,
            log_json: flags.log_json,
            ui: flags.ui,
            ui_dir: flags.ui_dir,
            ..Source::default()
        };
        for pair in &flags.node_meta {
            let (key, value) = pair
                .split_once(':')
                .with_context(|| format!("-node-meta {pair:?} is not key:value"))?;
            source.node_meta.insert(key.to_owned(), value.to_owned());
        }
        source.ports = Ports {
            http: flags.http_port,
            https: flags.https_port,
            grpc: flags.grpc_port,
            grpc_tls: flags.grpc_tls_port,
            dns: flags.dns_port,
            server: flags.server_port,
            serf_lan: flags.serf_lan_port,
            serf_wan: flags.serf_wan_port,
            ..Ports::default()
        };
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::go_flags::tests::parse;

    fn source(words: &[&str]) -> anyhow::Result<Source> {
        parse::<Flags>(words)?.source()
    }

    #[test]
    fn join_flags_set_the_same_as_the_keys() {
        let source = source(&[
            "-join",
            "node1",
            "-retry-join=10.0.0.2",
            "--retry-join",
            "10.0.0.3:8301",
            "-retry-interval",
            "5s",
            "-retry-max=3",
            "-join-wan=far",
            "-rejoin",
            "-serf-wan-port=-1",
            "-raft-protocol",
            "3",
            "-segment",
            "",
            "-encrypt",
            "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=",
        ])
        .unwrap();
        let flags = lictor_config::files::overlay(
            Source { retry_join: vec!["a".into()], ..Source::default() },
            source,
        );
        let config = lictor_config::build(flags, true, Vec::new()).unwrap();
        assert_eq!(config.join.lan.targets, ["a", "10.0.0.2", "10.0.0.3:8301", "node1"]);
        assert_eq!((config.join.lan.interval.as_secs(), config.join.lan.max), (5, 3));
        assert_eq!(config.join.wan.targets, ["far"]);
        assert!(config.join.rejoin_after_leave);
        assert_eq!(config.serf_wan_port, 0);
        assert_eq!(config.gossip.encrypt.unwrap().expose().len(), 32);
    }

    #[test]
    fn an_invalid_duration_is_refused_with_the_name_of_its_flag() {
        let error = source(&["-retry-interval", "soon"]).unwrap_err().to_string();
        assert!(error.contains("soon") && error.contains("retry-interval"), "{error}");
    }
}
