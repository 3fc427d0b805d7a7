//! What can be written: every key of configuration files and flags, all of them optional.
//!
//! Key names are Consul's ("Agent configuration file reference"). Case and underscores do not
//! matter on input. Keys under "accepted" are read so that existing files start, and have no
//! effect yet; the builder says so in a warning when one is set.

use std::{collections::BTreeMap, fmt};

use lictor_api::{
    GoDuration,
    types::{
        agent::{CheckDefinition, ServiceDefinition},
        connect::BuiltinCaConfig,
    },
    wire::one_or_many,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    };
}

mod cluster;
mod tls;

pub use cluster::{AutoEncryptSource, AutopilotSource, PerformanceSource, SnapshotSource};
pub use tls::{TlsFiles, TlsSource};

section! {
    /// One configuration file, the flags, or all of them merged.
    Source {
        /// Name of this agent.
        node_name: Option<String>,
        /// UUID of this agent.
        node_id: Option<String>,
        /// Node meta.
        node_meta: BTreeMap<String, String>,
        /// Datacenter.
        datacenter: Option<String>,
        /// DNS domain.
        domain: Option<String>,
        /// Second DNS domain.
        alt_domain: Option<String>,
        /// Server or client.
        server: Option<bool>,
        /// Elect at once.
        bootstrap: Option<bool>,
        /// Servers to wait for.
        bootstrap_expect: Option<i32>,
        /// The datacenter that decides for all.
        primary_datacenter: Option<String>,
        /// Where state is kept.
        data_dir: Option<String>,
        /// Address of server RPC and gossip.
        bind_addr: Option<String>,
        /// Address of HTTP, DNS and gRPC; several separated by blanks.
        client_addr: Option<String>,
        /// Address that others use.
        advertise_addr: Option<String>,
        /// The same, IPv4.
        advertise_addr_ipv4: Option<String>,
        /// The same, IPv6.
        advertise_addr_ipv6: Option<String>,
        /// The same over the WAN.
        advertise_addr_wan: Option<String>,
        /// The same over the WAN, IPv4.
        advertise_addr_wan_ipv4: Option<String>,
        /// The same over the WAN, IPv6.
        advertise_addr_wan_ipv6: Option<String>,
        /// Address of LAN gossip.
        serf_lan: Option<String>,
        /// Address of WAN gossip.
        serf_wan: Option<String>,
        /// Extra tagged addresses.
        tagged_addresses: BTreeMap<String, String>,
        /// Listening addresses by protocol.
        addresses: Addresses,
        /// Ports by protocol.
        ports: Ports,
        /// DNS answers.
        dns_config: DnsConfig,
        /// Upstream resolvers.
        recursors: Vec<String>,
        /// One service.
        service: Option<ServiceDefinition>,
        /// Services.
        services: Vec<ServiceDefinition>,
        /// One check.
        check: Option<CheckDefinition>,
        /// Checks.
        checks: Vec<CheckDefinition>,
        /// Script checks from files.
        enable_local_script_checks: Option<bool>,
        /// Script checks from anywhere.
        enable_script_checks: Option<bool>,
        /// How long output-only changes wait.
        check_update_interval: Option<GoDuration>,
        /// The mesh.
        connect: ConnectSource,
        /// `allow` or `deny`.
        default_intention_policy: Option<String>,
        /// TLS.
        tls: TlsSource,
        /// PEM; older spelling of `tls.defaults.cert_file`.
        cert_file: Option<String>,
        /// PEM; older spelling of `tls.defaults.key_file`.
        key_file: Option<String>,
        /// PEM; older spelling of `tls.defaults.ca_file`.
        ca_file: Option<String>,
        /// Directory of PEM files; older spelling of `tls.defaults.ca_path`.
        ca_path: Option<String>,
        /// Older spelling of `tls.defaults.verify_incoming`.
        verify_incoming: Option<bool>,
        /// Older spelling of `tls.https.verify_incoming`.
        verify_incoming_https: Option<bool>,
        /// Older spelling of `tls.internal_rpc.verify_incoming`.
        verify_incoming_rpc: Option<bool>,
        /// Older spelling of `tls.defaults.verify_outgoing`.
        verify_outgoing: Option<bool>,
        /// Older spelling of `tls.internal_rpc.verify_server_hostname`.
        verify_server_hostname: Option<bool>,
        /// Older spelling of `tls.defaults.tls_min_version`.
        tls_min_version: Option<String>,
        /// Client agents' certificates from the servers.
        auto_encrypt: AutoEncryptSource,
        /// The Kubernetes cluster the servers run in.
        kubernetes: Option<KubernetesSource>,
        /// `trace` to `error`.
        log_level: Option<String>,
        /// JSON lines.
        log_json: Option<bool>,
        /// Bounds on clients.
        limits: LimitsSource,
        /// SIGTERM leaves.
        leave_on_terminate: Option<bool>,
        /// SIGINT does not leave.
        skip_leave_on_interrupt: Option<bool>,
        /// Debug endpoints.
        enable_debug: Option<bool>,
        /// The web UI.
        ui_config: UiSource,
        /// Older spelling of `ui_config.enabled`.
        ui: Option<bool>,
        /// Older spelling of a UI directory; the UI is built in.
        ui_dir: Option<String>,
        /// Agents to join, tried until they answer.
        #[serde(deserialize_with = "one_or_many")]
        retry_join: Vec<String>,
        /// Older spelling of `retry_join`.
        #[serde(deserialize_with = "one_or_many")]
        start_join: Vec<String>,
        /// Servers of other datacenters to join.
        #[serde(deserialize_with = "one_or_many")]
        retry_join_wan: Vec<String>,
        /// Older spelling of `retry_join_wan`.
        #[serde(deserialize_with = "one_or_many")]
        start_join_wan: Vec<String>,
        /// Pause between attempts.
        retry_interval: Option<GoDuration>,
        /// The same over the WAN.
        retry_interval_wan: Option<GoDuration>,
        /// Attempts before the agent gives up; 0 is no limit.
        retry_max: Option<i64>,
        /// The same over the WAN.
        retry_max_wan: Option<i64>,
        /// Join again after a leave.
        rejoin_after_leave: Option<bool>,
        /// Key of gossip, base64.
        encrypt: Option<Secret>,
        /// Refuse gossip in plain text.
        encrypt_verify_incoming: Option<bool>,
        /// Send no gossip in plain text.
        encrypt_verify_outgoing: Option<bool>,
        /// Keep gossip keys in memory only.
        disable_keyring_file: Option<bool>,
        /// How long failed agents are called.
        reconnect_timeout: Option<GoDuration>,
        /// The same over the WAN.
        reconnect_timeout_wan: Option<GoDuration>,
        /// A server that was away longer does not start.
        server_rejoin_age_max: Option<GoDuration>,
        /// Timing.
        performance: PerformanceSource,
        /// Duties towards other servers.
        autopilot: AutopilotSource,
        /// Entries between snapshots.
        raft_snapshot_threshold: Option<i64>,
        /// Time between snapshots.
        raft_snapshot_interval: Option<GoDuration>,
        /// Entries kept behind a snapshot.
        raft_trailing_logs: Option<i64>,
        /// Scheduled snapshots.
        snapshot: Option<SnapshotSource>,
        /// Shortest TTL of a session.
        session_ttl_min: Option<GoDuration>,
        /// How long blocking queries wait when they do not say.
        default_query_time: Option<GoDuration>,
        /// How long blocking queries wait at most.
        max_query_time: Option<GoDuration>,
        /// Answer with WAN addresses to other datacenters.
        translate_wan_addrs: Option<bool>,
        /// False derives the node ID from the machine; ours never is.
        disable_host_node_id: Option<bool>,
        /// Accepted: each of these keys is read and has no effect yet.
        acl: Option<Value>,
        /// Accepted.
        audit: Option<Value>,
        /// Accepted.
        auto_config: Option<Value>,
        /// Accepted.
        cloud: Option<Value>,
        /// Accepted.
        config_entries: Option<Value>,
        /// Accepted.
        disable_remote_exec: Option<Value>,
        /// Accepted.
        disable_update_check: Option<Value>,
        /// Accepted.
        discard_check_output: Option<Value>,
        /// Accepted: pools are protected by the gossip key.
        serf_lan_allowed_cidrs: Option<Value>,
        /// Accepted.
        serf_wan_allowed_cidrs: Option<Value>,
        /// Accepted.
        experiments: Option<Value>,
        /// Accepted.
        http_config: Option<Value>,
        /// Accepted.
        locality: Option<Value>,
        /// Accepted.
        log_file: Option<Value>,
        /// Accepted.
        peering: Option<Value>,
        /// Accepted.
        pid_file: Option<Value>,
        /// Accepted.
        protocol: Option<Value>,
        /// Accepted.
        raft_logstore: Option<Value>,
        /// Accepted.
        raft_protocol: Option<Value>,
        /// Accepted.
        segment: Option<Value>,
        /// Accepted.
        segments: Option<Value>,
        /// Accepted.
        telemetry: Option<Value>,
        /// COMPAT: the Go test harness writes it.
        version: Option<Value>,
        /// Accepted.
        watches: Option<Value>,
    }
}

