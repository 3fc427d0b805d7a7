//! User events.
//!
//! Source: Consul "Event HTTP API".

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Something that was told to the agents of a datacenter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UserEvent {
    /// A UUID, chosen when it was fired.
    #[serde(rename = "ID")]
    pub id: String,
    /// What readers pick it by.
    pub name: String,
    /// Base64 in JSON; `null` without.
    #[serde(with = "super::kv::value")]
    pub payload: Bytes,
    /// A regular expression that the names of receiving nodes match.
    pub node_filter: String,
    /// A regular expression that a service of receiving nodes matches.
    pub service_filter: String,
    /// A regular expression that a tag of that service matches.
    pub tag_filter: String,
    /// Of the format; 1.
    pub version: u32,
    /// Lamport time.
    #[serde(rename = "LTime")]
    pub lamport_time: u64,
}
