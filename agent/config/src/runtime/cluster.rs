//! Settings of joining, gossip, Raft, autopilot, snapshots and blocking queries.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use lictor_api::types::operator::AutopilotConfiguration;

/// Members to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Agents of this datacenter. `key: retry_join, start_join`
    pub lan: JoinPool,
    /// Servers of other datacenters. `key: retry_join_wan, start_join_wan`
    pub wan: JoinPool,
    /// Whether the members known before a `leave` are joined, too. `key: rejoin_after_leave`
    pub rejoin_after_leave: bool,
    /// A server that was stopped for longer does not start. `key: server_rejoin_age_max`
    pub server_rejoin_age_max: Duration,
}

/// Members to join in one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinPool {
    /// `host`, `host:port`, an address, or `provider=k8s label_selector=… namespace=…`; resolved
    /// again at every attempt.
    pub targets: Vec<String>,
    /// Pause between attempts. `key: retry_interval(_wan)`
    pub interval: Duration,
    /// Attempts before the agent exits; 0 is no limit. `key: retry_max(_wan)`
    pub max: u32,
}

/// Encryption and timeouts of both pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gossip {
    /// Initial key; the keyring file wins if it exists. `key: encrypt`
    pub encrypt: Option<GossipKey>,
    /// Whether plain text is rejected when there is a key. `key: encrypt_verify_incoming`
    pub verify_incoming: bool,
    /// Whether no plain text is sent when there is a key. `key: encrypt_verify_outgoing`
    pub verify_outgoing: bool,
    /// Whether the keyring is in memory only. `key: disable_keyring_file`
    pub disable_keyring_file: bool,
    /// How long reconnecting to a failed member is tried before it is reaped.
    /// `key: reconnect_timeout`
    pub reconnect_timeout: Duration,
    /// The same for the WAN pool. `key: reconnect_timeout_wan`
    pub reconnect_timeout_wan: Duration,
}

/// A gossip encryption key: 16, 24 or 32 bytes; prints as `<redacted>`.
#[derive(Clone, PartialEq, Eq)]
pub struct GossipKey(Vec<u8>);

/// The text is not a gossip key; the text itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGossipKey {
    /// Not base64.
    #[error("is not base64")]
    Base64,
    /// Of an unsupported size, in bytes.
    #[error("holds {0} bytes; a key has 16, 24 or 32")]
    Size(usize),
}

impl GossipKey {
    /// Wraps the key's bytes.
    ///
    /// # Errors
    /// [`InvalidGossipKey::Size`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, InvalidGossipKey> {
        match bytes.len() {
            16 | 24 | 32 => Ok(Self(bytes)),
            size => Err(InvalidGossipKey::Size(size)),
        }
    }

    /// Parses base64, as `keygen` prints it.
    ///
    /// # Errors
    /// [`InvalidGossipKey`].
    pub fn from_base64(text: &str) -> Result<Self, InvalidGossipKey> {
        Self::new(STANDARD.decode(text.trim()).map_err(|_| InvalidGossipKey::Base64)?)
    }

    /// Returns the key itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the key in base64, for the keyring and its file.
    pub fn expose_base64(&self) -> String {
        STANDARD.encode(&self.0)
    }
}

impl fmt::Debug for GossipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Timing of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Performance {
    /// Factor of election and heartbeat times, 1 to 10. `key: performance.raft_multiplier`
    pub raft_multiplier: u32,
    /// How long a leaving server waits for the calls in flight.
    /// `key: performance.leave_drain_time`
    pub leave_drain_time: Duration,
    /// How long a request waits for a leader. `key: performance.rpc_hold_timeout`
    pub rpc_hold_timeout: Duration,
}

/// Snapshots of the Raft log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raft {
    /// Entries between two snapshots. `key: raft_snapshot_threshold`
    pub snapshot_threshold: u64,
    /// Shortest time between two snapshots. `key: raft_snapshot_interval`
    pub snapshot_interval: Duration,
    /// Entries kept behind a snapshot.
    /// `key: raft_trailing_logs`
    pub trailing_logs: u64,
}

/// Autopilot's settings before an operator changes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Autopilot {
    /// Whether failed servers are removed. `key: autopilot.cleanup_dead_servers`
    pub cleanup_dead_servers: bool,
    /// A server whose last contact with the leader is longer ago is unhealthy.
    /// `key: autopilot.last_contact_threshold`
    pub last_contact_threshold: Duration,
    /// A server whose log is behind by more entries is unhealthy.
    /// `key: autopilot.max_trailing_logs`
    pub max_trailing_logs: u64,
    /// Least number of servers that cleanup leaves. `key: autopilot.min_quorum`
    pub min_quorum: u32,
    /// How long a new server must be healthy before it becomes a voter.
    /// `key: autopilot.server_stabilization_time`
    pub server_stabilization_time: Duration,
}

impl From<Autopilot> for AutopilotConfiguration {
    fn from(autopilot: Autopilot) -> Self {
        Self {
            cleanup_dead_servers: autopilot.cleanup_dead_servers,
            last_contact_threshold: autopilot.last_contact_threshold.into(),
            max_trailing_logs: autopilot.max_trailing_logs,
            min_quorum: autopilot.min_quorum,
            server_stabilization_time: autopilot.server_stabilization_time.into(),
            ..Self::default()
        }
    }
}

/// Snapshots on a schedule, taken by the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshots {
    /// Time between two snapshots. `key: snapshot.interval`
    pub interval: Duration,
    /// Snapshots that are retained, at least 1. `key: snapshot.retain`
    pub retain: usize,
    /// Directory for them. `key: snapshot.path`
    pub path: PathBuf,
}

/// Wait times of blocking queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queries {
    /// Wait of a query without one; at most `max_wait`. `key: default_query_time`
    pub default_wait: Duration,
    /// Longest wait of any query. `key: max_query_time`
    pub max_wait: Duration,
}

/// Certificates of client agents from the servers' mesh authority.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoEncrypt {
    /// Whether this client gets its certificate from the servers. `key: auto_encrypt.tls`
    pub tls: bool,
    /// Whether this server issues such certificates. `key: auto_encrypt.allow_tls`
    pub allow_tls: bool,
    /// Extra DNS names in the certificate. `key: auto_encrypt.dns_san`
    pub dns_san: Vec<String>,
    /// Extra addresses in the certificate. `key: auto_encrypt.ip_san`
    pub ip_san: Vec<IpAddr>,
}