section! {
    /// `addresses`: one or more per protocol, separated by blanks; `unix://` for HTTP.
    Addresses {
        /// DNS.
        dns: Option<String>,
        /// HTTP.
        http: Option<String>,
        /// HTTPS.
        https: Option<String>,
        /// gRPC.
        grpc: Option<String>,
        /// gRPC over TLS.
        grpc_tls: Option<String>,
    }
}

section! {
    /// `ports`: 0 or less turns a protocol off.
    Ports {
        /// DNS.
        dns: Option<i32>,
        /// HTTP.
        http: Option<i32>,
        /// HTTPS.
        https: Option<i32>,
        /// gRPC.
        grpc: Option<i32>,
        /// gRPC over TLS.
        grpc_tls: Option<i32>,
        /// LAN gossip.
        serf_lan: Option<i32>,
        /// WAN gossip.
        serf_wan: Option<i32>,
        /// Server RPC.
        server: Option<i32>,
        /// First port of sidecars.
        sidecar_min_port: Option<i32>,
        /// Last port of sidecars.
        sidecar_max_port: Option<i32>,
        /// Accepted.
        expose_min_port: Option<i32>,
        /// Accepted.
        expose_max_port: Option<i32>,
    }
}

section! {
    /// `dns_config`.
    DnsConfig {
        /// TTL of node answers.
        node_ttl: Option<GoDuration>,
        /// TTL of service answers by name or pattern.
        service_ttl: BTreeMap<String, GoDuration>,
        /// Leave out instances with warnings.
        only_passing: Option<bool>,
        /// Set TC on trimmed answers.
        enable_truncate: Option<bool>,
        /// Answers over UDP without EDNS.
        udp_answer_limit: Option<usize>,
        /// A and AAAA records per answer.
        a_record_limit: Option<usize>,
        /// Never compress names.
        disable_compression: Option<bool>,
        /// Node meta as TXT.
        enable_additional_node_meta_txt: Option<bool>,
        /// SOA timers.
        soa: SoaSource,
        /// Time for one recursor.
        recursor_timeout: Option<GoDuration>,
        /// `sequential` or `random`.
        recursor_strategy: Option<String>,
        /// Accepted: answers always come from this server's state.
        allow_stale: Option<Value>,
        /// Accepted.
        max_stale: Option<Value>,
        /// Accepted.
        use_cache: Option<Value>,
        /// Accepted.
        cache_max_age: Option<Value>,
        /// Accepted.
        prefer_namespace: Option<Value>,
    }
}

