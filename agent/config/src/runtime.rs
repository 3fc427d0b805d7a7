//! The agent's configuration after defaults, files, flags and validation.
//!
//! Each field says its meaning, unit, default, its key in configuration files (`key:`), and
//! whether a reload changes it.

mod cluster;
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
pub use tls::{MinVersion, Tls, TlsProtocol};

/// Everything an agent needs to know to run.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Name in catalog, DNS and pools; the host name by default. `key: node_name`
    pub node_name: String,
    /// UUID; kept in the data directory when not given. `key: node_id`
    pub node_id: Option<String>,
    /// Node meta. `key: node_meta`, reloadable
    pub node_meta: BTreeMap<String, String>,
    /// `dc1` by default. `key: datacenter`
    pub datacenter: String,
    /// DNS domain without dots at its ends, lower case; `consul` by default. `key: domain`
    pub domain: String,
    /// A second DNS domain, or empty. `key: alt_domain`
    pub alt_domain: String,
    /// Whether this agent is a server. `key: server`
    pub server: bool,
    /// Everything in memory, defaults for trying out. Flag `-dev`
    pub dev: bool,
    /// Servers to wait for before the first election; 1 elects at once, and 0 never starts a cluster
    /// but joins one. Without meaning once there is data. `key: bootstrap_expect, bootstrap`
    pub bootstrap_expect: u32,
    /// The datacenter that decides about certificates and intentions; this one by default.
    /// `key: primary_datacenter`
    pub primary_datacenter: String,
    /// Where state is kept; `None` with `-dev`. `key: data_dir`
    pub data_dir: Option<PathBuf>,
    /// Address of server RPC and gossip. `key: bind_addr`
    pub bind_addr: IpAddr,
    /// Address that others reach this agent under. `key: advertise_addr`
    pub advertise_addr: IpAddr,
    /// The same over the WAN. `key: advertise_addr_wan`
    pub advertise_addr_wan: IpAddr,
    /// Extra tagged addresses. `key: tagged_addresses`
    pub tagged_addresses: BTreeMap<String, String>,
    /// Where to listen.
    pub listen: Listen,
    /// Port of server RPC; 8300. `key: ports.server`
    pub server_port: u16,
    /// Where LAN gossip listens; `bind_addr` by default. `key: serf_lan`
    pub serf_lan_bind: IpAddr,
    /// Port of LAN gossip; 8301. `key: ports.serf_lan`
    pub serf_lan_port: u16,
    /// Where WAN gossip listens; `bind_addr` by default. `key: serf_wan`
    pub serf_wan_bind: IpAddr,
    /// Port of WAN gossip; 8302, and 0 when it is off (-1), as it always is on clients.
    /// `key: ports.serf_wan`
    pub serf_wan_port: u16,
    /// Whom to join. `key: retry_join` and what goes with it
    pub join: Join,
    /// Encryption and patience of gossip. `key: encrypt` and what goes with it
    pub gossip: Gossip,
    /// Timing of elections, holds and leaves. `key: performance`
    pub performance: Performance,
    /// The Raft log. `key: raft_*`
    pub raft: Raft,
    /// The first autopilot configuration of a new cluster. `key: autopilot`
    pub autopilot: Autopilot,
    /// Scheduled snapshots; `None` makes none. `key: snapshot`
    pub snapshots: Option<Snapshots>,
    /// How long blocking queries wait. `key: default_query_time, max_query_time`
    pub queries: Queries,
    /// Shortest TTL of a session; 10 s. `key: session_ttl_min`
    pub session_ttl_min: Duration,
    /// Answer with WAN addresses where another datacenter is asked about; false.
    /// `key: translate_wan_addrs`
    pub translate_wan_addrs: bool,
    /// Ports for sidecars registered without one; 21000 to 21255. `key: ports.sidecar_min_port`
    pub sidecar_ports: std::ops::RangeInclusive<u16>,
    /// DNS answers. `key: dns_config`, reloadable
    pub dns: Dns,
    /// Services declared in files. `key: service(s)`, reloadable
    pub services: Vec<ServiceDefinition>,
    /// Checks declared in files. `key: check(s)`, reloadable
    pub checks: Vec<CheckDefinition>,
    /// Script checks from files may run. `key: enable_local_script_checks`
    pub enable_local_script_checks: bool,
    /// Script checks from the HTTP API may run too. `key: enable_script_checks`
    pub enable_remote_script_checks: bool,
    /// How long a change of a check's output alone may wait for its sync; 5 m.
    /// `key: check_update_interval`, reloadable
    pub check_update_interval: Duration,
    /// Mesh certificates. `key: connect`
    pub connect: Connect,
    /// TLS of server RPC, HTTPS and gRPC. `key: tls`, certificate files reloadable
    pub tls: Tls,
    /// Certificates of client agents from the servers. `key: auto_encrypt`
    pub auto_encrypt: AutoEncrypt,
    /// Set when the servers run in Kubernetes. `key: kubernetes`
    pub kubernetes: Option<Kubernetes>,
    /// Log lines. `key: log_level, log_json`, the level reloadable
    pub log: Log,
    /// Bounds on clients. `key: limits`
    pub limits: Limits,
    /// JSON answers are indented (`-dev`).
    pub pretty_json: bool,
    /// SIGTERM leaves the cluster; true for clients. `key: leave_on_terminate`
    pub leave_on_terminate: bool,
    /// SIGINT does not leave the cluster; true for servers. `key: skip_leave_on_interrupt`
    pub skip_leave_on_interrupt: bool,
    /// Debug endpoints. `key: enable_debug`
    pub enable_debug: bool,
    /// The web UI. `key: ui_config.enabled`
    pub ui_enabled: bool,
    /// Files and directories to read again at a reload, in order.
    pub sources: Vec<PathBuf>,
    /// What to tell the operator at start: deprecated keys and the like.
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
    /// TTL of node answers; 0. `key: dns_config.node_ttl`
    pub node_ttl: Duration,
    /// TTL of service answers by name, `prefix*` or `*`; 0. `key: dns_config.service_ttl`
    pub service_ttl: BTreeMap<String, Duration>,
    /// Leave out instances with warnings; false. `key: dns_config.only_passing`
    pub only_passing: bool,
    /// Set the TC bit on trimmed answers; false. `key: dns_config.enable_truncate`
    pub enable_truncate: bool,
    /// Answers over UDP without EDNS; 3. `key: dns_config.udp_answer_limit`
    pub udp_answer_limit: usize,
    /// A and AAAA records per answer; 0 is no limit. `key: dns_config.a_record_limit`
    pub a_record_limit: usize,
    /// Never compress names. `key: dns_config.disable_compression`
    pub disable_compression: bool,
    /// Add node meta as TXT to node answers; true. `key: dns_config.enable_additional_node_meta_txt`
    pub node_meta_txt: bool,
    /// SOA fields. `key: dns_config.soa`
    pub soa: Soa,
    /// Where other names are looked up. `key: recursors`
    pub recursors: Vec<SocketAddr>,
    /// Time for one recursor; 2 s. `key: dns_config.recursor_timeout`
    pub recursor_timeout: Duration,
    /// Try recursors in random order. `key: dns_config.recursor_strategy`
    pub recursor_random: bool,
}

