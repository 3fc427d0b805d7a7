//! The agent's configuration after defaults, files, flags and validation.
//!
//! Each field states its meaning to the agent and the key that sets it. Default, bounds and effect
//! of a key, and whether a reload changes it, are stated once: in the table of keys (`source.rs`).
//! INVARIANT: which fields a reload may change is decided in `reload.rs`, which names every field.

mod cluster;
mod telemetry;
mod tls;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use lictor_api::types::{
    agent::{CheckDefinition, ServiceDefinition},
    connect::BuiltinCaConfig,
};

pub use cluster::{
    AutoEncrypt, Autopilot, Gossip, GossipKey, InvalidGossipKey, Join, JoinPool, Performance,
    Queries, Raft, Snapshots,
};
pub use telemetry::{PrefixFilter, Telemetry};
pub use tls::{MinVersion, Tls, TlsProtocol};

/// All settings of an agent.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Name in catalog, DNS and pools. `key: node_name`
    pub node_name: String,
    /// UUID; `None` takes the one in the data directory. `key: node_id`
    pub node_id: Option<String>,
    /// Meta of the node. `key: node_meta`
    pub node_meta: BTreeMap<String, String>,
    /// The agent's datacenter, in lower case. `key: datacenter`
    pub datacenter: String,
    /// DNS domain without dots at its ends, in lower case. `key: domain`
    pub domain: String,
    /// Second DNS domain in the same form, or empty. `key: alt_domain`
    pub alt_domain: String,
    /// Whether this agent is a server. `key: server`
    pub server: bool,
    /// Whether all state is in memory only, with defaults for development. Flag `-dev`
    pub dev: bool,
    /// Servers that must have joined before the first election; 1 elects at once, 0 bootstraps no
    /// cluster. `key: bootstrap_expect, bootstrap`
    pub bootstrap_expect: u32,
    /// Datacenter whose certificates and intentions apply to all. `key: primary_datacenter`
    pub primary_datacenter: String,
    /// Directory for state; `None` with `-dev`. `key: data_dir`
    pub data_dir: Option<PathBuf>,
    /// Address of server RPC and gossip. `key: bind_addr`
    pub bind_addr: IpAddr,
    /// Address that other agents reach this agent at. `key: advertise_addr`
    pub advertise_addr: IpAddr,
    /// Address that other datacenters reach this agent at. `key: advertise_addr_wan`
    pub advertise_addr_wan: IpAddr,
    /// Extra tagged addresses. `key: tagged_addresses`
    pub tagged_addresses: BTreeMap<String, String>,
    /// Where each protocol listens. `key: addresses, ports, client_addr`
    pub listen: Listen,
    /// Port of server RPC. `key: ports.server`
    pub server_port: u16,
    /// Address that LAN gossip listens on. `key: serf_lan`
    pub serf_lan_bind: IpAddr,
    /// Port of LAN gossip. `key: ports.serf_lan`
    pub serf_lan_port: u16,
    /// Address that WAN gossip listens on. `key: serf_wan`
    pub serf_wan_bind: IpAddr,
    /// Port of WAN gossip; 0 when it is off, as it always is on clients. `key: ports.serf_wan`
    pub serf_wan_port: u16,
    /// Members to join. `key: retry_join` and the keys beside it
    pub join: Join,
    /// Encryption and timeouts of gossip. `key: encrypt` and the keys beside it
    pub gossip: Gossip,
    /// Timing of elections, RPC holds and leaves. `key: performance`
    pub performance: Performance,
    /// Snapshots of the Raft log. `key: raft_*`
    pub raft: Raft,
    /// Initial autopilot configuration of a new cluster. `key: autopilot`
    pub autopilot: Autopilot,
    /// Scheduled snapshots; `None` takes none. `key: snapshot`
    pub snapshots: Option<Snapshots>,
    /// Wait times of blocking queries. `key: default_query_time, max_query_time`
    pub queries: Queries,
    /// Shortest TTL of a session. `key: session_ttl_min`
    pub session_ttl_min: Duration,
    /// Whether results about another datacenter have WAN addresses.
    /// `key: translate_wan_addrs`
    pub translate_wan_addrs: bool,
    /// Ports for sidecars registered without one; empty gives them none.
    /// `key: ports.sidecar_min_port, ports.sidecar_max_port`
    pub sidecar_ports: std::ops::RangeInclusive<u16>,
    /// How DNS answers. `key: dns_config, recursors`
    pub dns: Dns,
    /// Services declared in files. `key: service, services`
    pub services: Vec<ServiceDefinition>,
    /// Checks declared in files. `key: check, checks`
    pub checks: Vec<CheckDefinition>,
    /// Whether script checks from files may run. `key: enable_local_script_checks`
    pub enable_local_script_checks: bool,
    /// Whether script checks from the HTTP API may run, too. `key: enable_script_checks`
    pub enable_remote_script_checks: bool,
    /// How long the sync of a change of a check's output alone may be deferred.
    /// `key: check_update_interval`
    pub check_update_interval: Duration,
    /// The mesh. `key: connect, default_intention_policy`
    pub connect: Connect,
    /// TLS of server RPC, HTTPS and gRPC. `key: tls` and older spellings
    pub tls: Tls,
    /// Certificates of client agents from the servers. `key: auto_encrypt`
    pub auto_encrypt: AutoEncrypt,
    /// The servers' Kubernetes cluster, if they run in one. `key: kubernetes`
    pub kubernetes: Option<Kubernetes>,
    /// Log output. `key: log_level, log_json`
    pub log: Log,
    /// Bounds on what clients may use. `key: limits`
    pub limits: Limits,
    /// Metrics and where they are sent. `key: telemetry`
    pub telemetry: Telemetry,
    /// Whether JSON responses are indented. Flag `-dev`
    pub pretty_json: bool,
    /// Whether SIGTERM leaves the cluster. `key: leave_on_terminate`
    pub leave_on_terminate: bool,
    /// Whether SIGINT only stops the agent. `key: skip_leave_on_interrupt`
    pub skip_leave_on_interrupt: bool,
    /// Whether debug endpoints are served. `key: enable_debug`
    pub enable_debug: bool,
    /// Whether the web UI is served. `key: ui_config.enabled`
    pub ui_enabled: bool,
    /// Files and directories that a reload reads again, in order.
    pub sources: Vec<PathBuf>,
    /// Warnings for the operator, logged at start: deprecated keys and the like.
    pub warnings: Vec<String>,
}

