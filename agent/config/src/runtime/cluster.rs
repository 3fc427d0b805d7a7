//! How agents find each other, talk in private, and how servers keep time and state together.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use lictor_api::types::operator::AutopilotConfiguration;

/// Whom to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The agents of this datacenter. `key: retry_join` (and `start_join`, `-join`)
    pub lan: JoinPool,
    /// Servers of other datacenters. `key: retry_join_wan` (and `start_join_wan`)
    pub wan: JoinPool,
    /// Join the agents known before a `leave`, too; false. `key: rejoin_after_leave`
    pub rejoin_after_leave: bool,
    /// A server that was away for longer does not come back; 168 h. `key: server_rejoin_age_max`
    pub server_rejoin_age_max: Duration,
}

/// Whom to join in one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinPool {
    /// `host`, `host:port`, an address, or `provider=k8s label_selector=… namespace=…`; looked up
    /// again at every attempt.
    pub targets: Vec<String>,
    /// Pause between attempts; 30 s, at least 1 s. `key: retry_interval(_wan)`
    pub interval: Duration,
    /// Attempts before the agent ends; 0, the default, is no limit. `key: retry_max(_wan)`
    pub max: u32,
}

/// Encryption and patience of both pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gossip {
    /// The first key; the keyring file counts when there is one. `key: encrypt`
    pub encrypt: Option<GossipKey>,
    /// With a key: refuse plain text; true. `key: encrypt_verify_incoming`
    pub verify_incoming: bool,
    /// With a key: send no plain text; true. `key: encrypt_verify_outgoing`
    pub verify_outgoing: bool,
    /// Keep keys in memory only; false, true with `-dev`. `key: disable_keyring_file`
    pub disable_keyring_file: bool,
    /// How long a failed agent is called before it is forgotten; 72 h, at least 1 s. Consul asks for
    /// 8 h: what is shorter than an outage of the network splits the pool, so below that there is a
    /// warning. `key: reconnect_timeout`
    pub reconnect_timeout: Duration,
    /// The same in the WAN pool. `key: reconnect_timeout_wan`
    pub reconnect_timeout_wan: Duration,
}

/// A key of gossip: 16, 24 or 32 bytes; prints as `<redacted>`.
#[derive(Clone, PartialEq, Eq)]
pub struct GossipKey(Vec<u8>);

/// The text is no gossip key; the text itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGossipKey {
    /// Not base64.
    #[error("is not base64")]
    Base64,
    /// Of another size.
    #[error("holds {0} bytes; a key has 16, 24 or 32")]
    Size(usize),
}

impl GossipKey {
    /// Takes the key's bytes.
    ///
    /// # Errors
    /// [`InvalidGossipKey::Size`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, InvalidGossipKey> {
        match bytes.len() {
            16 | 24 | 32 => Ok(Self(bytes)),
            size => Err(InvalidGossipKey::Size(size)),
        }
    }

    /// Reads base64, as `keygen` prints it.
    ///
    /// # Errors
    /// [`InvalidGossipKey`].
    pub fn from_base64(text: &str) -> Result<Self, InvalidGossipKey> {
        Self::new(STANDARD.decode(text.trim()).map_err(|_| InvalidGossipKey::Base64)?)
    }

    /// The key itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The key in base64, for the keyring and its file.
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
    /// Stretches election and heartbeat times; 1 to 10. 1 by default, where Consul takes 5: a new
    /// leader after about a second. `key: performance.raft_multiplier`
    pub raft_multiplier: u32,
    /// How long a leaving server waits for what it is answering other agents; 5 s.
    /// `key: performance.leave_drain_time`
    pub leave_drain_time: Duration,
    /// How long a request waits for a leader; 7 s. `key: performance.rpc_hold_timeout`
    pub rpc_hold_timeout: Duration,
}

/// The Raft log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raft {
    /// Entries between two snapshots; 8192. `key: raft_snapshot_threshold`
    pub snapshot_threshold: u64,
    /// Shortest time between two snapshots; 30 s. `key: raft_snapshot_interval`
    pub snapshot_interval: Duration,
    /// Entries kept behind a snapshot, so that a server that was away for a moment needs none; 10240.
    /// `key: raft_trailing_logs`
    pub trailing_logs: u64,
}

/// Autopilot's settings before an operator changes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Autopilot {
    /// Remove dead servers; true. `key: autopilot.cleanup_dead_servers`
    pub cleanup_dead_servers: bool,
    /// A server that heard from the leader longer ago is unhealthy; 200 ms.
    /// `key: autopilot.last_contact_threshold`
    pub last_contact_threshold: Duration,
    /// A server that trails by more entries is unhealthy; 250. `key: autopilot.max_trailing_logs`
    pub max_trailing_logs: u64,
    /// Servers that cleanup leaves at least; 0. `key: autopilot.min_quorum`
    pub min_quorum: u32,
    /// How long a new server must be healthy before it votes; 10 s.
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

/// Snapshots on a schedule, made by the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshots {
    /// Time between two; 1 h, at least 1 s. `key: snapshot.interval`
    pub interval: Duration,
    /// How many are kept; 30, at least 1. `key: snapshot.retain`
    pub retain: usize,
    /// Directory; `snapshots` in `data_dir` by default. `key: snapshot.path`
    pub path: PathBuf,
}

/// How long blocking queries wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queries {
    /// When the client does not say; 5 m. `key: default_query_time`
    pub default_wait: Duration,
    /// At most; 10 m. `key: max_query_time`
    pub max_wait: Duration,
}

/// Certificates of client agents from the servers' mesh authority.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoEncrypt {
    /// This client gets its certificate from the servers; false. `key: auto_encrypt.tls`
    pub tls: bool,
    /// This server hands them out; false. `key: auto_encrypt.allow_tls`
    pub allow_tls: bool,
    /// Extra DNS names in the certificate. `key: auto_encrypt.dns_san`
    pub dns_san: Vec<String>,
    /// Extra addresses in the certificate. `key: auto_encrypt.ip_san`
    pub ip_san: Vec<IpAddr>,
}
