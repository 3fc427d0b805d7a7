//! Why consensus did not start, and why a proposal, a read or a membership change failed.
//!
//! INVARIANT: the engine's error types stay in this crate. A [`StartError`] names the file and the
//! remedy; the variants of [`ConsensusError`] differ by whether the command may have been
//! committed.

use std::{io, path::PathBuf, time::Duration};

use super::failure::Failure;

/// How long a server alone may take to apply its own log.
pub(super) const RECOVERY_TIMEOUT: Duration = Duration::from_secs(120);

/// Why consensus could not start; the process should end with this message.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The node ID is not a UUID.
    #[error("node ID {0:?} is not a UUID")]
    NodeId(String),
    /// A directory, or a small file in it, cannot be read or written.
    #[error("opening {path}")]
    Directory {
        /// The path.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// The directory was written by a newer lictor.
    #[error(
        "{path} says format {found}, newer than {newest}, the newest this version reads; start \
         the version that wrote it"
    )]
    NewerFormat {
        /// The format file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest this version reads.
        newest: u32,
    },
    /// The directory was not written by lictor, or not completely.
    #[error("{path} does not name a format; restore the data directory from a backup")]
    UnknownFormat {
        /// The format file.
        path: PathBuf,
    },
    /// Another process has the log open.
    #[error("raft log {path} is in use by another process")]
    InUse {
        /// The log.
        path: PathBuf,
    },
    /// The storage engine cannot open or write the log.
    #[error("opening raft log {path}")]
    Log {
        /// The log.
        path: PathBuf,
        /// The storage engine's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The log holds bytes that were not written by this program.
    #[error(
        "raft log {path} is damaged: {reason}; restore the data directory from a backup, or, if \
         other servers hold the data, move the directory away and let this server join them"
    )]
    DamagedLog {
        /// The log.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A snapshot is damaged and the log does not reach back to an older one.
    #[error(
        "snapshot {path} is damaged: {reason}; no older snapshot and log cover it: restore the \
         data directory from a backup"
    )]
    DamagedSnapshot {
        /// The newest damaged snapshot.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The log begins after a snapshot that is missing.
    #[error("no snapshot in {path} though the log needs one; restore the directory from a backup")]
    MissingSnapshot {
        /// The directory of snapshots.
        path: PathBuf,
    },
    /// The data belongs to another node ID.
    #[error(
        "raft data in {path} belongs to other servers ({members}) and not to node ID {node_id}; \
         restore the node-id file, or move the directory away"
    )]
    Identity {
        /// The data directory.
        path: PathBuf,
        /// Whose data it is.
        members: String,
        /// The agent's node ID.
        node_id: String,
    },
    /// The file that recovers a cluster cannot be used.
    #[error("{path} cannot be used: {reason}; correct the file or remove it")]
    Peers {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The thread of the log's writer cannot be started.
    #[error("starting the raft log's writer")]
    Thread(#[source] io::Error),
    /// Consensus failed while the log was replayed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// A server alone did not become the leader in time.
    #[error("applying the raft log took longer than {RECOVERY_TIMEOUT:?}")]
    Recovery,
}

/// Why a proposal or barrier failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsensusError {
    /// There is no leader, or it is another server. Nothing was changed; retry.
    #[error("no cluster leader")]
    NoLeader,
    /// The command reached the log, and it is unknown whether it was committed: another leader took
    /// over, or no quorum answered in time. Retry only what is idempotent.
    #[error("leadership lost while committing log")]
    LeadershipLost,
    /// This server is stopping. Ask another server.
    #[error("shutting down")]
    ShuttingDown,
    /// The engine refused a membership change; nothing was changed. The text names the reason.
    #[error("{0}")]
    Refused(String),
}
