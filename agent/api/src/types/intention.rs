//! Intentions: who may connect to whom (Consul "Intentions HTTP API").
//!
//! They are stored as `service-intentions` config entries, one per destination; an [`Intention`]
//! is the flat view that the intention endpoints and CLI verbs show.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::is_default;

/// Whether a matching connection is let in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntentionAction {
    /// Refused and, if open, closed.
    #[default]
    Deny,
    /// Let in.
    Allow,
}

impl IntentionAction {
    /// The action's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }
}

/// One source of a `service-intentions` entry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SourceIntention {
    /// Service name or `*`.
    pub name: String,
    /// Whether it is let in; absent when `Permissions` decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<IntentionAction>,
    /// L7 permissions, kept as given; an L4 proxy treats a source that has them as denied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<serde_json::Value>,
    /// Higher wins: 9 exact/exact, 8 any source, 6 any destination, 5 any/any. Set by the server.
    pub precedence: u32,
    /// Always `consul`.
    #[serde(rename = "Type")]
    pub source_type: String,
    /// For people.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
    /// UUID of an intention made through the old endpoints, or empty.
    #[serde(rename = "LegacyID", skip_serializing_if = "is_default")]
    pub legacy_id: String,
    /// Free key/value pairs of an intention made through the old endpoints.
    #[serde(skip_serializing_if = "is_default")]
    pub legacy_meta: BTreeMap<String, String>,
}

/// The `service-intentions` config entry: all sources of one destination.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceIntentions {
    /// The destination: a service name or `*`.
    pub name: String,
    /// Sources, highest precedence first.
    pub sources: Vec<SourceIntention>,
    /// Free key/value pairs.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
    /// Raft index of its creation.
    pub create_index: u64,
    /// Raft index of the last change.
    pub modify_index: u64,
}

/// One source and destination with what holds between them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Intention {
    /// UUID, or empty for intentions made as config entries.
    #[serde(rename = "ID", skip_serializing_if = "is_default")]
    pub id: String,
    /// For people.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
    /// Always `default`.
    #[serde(rename = "SourceNS")]
    pub source_ns: String,
    /// Service name or `*`.
    pub source_name: String,
    /// Always `default`.
    #[serde(rename = "DestinationNS")]
    pub destination_ns: String,
    /// Service name or `*`.
    pub destination_name: String,
    /// Always `consul`.
    pub source_type: String,
    /// Whether a matching connection is let in; absent when `Permissions` decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<IntentionAction>,
    /// L7 permissions, kept as given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<serde_json::Value>,
    /// Free key/value pairs.
    #[serde(skip_serializing_if = "is_default")]
    pub meta: BTreeMap<String, String>,
    /// Higher wins.
    pub precedence: u32,
    /// Raft index of its creation.
    pub create_index: u64,
    /// Raft index of the last change.
    pub modify_index: u64,
}
