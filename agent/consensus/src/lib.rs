//! Consensus: the one module that knows there is a Raft library.
//!
//! Everything outside sees [`Consensus`]: propose a command, wait for a read to be safe, ask who
//! leads. The engine's types stay inside. Below it: `log_store` (redb), `state_machine`,
//! `snapshot`, `wire` with `network` and `service` (between servers), `membership` (who takes part),
//! `standing` (who leads).
//!
//! INVARIANT: a command is answered after it is durable on a quorum (alone: on this disk) and
//! visible in the published state; when either cannot be promised any more, [`Consensus::failed`]
//! says why, and the process must end.
//!
//! Not copied from the engine's defaults, each for a reason: elections after 500-1000 ms (shorter
//! ones flap on two busy cores), pre-vote (a server that was cut off does not depose the leader),
//! no leadership without a vote after a restart (its commit point may be old), and purging by the
//! older snapshot instead of by count.

mod directory;
mod failure;
mod log_store;
mod membership;
mod network;
mod open;
mod record;
mod recovery;
pub mod rounds;
mod service;
mod snapshot;
mod standing;
mod state_machine;
mod stats;
mod types;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use lictor_api::{
    query::Consistency,
    server::v1::raft_server::{self, RaftServer},
};
use lictor_core::{
    fsm::{Command, Response},
    planted::{Bug, is_planted},
};
use lictor_store::Store;
use openraft::{
    Instant, ReadPolicy,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, LinearizableReadError, RaftError},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    task, time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use failure::Failure;
pub use membership::Progress;
use membership::is_settled_voter;
pub use network::Peers;
pub use open::StartError;
use rounds::Rounds;
use types::{Proposal, ServerId, ServerNode};

/// Bytes of proposals that may be under way, in units of [`PROPOSAL_UNIT`]; more wait.
const PROPOSAL_UNITS: u32 = 1 << 16;
const PROPOSAL_UNIT: usize = 1 << 10;
/// How long a proposal is waited for. Longer than any election.
const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a read waits for entries that are committed and not applied here.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// When the log is shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Entries between two snapshots.
    pub threshold: u64,
    /// Shortest time between two snapshots.
    pub interval: Duration,
    /// Entries kept at least, so that a server that was away for a moment needs no snapshot.
    pub trailing: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { threshold: 8192, interval: Duration::ZERO, trailing: 0 }
    }
}

/// Where the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogWrites {
    /// In a thread of its own, many entries with one sync.
    #[default]
    Thread,
    /// In the task that has something to write: simulated time does not wait for a thread.
    Inline,
}

/// How this server takes part.
#[derive(Clone)]
pub struct Settings {
    /// The agent's node ID (UUID text); the voter's identity for as long as its data lives.
    pub node_id: String,
    /// The agent's node name, for people.
    pub node_name: String,
    /// Server RPC address that peers reach it under.
    pub address: SocketAddr,
    /// Where log, vote and snapshots are kept; `None` keeps them in memory (`-dev`).
    pub data_dir: Option<PathBuf>,
    /// Without data: 1 founds a cluster at once; otherwise the server waits until it is
    /// [founded](Consensus::found) or taken in.
    pub bootstrap_expect: u32,
    /// Stretches heartbeats and elections (`performance.raft_multiplier`); 1 to 10.
    pub multiplier: u32,
    /// When the log is shortened.
    pub compaction: Compaction,
    /// Where the log is written.
    pub log_writes: LogWrites,
    /// How other servers are found and reached.
    pub peers: Peers,
}

/// Why a proposal or barrier failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsensusError {
    /// Nobody leads right now; nothing was changed, try again.
    #[error("no cluster leader")]
    NoLeader,
    /// The command reached the log, and whether it was committed is unknown: another leader took
    /// over, or no answer came in time.
    #[error("leadership lost while committing log")]
    LeadershipLost,
    /// This server is stopping.
    #[error("shutting down")]
    ShuttingDown,
    /// A change of the membership that cannot be; nothing was changed.
    #[error("{0}")]
    Refused(String),
}

/// A committed command.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Its Raft index.
    pub index: u64,
    /// What it did.
    pub response: Response,
}

/// Who leads, as this server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Node ID.
    pub node_id: String,
    /// Node name.
    pub node_name: String,
    /// Server RPC address.
    pub address: SocketAddr,
    /// Whether it is this server.
    pub is_self: bool,
    /// The Raft term.
    pub term: u64,
}

/// A voter or learner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Node ID.
    pub node_id: String,
    /// Node name.
    pub node_name: String,
    /// Server RPC address.
    pub address: SocketAddr,
    /// False while it only learns.
    pub voter: bool,
}

