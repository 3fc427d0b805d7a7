//! Sections about agents that work together: timing, autopilot, scheduled snapshots, certificates
//! for client agents.

use lictor_api::GoDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

section! {
    /// `performance`.
    PerformanceSource {
        /// Stretches the timing of elections; 1 to 10.
        raft_multiplier: Option<i32>,
        /// How long a leaving server still answers.
        leave_drain_time: Option<GoDuration>,
        /// How long a request waits for a leader.
        rpc_hold_timeout: Option<GoDuration>,
        /// Accepted.
        grpc_keepalive_interval: Option<Value>,
        /// Accepted.
        grpc_keepalive_timeout: Option<Value>,
    }
}

section! {
    /// `autopilot`: the first configuration of a new cluster.
    AutopilotSource {
        /// Remove dead servers.
        cleanup_dead_servers: Option<bool>,
        /// A server that heard from the leader longer ago is unhealthy.
        last_contact_threshold: Option<GoDuration>,
        /// A server that trails by more entries is unhealthy.
        max_trailing_logs: Option<i64>,
        /// Servers that cleanup leaves at least.
        min_quorum: Option<i64>,
        /// How long a server must be healthy before it votes.
        server_stabilization_time: Option<GoDuration>,
        /// Accepted.
        disable_upgrade_migration: Option<Value>,
        /// Accepted.
        redundancy_zone_tag: Option<Value>,
        /// Accepted.
        upgrade_version_tag: Option<Value>,
    }
}

section! {
    /// `snapshot`: snapshots on a schedule. Ours; Consul leaves them to its Enterprise edition.
    SnapshotSource {
        /// Time between two.
        interval: Option<GoDuration>,
        /// How many are kept.
        retain: Option<i64>,
        /// Directory for them.
        path: Option<String>,
    }
}

section! {
    /// `auto_encrypt`.
    AutoEncryptSource {
        /// On clients: get a certificate from the servers.
        tls: Option<bool>,
        /// On servers: hand them out.
        allow_tls: Option<bool>,
        /// Extra DNS names in the certificate.
        dns_san: Vec<String>,
        /// Extra addresses in the certificate.
        ip_san: Vec<String>,
    }
}
