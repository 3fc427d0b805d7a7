//! What a client registers on its local agent (Consul "Service" and "Check" agent HTTP API), which
//! is also what configuration files declare under `service(s)` and `check(s)`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    catalog::{
        ConnectProxyConfig, NodeService, ServiceAddress, ServiceConnect, ServiceKind, Weights,
    },
    is_default,
};
use crate::{CheckId, GoDuration, NodeName, ServiceId, ServiceName};

/// Body of `PUT /v1/agent/service/register`, and `service` in configuration files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceDefinition {
    /// What it is.
    pub kind: ServiceKind,
    /// Unique on the agent; the name when empty.
    #[serde(rename = "ID")]
    pub id: ServiceId,
    /// The service's name; required.
    pub name: ServiceName,
    /// Tags.
    pub tags: Vec<String>,
    /// Its own address, or empty for the agent's.
    pub address: String,
    /// Addresses by tag.
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// Free key/value pairs.
    pub meta: BTreeMap<String, String>,
    /// TCP port; 0 for none.
    pub port: u16,
    /// A Unix socket instead of address and port.
    pub socket_path: String,
    /// One check.
    pub check: Option<CheckDefinition>,
    /// Several checks.
    pub checks: Vec<CheckDefinition>,
    /// DNS and proxy weights.
    pub weights: Option<Weights>,
    /// ACL token of this registration.
    pub token: String,
    /// Whether others may change the tags in the catalog.
    pub enable_tag_override: bool,
    /// Proxy settings, for `connect-proxy`.
    pub proxy: Option<ConnectProxyConfig>,
    /// Mesh settings, and the sidecar to register along.
    pub connect: Option<ConnectDefinition>,
}

/// Mesh settings of a registration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConnectDefinition {
    /// The service speaks mesh TLS itself.
    pub native: bool,
    /// A sidecar to register along; its empty fields are filled from the service.
    pub sidecar_service: Option<Box<ServiceDefinition>>,
}

/// Body of `PUT /v1/agent/check/register`, and `check` in configuration files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckDefinition {
    /// Unique on the agent; derived from the service or the name when empty.
    #[serde(rename = "ID", alias = "CheckID")]
    pub id: CheckId,
    /// For people.
    pub name: String,
    /// For people.
    pub notes: String,
    /// The instance it judges, or empty for the whole node.
    #[serde(rename = "ServiceID")]
    pub service_id: ServiceId,
    /// State before the first result: `passing`, `warning`, `critical` or empty (critical).
    pub status: String,
    /// ACL token of this registration.
    pub token: String,
    /// A shell command line. COMPAT: tutorials for Consul before 1.1; means `/bin/sh -c`.
    pub script: String,
    /// Program and arguments.
    #[serde(rename = "Args", alias = "ScriptArgs")]
    pub args: Vec<String>,
    /// URL to fetch.
    #[serde(rename = "HTTP")]
    pub http: String,
    /// HTTP headers.
    pub header: BTreeMap<String, Vec<String>>,
    /// HTTP method; GET when empty.
    pub method: String,
    /// HTTP body.
    pub body: String,
    /// Take a redirect as the answer instead of following it.
    pub disable_redirects: bool,
    /// Address to connect to.
    #[serde(rename = "TCP")]
    pub tcp: String,
    /// Speak TLS after connecting.
    #[serde(rename = "TCPUseTLS")]
    pub tcp_use_tls: bool,
    /// Address to send a datagram to.
    #[serde(rename = "UDP")]
    pub udp: String,
    /// `host:port[/service]` that serves grpc.health.v1.
    #[serde(rename = "GRPC")]
    pub grpc: String,
    /// Speak TLS to it.
    #[serde(rename = "GRPCUseTLS")]
    pub grpc_use_tls: bool,
    /// The client reports within this time, or the check turns critical.
    #[serde(rename = "TTL")]
    pub ttl: GoDuration,
    /// How often it runs; at least 1 s.
    pub interval: GoDuration,
    /// How long one run may take.
    pub timeout: GoDuration,
    /// Follow all checks of this node.
    pub alias_node: NodeName,
    /// Follow all checks of this instance.
    pub alias_service: ServiceId,
    /// Name in the server's certificate.
    #[serde(rename = "TLSServerName")]
    pub tls_server_name: String,
    /// Accept any server certificate.
    #[serde(rename = "TLSSkipVerify")]
    pub tls_skip_verify: bool,
    /// Consecutive successes before it passes.
    pub success_before_passing: u32,
    /// Consecutive failures before it warns.
    pub failures_before_warning: u32,
    /// Consecutive failures before it is critical.
    pub failures_before_critical: u32,
    /// Remove the service after it was critical for so long; at least 1 m.
    pub deregister_critical_service_after: GoDuration,
    /// Keep at most so many bytes of output; default 4096.
    pub output_max_size: u32,
}