/// This server's part in consensus.
pub struct Consensus {
    engine: standing::Engine,
    log: log_store::LogReader,
    leader: watch::Receiver<Option<Leader>>,
    applied: watch::Receiver<u64>,
    contact: Arc<standing::Contact>,
    peers: Peers,
    told: network::Told,
    /// Reads that have to ask a quorum share its answers.
    read_rounds: Rounds<Result<u64, ConsensusError>>,
    /// How long a leader answers reads on the word of its last quorum: half the time after which
    /// another can be elected, so that clocks may differ in speed by a factor of two.
    lease: Duration,
    /// The term in which this leader began to hand over; 0: none.
    handed_over: AtomicU64,
    proposals: Semaphore,
    fault: failure::Fault,
    stop: CancellationToken,
    tasks: TaskTracker,
    writer: std::sync::Mutex<Option<thread::JoinHandle<()>>>,
}

impl Consensus {
    /// Opens the log, loads the newest snapshot, replays what follows it and joins consensus. A
    /// server alone elects itself at once, and has applied all of its log when this returns.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong with the data directory and what to do.
    pub async fn start(settings: Settings, store: Arc<Store>) -> Result<Self, StartError> {
        open::start(settings, store).await
    }

    /// Replicates a command and answers once it is durable on a quorum and applied here. Waits
    /// while 64 MiB of commands are under way.
    ///
    /// # Errors
    /// [`ConsensusError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not take the command back.
    pub async fn propose(&self, command: Command) -> Result<Committed, ConsensusError> {
        let bytes = command.encode();
        let bytes = bytes.expect("commands are text, numbers and maps, all of MessagePack");
        self.propose_encoded(bytes.into()).await
    }