/// Listening addresses; an empty list means that the protocol is off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listen {
    /// HTTP: TCP addresses. `key: addresses.http, ports.http`
    pub http: Vec<SocketAddr>,
    /// HTTP: Unix sockets (`unix:///path`).
    pub http_unix: Vec<PathBuf>,
    /// HTTPS. `key: addresses.https, ports.https`
    pub https: Vec<SocketAddr>,
    /// gRPC. `key: addresses.grpc, ports.grpc`
    pub grpc: Vec<SocketAddr>,
    /// gRPC over TLS. `key: addresses.grpc_tls, ports.grpc_tls`
    pub grpc_tls: Vec<SocketAddr>,
    /// DNS, UDP and TCP. `key: addresses.dns, ports.dns`
    pub dns: Vec<SocketAddr>,
}

/// How DNS answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// TTL of answers about nodes. `key: dns_config.node_ttl`
    pub node_ttl: Duration,
    /// TTL of answers about services, by name, `prefix*` or `*`. `key: dns_config.service_ttl`
    pub service_ttl: BTreeMap<String, Duration>,
    /// Whether instances with warnings are left out. `key: dns_config.only_passing`
    pub only_passing: bool,
    /// Whether trimmed answers have the TC bit. `key: dns_config.enable_truncate`
    pub enable_truncate: bool,
    /// Instances in an answer over UDP without EDNS. `key: dns_config.udp_answer_limit`
    pub udp_answer_limit: usize,
    /// A and AAAA records per answer; 0 is no limit. `key: dns_config.a_record_limit`
    pub a_record_limit: usize,
    /// Whether names are never compressed. `key: dns_config.disable_compression`
    pub disable_compression: bool,
    /// Whether answers about nodes carry their meta as TXT.
    /// `key: dns_config.enable_additional_node_meta_txt`
    pub node_meta_txt: bool,
    /// SOA fields. `key: dns_config.soa`
    pub soa: Soa,
    /// Servers that queries for other domains are forwarded to. `key: recursors`
    pub recursors: Vec<SocketAddr>,
    /// Timeout of one recursor. `key: dns_config.recursor_timeout`
    pub recursor_timeout: Duration,
    /// Whether recursors are tried in random order. `key: dns_config.recursor_strategy`
    pub recursor_random: bool,
}

/// Fields of SOA records, in seconds. `key: dns_config.soa`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soa {
    /// Refresh interval of secondary servers.
    pub refresh: u32,
    /// Their retry interval.
    pub retry: u32,
    /// When their copy expires.
    pub expire: u32,
    /// TTL of negative answers.
    pub min_ttl: u32,
}

/// The mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct Connect {
    /// Whether the mesh is enabled. `key: connect.enabled`
    pub enabled: bool,
    /// Initial settings of the built-in authority. `key: connect.ca_config`
    pub ca: BuiltinCaConfig,
    /// Whether connections that no intention matches are allowed. `key: default_intention_policy`
    pub default_allow: bool,
}

/// The Kubernetes cluster that the servers run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// Audience of sidecars' and the operator's tokens. `key: kubernetes.audience`
    pub audience: String,
    /// The servers' namespace. `key: kubernetes.namespace`
    pub namespace: String,
    /// ConfigMap in that namespace to which the servers write the roots.
    /// `key: kubernetes.roots_config_map`
    pub roots_config_map: String,
    /// `namespace/name` of the operator's ServiceAccount. `key: kubernetes.operator_service_account`
    pub operator_service_account: String,
}

/// Log output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `trace`, `debug`, `info`, `warn` or `error`. `key: log_level`
    pub level: String,
    /// Whether lines are JSON instead of text. `key: log_json`
    pub json: bool,
}

/// The largest `limits.kv_max_value_size`: what fits into a request that agents forward.
pub const MAX_KV_VALUE_BYTES: usize = 63 << 20;

/// Bounds on what clients may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections to HTTP and HTTPS per client address; 0 is no limit.
    /// `key: limits.http_max_conns_per_client`
    pub http_max_conns_per_client: usize,
    /// Largest KV value and body of a transaction. `key: limits.kv_max_value_size`
    pub kv_max_value_bytes: usize,
    /// Timeout of a TLS handshake of HTTPS; [`Duration::MAX`] is no limit.
    /// `key: limits.https_handshake_timeout`
    pub https_handshake_timeout: Duration,
    /// Timeout of a TLS handshake of server RPC; [`Duration::MAX`] is no limit.
    /// `key: limits.rpc_handshake_timeout`
    pub rpc_handshake_timeout: Duration,
    /// Connections to server RPC per agent's address; 0 is no limit.
    /// `key: limits.rpc_max_conns_per_client`
    pub rpc_max_conns_per_client: usize,
    /// Rate at which a client agent forwards requests of the HTTP API; `None` is no limit.
    /// `key: limits.rpc_rate, limits.rpc_max_burst`
    pub rpc_rate: Option<Rate>,
}

/// Rate of a token bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens added per second.
    pub per_second: f64,
    /// Tokens the bucket holds.
    pub burst: f64,
}
