//! Settings of one server's consensus.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::network::PeerDirectory;

/// When snapshots are taken and the log is purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Entries between two snapshots.
    pub threshold: u64,
    /// Shortest time between two snapshots.
    pub interval: Duration,
    /// Entries that always stay in the log, so that a follower that was away briefly needs no
    /// snapshot.
    pub trailing: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { threshold: 8192, interval: Duration::ZERO, trailing: 0 }
    }
}

/// Which task writes the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogWrites {
    /// A thread of its own writes many entries with one sync.
    #[default]
    Thread,
    /// The task that appends writes: simulated time does not wait for a thread.
    Inline,
}

/// Settings of this server.
#[derive(Clone)]
pub struct Settings {
    /// The agent's node ID (UUID text); the voter's identity for as long as its data lives.
    pub node_id: String,
    /// The agent's node name, for people.
    pub node_name: String,
    /// Server RPC address that peers connect to.
    pub address: SocketAddr,
    /// Directory of log, vote and snapshots; `None` keeps them in memory (`-dev`).
    pub data_dir: Option<PathBuf>,
    /// Without data: 1 founds a cluster at once; otherwise the server waits until it is
    /// [founded](crate::Consensus::found) or added.
    pub bootstrap_expect: u32,
    /// Factor of heartbeat interval and election timeout (`performance.raft_multiplier`); 1 to 10.
    pub multiplier: u32,
    /// When snapshots are taken and the log is purged.
    pub compaction: Compaction,
    /// Which task writes the log.
    pub log_writes: LogWrites,
    /// Finds the addresses of peers and connects to them.
    pub peers: PeerDirectory,
}
