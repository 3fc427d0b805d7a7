//! Health checks and healthy instances (Consul "Health HTTP API").

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    catalog::{Node, NodeService},
    is_default,
};
use crate::{CheckId, GoDuration, NodeName, ServiceId, ServiceName};

/// State of a check; ordered from best to worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// All is well.
    Passing,
    /// Still served, but an operator should look.
    Warning,
    /// Not served. The state of every check before its first result.
    #[default]
    Critical,
}

/// The text is none of the three states.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid check status: '{0}'")]
pub struct InvalidCheckStatus(pub String);

impl CheckStatus {
    /// The state's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CheckStatus {
    type Err = InvalidCheckStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "passing" => Ok(Self::Passing),
            "warning" => Ok(Self::Warning),
            "critical" => Ok(Self::Critical),
            other => Err(InvalidCheckStatus(other.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for CheckStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self::Critical);
        }
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A check as the catalog knows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheck {
    /// The node it belongs to.
    pub node: NodeName,
    /// Unique on the node.
    #[serde(rename = "CheckID")]
    pub check_id: CheckId,
    /// For people.
    pub name: String,
    /// Its state.
    pub status: CheckStatus,
    /// For people.
    pub notes: String,
    /// What the last run printed, at most 4096 bytes.
    pub output: String,
    /// The instance it judges, or empty for the whole node.
    #[serde(rename = "ServiceID")]
    pub service_id: ServiceId,
    /// That instance's service.
    pub service_name: ServiceName,
    /// That instance's tags.
    pub service_tags: Vec<String>,
    /// `http`, `tcp`, `ttl`, `script`, ...
    #[serde(rename = "Type")]
    pub check_type: String,
    /// How often it runs, as a Go duration, or empty.
    pub interval: String,
    /// How long one run may take, as a Go duration, or empty.
    pub timeout: String,
    /// Port of an exposed check path; 0 for none.
    pub exposed_port: u16,
    /// How it is run.
    pub definition: HealthCheckDefinition,
    /// Raft index of the first registration.
    pub create_index: u64,
    /// Raft index of the last change.
    pub modify_index: u64,
}

impl HealthCheck {
    /// Equal but for the Raft indexes: what decides whether an update changed anything.
    pub fn same_check(&self, other: &Self) -> bool {
        let strip = |check: &Self| Self { create_index: 0, modify_index: 0, ..check.clone() };
        strip(self) == strip(other)
    }
}

/// How a check is run, as far as the catalog keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheckDefinition {
    /// URL to fetch.
    #[serde(rename = "HTTP", skip_serializing_if = "is_default")]
    pub http: String,
    /// HTTP headers.
    #[serde(skip_serializing_if = "is_default")]
    pub header: BTreeMap<String, Vec<String>>,
    /// HTTP method.
    #[serde(skip_serializing_if = "is_default")]
    pub method: String,
    /// HTTP body.
    #[serde(skip_serializing_if = "is_default")]
    pub body: String,
    /// Accept any server certificate.
    #[serde(rename = "TLSSkipVerify", skip_serializing_if = "is_default")]
    pub tls_skip_verify: bool,
    /// Name in the server's certificate.
    #[serde(rename = "TLSServerName", skip_serializing_if = "is_default")]
    pub tls_server_name: String,
    /// Address to connect to.
    #[serde(rename = "TCP", skip_serializing_if = "is_default")]
    pub tcp: String,
    /// Speak TLS to that address.
    #[serde(rename = "TCPUseTLS", skip_serializing_if = "is_default")]
    pub tcp_use_tls: bool,
    /// Address to send a datagram to.
    #[serde(rename = "UDP", skip_serializing_if = "is_default")]
    pub udp: String,
    /// gRPC health endpoint.
    #[serde(rename = "GRPC", skip_serializing_if = "is_default")]
    pub grpc: String,
    /// Speak TLS to that endpoint.
    #[serde(rename = "GRPCUseTLS", skip_serializing_if = "is_default")]
    pub grpc_use_tls: bool,
    /// Service of the operating system.
    #[serde(rename = "OSService", skip_serializing_if = "is_default")]
    pub os_service: String,
    /// How often it runs.
    #[serde(skip_serializing_if = "is_default")]
    pub interval: GoDuration,
    /// How long one run may take.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: GoDuration,
    /// Remove the service after it was critical for so long.
    #[serde(skip_serializing_if = "is_default")]
    pub deregister_critical_service_after: GoDuration,
}

/// A row of `GET /v1/health/service/:name`: an instance, its node, and the checks of both.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckServiceNode {
    /// The node.
    pub node: Node,
    /// The instance.
    pub service: NodeService,
    /// Node checks first, then the instance's own.
    pub checks: Vec<HealthCheck>,
}