section! {
    /// `dns_config.soa`, seconds.
    SoaSource {
        /// Refresh.
        refresh: Option<u32>,
        /// Retry.
        retry: Option<u32>,
        /// Expire.
        expire: Option<u32>,
        /// Negative TTL.
        min_ttl: Option<u32>,
    }
}

section! {
    /// `connect`.
    ConnectSource {
        /// Whether there is a mesh.
        enabled: Option<bool>,
        /// `consul`.
        ca_provider: Option<String>,
        /// Settings of the built-in authority.
        ca_config: Option<BuiltinCaConfig>,
        /// Accepted.
        enable_mesh_gateway_wan_federation: Option<Value>,
        /// Accepted.
        enable_serverless_plugin: Option<Value>,
    }
}

section! {
    /// `kubernetes`.
    KubernetesSource {
        /// Whether the block counts.
        enabled: Option<bool>,
        /// Audience of tokens.
        audience: Option<String>,
        /// The servers' namespace.
        namespace: Option<String>,
        /// ConfigMap of the roots.
        roots_config_map: Option<String>,
        /// `namespace/name`.
        operator_service_account: Option<String>,
    }
}

section! {
    /// `limits`.
    LimitsSource {
        /// Connections per client address.
        http_max_conns_per_client: Option<usize>,
        /// Bytes in a KV value.
        kv_max_value_size: Option<usize>,
        /// Time for a TLS handshake.
        https_handshake_timeout: Option<GoDuration>,
        /// Time for a TLS handshake on the server RPC port.
        rpc_handshake_timeout: Option<GoDuration>,
        /// Connections per agent's address on the server RPC port.
        rpc_max_conns_per_client: Option<usize>,
        /// Requests that a client agent passes on per second; negative is no limit.
        rpc_rate: Option<f64>,
        /// Requests that it passes on at once.
        rpc_max_burst: Option<usize>,
        /// Accepted.
        request_limits: Option<Value>,
        /// Accepted.
        txn_max_req_len: Option<Value>,
    }
}

section! {
    /// `ui_config`.
    UiSource {
        /// Whether it is served.
        enabled: Option<bool>,
        /// Accepted.
        content_path: Option<Value>,
        /// Accepted.
        dir: Option<Value>,
    }
}

impl Source {
    /// Accepted keys that are set and have no effect yet, for a warning.
    pub fn without_effect(&self) -> Vec<&'static str> {
        // What changes nothing for a single server is not worth a warning.
        let worth_a_word: [(&'static str, &Option<Value>); 10] = [
            ("acl", &self.acl),
            ("auto_config", &self.auto_config),
            ("config_entries", &self.config_entries),
            ("http_config", &self.http_config),
            ("log_file", &self.log_file),
            ("pid_file", &self.pid_file),
            ("serf_lan_allowed_cidrs", &self.serf_lan_allowed_cidrs),
            ("serf_wan_allowed_cidrs", &self.serf_wan_allowed_cidrs),
            ("telemetry", &self.telemetry),
            ("watches", &self.watches),
        ];
        worth_a_word
            .into_iter()
            .filter(|(_, value)| is_set(value.as_ref()))
            .map(|(key, _)| key)
            .collect()
    }
}

/// A text that is not to be seen: it prints as `<redacted>`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Whether a value says anything: the Go test harness writes empty blocks.
fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Object(members)) => members.values().any(|member| is_set(Some(member))),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}