/// SOA timers, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soa {
    /// 3600.
    pub refresh: u32,
    /// 600.
    pub retry: u32,
    /// 86400.
    pub expire: u32,
    /// 0.
    pub min_ttl: u32,
}

/// The mesh.
#[derive(Debug, Clone)]
pub struct Connect {
    /// Whether there is a mesh; true for servers. `key: connect.enabled`
    pub enabled: bool,
    /// The built-in authority. `key: connect.ca_config`
    pub ca: BuiltinCaConfig,
    /// What holds where no intention matches; allow by default. `key: default_intention_policy`
    pub default_allow: bool,
}

/// The Kubernetes cluster that the servers run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// Audience of sidecars' and the operator's tokens; `lictor`. `key: kubernetes.audience`
    pub audience: String,
    /// The servers' namespace. `key: kubernetes.namespace`
    pub namespace: String,
    /// ConfigMap in that namespace that the servers write the roots to; `lictor-roots`.
    /// `key: kubernetes.roots_config_map`
    pub roots_config_map: String,
    /// `namespace/name` of the operator's ServiceAccount. `key: kubernetes.operator_service_account`
    pub operator_service_account: String,
}

/// Log output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// JSON lines instead of text.
    pub json: bool,
}

/// Bounds on what clients may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections per client address; 200. `key: limits.http_max_conns_per_client`
    pub http_max_conns_per_client: usize,
    /// Bytes in a KV value; 524288. `key: limits.kv_max_value_size`
    pub kv_max_value_bytes: usize,
    /// Time for a TLS handshake; 5 s, and 0 is no limit. `key: limits.https_handshake_timeout`
    pub https_handshake_timeout: Duration,
    /// The same on the server RPC port. `key: limits.rpc_handshake_timeout`
    pub rpc_handshake_timeout: Duration,
    /// Connections per agent's address on the server RPC port; 100, and 0 is no limit.
    /// `key: limits.rpc_max_conns_per_client`
    pub rpc_max_conns_per_client: usize,
    /// How fast a client agent passes requests of the HTTP API on; no limit by default. Its own
    /// registrations, DNS and what it answers from views are not counted.
    /// `key: limits.rpc_rate, limits.rpc_max_burst`, reloadable
    pub rpc_rate: Option<Rate>,
}

/// So many per second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Per second.
    pub per_second: f64,
    /// At once; 1000.
    pub burst: f64,
}
