//! What can be written: every key of configuration files and flags, all of them optional.
//!
//! Key names are Consul's ("Agent configuration file reference"). Case and underscores do not
//! matter on input. Keys under "accepted" are read so that existing files start, and have no
//! effect yet; the builder says so in a warning when one is set.

use std::collections::BTreeMap;

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
        bootstrap_expect: Option<u32>,
        /// Where state is kept.
        data_dir: Option<String>,
        /// Address of server RPC and gossip.
        bind_addr: Option<String>,
        /// Address of HTTP, DNS and gRPC; several separated by blanks.
        client_addr: Option<String>,
        /// Address that others use.
        advertise_addr: Option<String>,
        /// The same over the WAN.
        advertise_addr_wan: Option<String>,
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
        /// Older spelling of `tls.defaults.verify_incoming`.
        verify_incoming: Option<bool>,
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
        /// Accepted: each of these keys is read and has no effect yet.
        acl: Option<Value>,
        /// Accepted.
        audit: Option<Value>,
        /// Accepted.
        auto_config: Option<Value>,
        /// Accepted.
        auto_encrypt: Option<Value>,
        /// Accepted.
        autopilot: Option<Value>,
        /// Accepted.
        cloud: Option<Value>,
        /// Accepted.
        config_entries: Option<Value>,
        /// Accepted.
        default_query_time: Option<Value>,
        /// Accepted.
        disable_host_node_id: Option<Value>,
        /// Accepted.
        disable_keyring_file: Option<Value>,
        /// Accepted.
        disable_remote_exec: Option<Value>,
        /// Accepted.
        disable_update_check: Option<Value>,
        /// Accepted.
        discard_check_output: Option<Value>,
        /// Accepted.
        encrypt: Option<Value>,
        /// Accepted.
        experiments: Option<Value>,
        /// Accepted.
        http_config: Option<Value>,
        /// Accepted.
        locality: Option<Value>,
        /// Accepted.
        log_file: Option<Value>,
        /// Accepted.
        max_query_time: Option<Value>,
        /// Accepted.
        peering: Option<Value>,
        /// Accepted.
        performance: Option<Value>,
        /// Accepted.
        pid_file: Option<Value>,
        /// Accepted.
        primary_datacenter: Option<Value>,
        /// Accepted.
        raft_protocol: Option<Value>,
        /// Accepted.
        rejoin_after_leave: Option<Value>,
        /// Accepted.
        retry_interval: Option<Value>,
        /// Accepted.
        retry_max: Option<Value>,
        /// Accepted.
        segments: Option<Value>,
        /// Accepted.
        session_ttl_min: Option<Value>,
        /// Accepted.
        telemetry: Option<Value>,
        /// Accepted.
        translate_wan_addrs: Option<Value>,
        /// Accepted.
        verify_incoming_https: Option<Value>,
        /// Accepted.
        verify_incoming_rpc: Option<Value>,
        /// Accepted.
        verify_outgoing: Option<Value>,
        /// Accepted.
        verify_server_hostname: Option<Value>,
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
    /// `tls`.
    TlsSource {
        /// Serve with a certificate of the mesh's authority.
        auto: Option<bool>,
        /// Extra DNS names in it.
        auto_names: Vec<String>,
        /// For every protocol.
        defaults: TlsFiles,
        /// For HTTPS.
        https: TlsFiles,
        /// For gRPC.
        grpc: TlsFiles,
        /// Accepted: server RPC opens when servers join each other.
        internal_rpc: Option<Value>,
    }
}

section! {
    /// Certificate files of one protocol.
    TlsFiles {
        /// PEM.
        cert_file: Option<String>,
        /// PEM.
        key_file: Option<String>,
        /// PEM.
        ca_file: Option<String>,
        /// Require client certificates.
        verify_incoming: Option<bool>,
        /// Accepted.
        verify_outgoing: Option<Value>,
        /// Accepted.
        tls_min_version: Option<Value>,
        /// Accepted.
        use_auto_cert: Option<Value>,
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
        /// Accepted.
        rpc_handshake_timeout: Option<Value>,
        /// Accepted.
        rpc_max_conns_per_client: Option<Value>,
        /// Accepted.
        rpc_rate: Option<Value>,
        /// Accepted.
        rpc_max_burst: Option<Value>,
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
        let worth_a_word: [(&'static str, &Option<Value>); 12] = [
            ("acl", &self.acl),
            ("auto_config", &self.auto_config),
            ("auto_encrypt", &self.auto_encrypt),
            ("config_entries", &self.config_entries),
            ("encrypt", &self.encrypt),
            ("http_config", &self.http_config),
            ("log_file", &self.log_file),
            ("pid_file", &self.pid_file),
            ("telemetry", &self.telemetry),
            ("verify_outgoing", &self.verify_outgoing),
            ("verify_server_hostname", &self.verify_server_hostname),
            ("watches", &self.watches),
        ];
        worth_a_word
            .into_iter()
            .filter(|(_, value)| is_set(value.as_ref()))
            .map(|(key, _)| key)
            .collect()
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