    /// The same for a command that is encoded already, such as one that another server passes on.
    ///
    /// # Errors
    /// [`ConsensusError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not take the command back.
    pub async fn propose_encoded(&self, bytes: Bytes) -> Result<Committed, ConsensusError> {
        let _permit = self.admit(bytes.len()).await?;
        let written = self.engine.client_write(Proposal(bytes));
        match time::timeout(PROPOSAL_TIMEOUT, written).await {
            Ok(Ok(done)) => Ok(Committed { index: done.log_id.index, response: done.data }),
            Ok(Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)))) | Err(_) => {
                Err(ConsensusError::LeadershipLost)
            }
            Ok(Err(RaftError::APIError(_))) => Err(ConsensusError::NoLeader),
            Ok(Err(RaftError::Fatal(_))) => Err(ConsensusError::ShuttingDown),
        }
    }

    /// Returns once a read of the published state is as fresh as `consistency` asks.
    ///
    /// # Errors
    /// [`ConsensusError`]; a stale read never fails.
    pub async fn barrier(&self, consistency: Consistency) -> Result<(), ConsensusError> {
        match consistency {
            Consistency::Stale => Ok(()),
            // What this leader answered is published already; what others may have answered soon is.
            Consistency::Default if self.holds_lease() => self.applied(self.told.index()).await,
            Consistency::Consistent if is_planted(Bug::ConsistentWithoutQuorum) => Ok(()),
            Consistency::Default | Consistency::Consistent => self.read_quorum().await,
        }
    }

    /// The log index that a read must have applied to be as fresh as `consistency` asks. Only the
    /// leader knows it.
    ///
    /// # Errors
    /// [`ConsensusError::NoLeader`] if this server does not lead.
    pub async fn read_index(&self, consistency: Consistency) -> Result<u64, ConsensusError> {
        let is_default = consistency != Consistency::Consistent;
        if is_default && self.holds_lease() || is_planted(Bug::ConsistentWithoutQuorum) {
            return Ok(self.told.index().max(*self.applied.borrow()));
        }
        self.read_rounds.join(|| self.quorum_index()).await
    }

    /// Whether a default read of the published state is as fresh as it must be.
    pub fn is_fresh(&self) -> bool {
        self.holds_lease() && *self.applied.borrow() >= self.told.index()
    }

    /// Returns once the entry at `index` is applied here.
    ///
    /// # Errors
    /// [`ConsensusError::NoLeader`] if that takes longer than five seconds.
    pub async fn applied(&self, index: u64) -> Result<(), ConsensusError> {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|applied| *applied >= index);
        match time::timeout(READ_TIMEOUT, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ConsensusError::ShuttingDown),
            Err(_) => Err(ConsensusError::NoLeader),
        }
    }

    /// How long ago this server heard the leader; zero when it leads, `None` when it never did.
    pub fn last_contact(&self) -> Option<Duration> {
        if self.leader.borrow().as_ref().is_some_and(|leader| leader.is_self) {
            return Some(Duration::ZERO);
        }
        self.contact.age()
    }

    /// What other servers ask of this one, as a gRPC service.
    pub fn service(&self) -> RaftServer<impl raft_server::Raft> {
        service::Service {
            engine: self.engine.clone(),
            contact: self.contact.clone(),
            peers: self.peers.clone(),
            id: self.engine.node_id().to_string(),
        }
        .into_server()
    }

    /// Who leads now, and every change of it. This server is named only while it may answer reads
    /// and writes: its term's first entry is applied and a quorum hears it.
    pub fn leader(&self) -> watch::Receiver<Option<Leader>> {
        self.leader.clone()
    }

    /// All voters and learners. While a change of the voters is under way, only who votes before and
    /// after it counts as a voter: the change may still need those that it is about.
    pub fn peers(&self) -> Vec<Peer> {
        let metrics = self.engine.server_metrics();
        let membership = metrics.borrow_watched().membership_config.clone();
        let peer = |(id, node): (&ServerId, &ServerNode)| Peer {
            node_id: id.to_string(),
            node_name: node.name.clone(),
            address: node.address,
            voter: is_settled_voter(&membership, id),
        };
        membership.nodes().map(peer).collect()
    }

    /// Figures for `agent/self` and `info` under Consul's names: `term`, `state`, `num_peers`,
    /// `last_log_index`, `commit_index`, `applied_index`, `last_snapshot_index` and others.
    pub fn stats(&self) -> BTreeMap<String, String> {
        stats::stats(&self.engine, &self.log)
    }

    /// Waits until this server can take no further part: its disk failed, or it met an entry it
    /// cannot apply. The process must then end, with a non-zero status; it must not retry.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn failed(&self) -> Failure {
        self.fault.raised().await
    }

    /// Stops taking part; every acknowledged write is on disk and the files are closed.
    pub async fn shutdown(&self) {
        self.proposals.close();
        self.stop.cancel();
        if let Err(error) = self.engine.shutdown().await {
            tracing::warn!(%error, "consensus engine did not end cleanly");
        }
        self.tasks.close();
        self.tasks.wait().await;
        let writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(writer) = writer
            && !matches!(task::spawn_blocking(move || writer.join()).await, Ok(Ok(())))
        {
            tracing::error!("raft log writer panicked");
        }
    }

    async fn admit(&self, bytes: usize) -> Result<SemaphorePermit<'_>, ConsensusError> {
        let units = u32::try_from(bytes / PROPOSAL_UNIT + 1).unwrap_or(PROPOSAL_UNITS);
        let permits = self.proposals.acquire_many(units.min(PROPOSAL_UNITS));
        permits.await.map_err(|_| ConsensusError::ShuttingDown)
    }

    async fn read_quorum(&self) -> Result<(), ConsensusError> {
        let index = self.read_rounds.join(|| self.quorum_index()).await?;
        self.applied(index).await
    }

    /// The commit index, confirmed by a quorum that still follows this leader.
    async fn quorum_index(&self) -> Result<u64, ConsensusError> {
        match self.engine.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::Fatal(_)) => Err(ConsensusError::ShuttingDown),
            Err(RaftError::APIError(
                LinearizableReadError::ForwardToLeader(_)
                | LinearizableReadError::QuorumNotEnough(_),
            )) => Err(ConsensusError::NoLeader),
        }
    }

    /// Whether no other server can have been elected yet: a quorum followed this leader less than
    /// the lease ago, and none of them votes for another before the longest election timeout is
    /// over. Not after a hand-over has begun, because then they may.
    fn holds_lease(&self) -> bool {
        let Some(term) = self.leader.borrow().as_ref().filter(|it| it.is_self).map(|it| it.term)
        else {
            return false;
        };
        if is_planted(Bug::LeaseWithoutBound) || self.is_heard(term) {
            return true;
        }
        // Last, because it goes through all voters, and every read comes by.
        standing::is_sole_voter(&self.engine)
    }

    /// Whether a quorum followed the leader of `term` within the lease.
    fn is_heard(&self, term: u64) -> bool {
        let metrics = self.engine.metrics();
        let metrics = metrics.borrow_watched();
        metrics.current_term == term
            && self.handed_over.load(Ordering::Acquire) != term
            && metrics.last_quorum_acked.is_some_and(|acked| acked.elapsed() < self.lease)
    }
}
