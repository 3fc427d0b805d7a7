//! What operators see and set: Raft's members and autopilot (Consul "Operator HTTP API").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::GoDuration;

/// Answer of `GET /v1/operator/raft/configuration`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RaftConfiguration {
    /// All members.
    pub servers: Vec<RaftServer>,
    /// Raft index of the configuration.
    pub index: u64,
}

/// One member of Raft.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RaftServer {
    /// Node ID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Node name.
    pub node: String,
    /// Server RPC address.
    pub address: String,
    /// Whether it leads.
    pub leader: bool,
    /// Raft's protocol; always 3.
    pub protocol_version: String,
    /// False while it only learns.
    pub voter: bool,
    /// The last entry of its log that the leader knows of.
    pub last_index: u64,
}

/// Autopilot's settings. The last three belong to Consul's paid edition and have no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AutopilotConfiguration {
    /// Remove servers that failed, as long as fewer than half of the voters have.
    pub cleanup_dead_servers: bool,
    /// A server that the leader heard from longer ago is unhealthy.
    pub last_contact_threshold: GoDuration,
    /// A server whose log is further behind is unhealthy.
    pub max_trailing_logs: u64,
    /// Voters that cleaning up leaves at least.
    pub min_quorum: u32,
    /// How long a new server must be healthy before it votes.
    pub server_stabilization_time: GoDuration,
    /// Without effect.
    pub redundancy_zone_tag: String,
    /// Without effect.
    pub disable_upgrade_migration: bool,
    /// Without effect.
    pub upgrade_version_tag: String,
    /// Index of its creation.
    pub create_index: u64,
    /// Index of its last change.
    pub modify_index: u64,
}

impl Default for AutopilotConfiguration {
    /// Consul's defaults.
    fn default() -> Self {
        Self {
            cleanup_dead_servers: true,
            last_contact_threshold: GoDuration(std::time::Duration::from_millis(200)),
            max_trailing_logs: 250,
            min_quorum: 0,
            server_stabilization_time: GoDuration::from_secs(10),
            redundancy_zone_tag: String::new(),
            disable_upgrade_migration: false,
            upgrade_version_tag: String::new(),
            create_index: 0,
            modify_index: 0,
        }
    }
}

/// Body of `PUT /v1/operator/autopilot/configuration`; what is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AutopilotChange {
    /// See [`AutopilotConfiguration`], as the others.
    pub cleanup_dead_servers: Option<bool>,
    /// Bound on silence.
    pub last_contact_threshold: Option<GoDuration>,
    /// Bound on entries behind.
    pub max_trailing_logs: Option<u64>,
    /// Voters that cleaning up leaves at least.
    pub min_quorum: Option<u32>,
    /// How long a new server must be healthy before it votes.
    pub server_stabilization_time: Option<GoDuration>,
    /// Kept.
    pub redundancy_zone_tag: Option<String>,
    /// Kept.
    pub disable_upgrade_migration: Option<bool>,
    /// Kept.
    pub upgrade_version_tag: Option<String>,
    /// Ignored; clients send back what they read.
    pub create_index: Option<u64>,
    /// Ignored.
    pub modify_index: Option<u64>,
}

impl AutopilotChange {
    /// `configuration` with the changes.
    pub fn apply(self, configuration: &AutopilotConfiguration) -> AutopilotConfiguration {
        let old = configuration.clone();
        AutopilotConfiguration {
            cleanup_dead_servers: self.cleanup_dead_servers.unwrap_or(old.cleanup_dead_servers),
            last_contact_threshold: self
                .last_contact_threshold
                .unwrap_or(old.last_contact_threshold),
            max_trailing_logs: self.max_trailing_logs.unwrap_or(old.max_trailing_logs),
            min_quorum: self.min_quorum.unwrap_or(old.min_quorum),
            server_stabilization_time: self
                .server_stabilization_time
                .unwrap_or(old.server_stabilization_time),
            redundancy_zone_tag: self.redundancy_zone_tag.unwrap_or(old.redundancy_zone_tag),
            disable_upgrade_migration: self
                .disable_upgrade_migration
                .unwrap_or(old.disable_upgrade_migration),
            upgrade_version_tag: self.upgrade_version_tag.unwrap_or(old.upgrade_version_tag),
            ..old
        }
    }
}

/// Answer of `GET /v1/operator/autopilot/health`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OperatorHealth {
    /// Whether all servers are.
    pub healthy: bool,
    /// Healthy voters that may fail without an outage.
    pub failure_tolerance: usize,
    /// Every server.
    pub servers: Vec<ServerHealth>,
}

/// How one server is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServerHealth {
    /// Node ID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Node name.
    pub name: String,
    /// Server RPC address.
    pub address: String,
    /// As gossip sees it: `alive`, `failed`, `left`, `none`.
    pub serf_status: String,
    /// The version it says it is.
    pub version: String,
    /// Whether it leads.
    pub leader: bool,
    /// How long ago the leader heard from it.
    pub last_contact: GoDuration,
    /// The Raft term.
    pub last_term: u64,
    /// The last entry of its log that the leader knows of.
    pub last_index: u64,
    /// Alive, in contact and not far behind.
    pub healthy: bool,
    /// False while it only learns.
    pub voter: bool,
    /// Since when `healthy` is what it is; RFC 3339.
    pub stable_since: String,
}

/// Answer of `GET /v1/operator/autopilot/state`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AutopilotState {
    /// Whether all servers are healthy.
    pub healthy: bool,
    /// Healthy voters that may fail without an outage.
    pub failure_tolerance: usize,
    /// The same when zones are counted, which there are none of.
    pub optimistic_failure_tolerance: usize,
    /// Every server by its node ID.
    pub servers: BTreeMap<String, AutopilotServer>,
    /// The leader's node ID.
    pub leader: String,
    /// The voters' node IDs, the leader's first.
    pub voters: Vec<String>,
}

/// One server in [`AutopilotState`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AutopilotServer {
    /// Node ID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Node name.
    pub name: String,
    /// Server RPC address.
    pub address: String,
    /// As gossip sees it: `alive`, `failed`, `left`, `none`.
    pub node_status: String,
    /// The version it says it is.
    pub version: String,
    /// How long ago the leader heard from it.
    pub last_contact: GoDuration,
    /// The Raft term.
    pub last_term: u64,
    /// The last entry of its log that the leader knows of.
    pub last_index: u64,
    /// Alive, in contact and not far behind.
    pub healthy: bool,
    /// Since when `healthy` is what it is; RFC 3339.
    pub stable_since: String,
    /// `leader`, `voter` or `non-voter`.
    pub status: String,
    /// Node meta; empty.
    pub meta: BTreeMap<String, String>,
    /// `voter`: what it is meant to become.
    pub node_type: String,
}