/// A row of `GET /v1/agent/services`, and the answer of `GET /v1/agent/service/:id`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentService {
    /// What it is; left out for ordinary services.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: ServiceKind,
    /// Unique on the agent.
    #[serde(rename = "ID")]
    pub id: ServiceId,
    /// The service's name.
    pub service: ServiceName,
    /// Tags.
    pub tags: Vec<String>,
    /// Free key/value pairs.
    pub meta: BTreeMap<String, String>,
    /// TCP port.
    pub port: u16,
    /// Its own address, or empty.
    pub address: String,
    /// A Unix socket instead.
    #[serde(skip_serializing_if = "is_default")]
    pub socket_path: String,
    /// Addresses by tag.
    #[serde(skip_serializing_if = "is_default")]
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// DNS and proxy weights.
    pub weights: Weights,
    /// Whether others may change the tags in the catalog.
    pub enable_tag_override: bool,
    /// Hash of this answer, for hash-blocking reads of one service.
    #[serde(skip_serializing_if = "is_default")]
    pub content_hash: String,
    /// Proxy settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ConnectProxyConfig>,
    /// Mesh settings.
    #[serde(skip_serializing_if = "is_default")]
    pub connect: ServiceConnect,
    /// The agent's datacenter.
    pub datacenter: String,
}

impl AgentService {
    /// The agent's view of a registered instance.
    pub fn new(service: &NodeService, datacenter: &str) -> Self {
        let is_proxy = service.kind != ServiceKind::Typical;
        Self {
            kind: service.kind,
            id: service.id.clone(),
            service: service.service.clone(),
            tags: service.tags.clone(),
            meta: service.meta.clone(),
            port: service.port,
            address: service.address.clone(),
            socket_path: service.socket_path.clone(),
            tagged_addresses: service.tagged_addresses.clone(),
            weights: service.weights,
            enable_tag_override: service.enable_tag_override,
            content_hash: String::new(),
            proxy: is_proxy.then(|| service.proxy.clone()),
            connect: service.connect.clone(),
            datacenter: datacenter.to_owned(),
        }
    }
}

/// A member of the gossip pool, as `GET /v1/agent/members` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Member {
    /// The node's name.
    pub name: String,
    /// IP address.
    pub addr: String,
    /// Gossip port.
    pub port: u16,
    /// Role, datacenter, versions, ports.
    pub tags: BTreeMap<String, String>,
    /// 1 alive, 2 leaving, 3 left, 4 failed.
    pub status: u8,
    /// Lowest protocol version understood.
    pub protocol_min: u8,
    /// Highest protocol version understood.
    pub protocol_max: u8,
    /// Protocol version spoken.
    pub protocol_cur: u8,
    /// Lowest delegate version understood.
    pub delegate_min: u8,
    /// Highest delegate version understood.
    pub delegate_max: u8,
    /// Delegate version spoken.
    pub delegate_cur: u8,
}
