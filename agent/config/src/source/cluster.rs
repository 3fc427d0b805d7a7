//! Blocks about agents that work together: timing, autopilot, scheduled snapshots, certificates for
//! client agents.

use lictor_api::GoDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys;

section! {
    /// Timing of elections, leaves and waits for a leader.
    PerformanceSource {
        /// Multiplies election and heartbeat times. With 1 a new leader is there after about a
        /// second; Consul's default is 5.
        raft_multiplier: Option<i32> {
            default: "1", bounds: "1 to 10", reload: Restart, example: "2"
        },
        /// How long a leaving server still answers the calls of other agents.
        leave_drain_time: Option<GoDuration> {
            default: "5s", bounds: "0s or more", reload: Live, example: r#""4s""#
        },
        /// How long a request waits for a leader before it fails.
        rpc_hold_timeout: Option<GoDuration> {
            default: "7s", bounds: "0s or more", reload: Restart, example: r#""8s""#
        },
        /// Keep-alive of connections to servers.
        grpc_keepalive_interval: Option<Value> { ignored, example: r#""30s""# },
        /// Patience of that keep-alive.
        grpc_keepalive_timeout: Option<Value> { ignored, example: r#""20s""# },
    }
}

section! {
    /// Autopilot's settings when a cluster is first started; later `lictor operator autopilot
    /// set-config` changes them.
    AutopilotSource {
        /// Removes failed servers when a new one takes their place.
        cleanup_dead_servers: Option<bool> {
            default: "true", bounds: "none", reload: NextStart, example: "false"
        },
        /// A server that last heard from the leader longer ago is unhealthy.
        last_contact_threshold: Option<GoDuration> {
            default: "200ms", bounds: "0s or more", reload: NextStart, example: r#""300ms""#
        },
        /// A server whose log trails by more entries is unhealthy.
        max_trailing_logs: Option<i64> {
            default: "250", bounds: "0 or more", reload: NextStart, example: "500"
        },
        /// Servers that cleanup leaves at least.
        min_quorum: Option<i64> {
            default: "0", bounds: "0 to 4294967295", reload: NextStart, example: "3"
        },
        /// How long a new server must be healthy before it gets a vote.
        server_stabilization_time: Option<GoDuration> {
            default: "10s", bounds: "0s or more", reload: NextStart, example: r#""20s""#
        },
        /// Upgrade migration, a feature of Consul Enterprise.
        disable_upgrade_migration: Option<Value> { ignored, example: "true" },
        /// Redundancy zones, a feature of Consul Enterprise.
        redundancy_zone_tag: Option<Value> { ignored, example: r#""zone""# },
        /// Upgrade migration, a feature of Consul Enterprise.
        upgrade_version_tag: Option<Value> { ignored, example: r#""version""# },
    }
}

section! {
    /// Snapshots that the leader saves on a schedule; giving the block turns them on. Consul leaves
    /// them to its Enterprise edition.
    SnapshotSource {
        /// Time between two snapshots.
        interval: Option<GoDuration> {
            default: "1h", bounds: "at least 1s", reload: Restart, example: r#""6h""#
        },
        /// Snapshots that are kept; older ones are deleted.
        retain: Option<i64> {
            default: "30", bounds: "at least 1", reload: Restart, example: "5"
        },
        /// Directory for them.
        path: Option<String> {
            default: "`snapshots` in `data_dir`", bounds: "required with `-dev`", reload: Restart,
            example: r#""/var/backups/lictor""#
        },
    }
}

section! {
    /// Certificates for client agents from the servers' mesh authority.
    AutoEncryptSource {
        /// Gets this agent's certificate from the servers.
        tls: Option<bool> {
            default: "false", bounds: "clients only", reload: Restart, example: "true"
        },
        /// Issues certificates to clients; turns on `connect.enabled`.
        allow_tls: Option<bool> {
            default: "false", bounds: "servers only", reload: Restart, example: "true"
        },
        /// Extra DNS names in this agent's certificate.
        dns_san: Vec<String> {
            default: "none", bounds: "names without `*` that do not begin with `server.`",
            reload: Restart, example: r#"["agent.example"]"#
        },
        /// Extra addresses in this agent's certificate.
        ip_san: Vec<String> {
            default: "none", bounds: "IP addresses", reload: Restart, example: r#"["192.0.2.6"]"#
        },
    }
}
