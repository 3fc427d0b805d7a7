//! Consensus: the replicated log, its disk, and the leader.
//!
//! Callers use [`Consensus`] to propose commands, to wait until a read is safe, and to follow the
//! leader. Below it: `open` (starting), `log_store` (redb), `state_machine`, `snapshot`, `wire`
//! with `network` and `service` (between servers), `membership` (voters and learners), `standing`
//! (the leader as this server may act on it).
//!
//! Engines: openraft for Raft, whose storage and network are traits that are implemented here; redb
//! for the log, measured beside fjall (see `log_store`).
//!
//! INVARIANT: the only crate that depends on openraft and redb; none of their types is public.
//! Nothing here knows of HTTP, DNS or gossip: addresses of peers come from
//! [`lictor_transport::servers::Servers`]. May be touched here: how entries are stored, replicated
//! and read; what a command does is written in `lictor_core::fsm`.
//!
//! INVARIANT: a proposal returns after it is durable on a quorum (alone: on this disk) and visible
//! in the published state; when either can no longer be promised, [`Consensus::failed`] returns the
//! reason, and the process must end.
//!
//! Settings that differ from the engine's defaults, each for a reason: elections after 350 to 700
//! ms times `raft_multiplier` (shorter ones flap on two busy cores), pre-vote (a server that was
//! cut off does not depose the leader), no leadership without a vote after a restart (its commit
//! point may be old), and purging by the older snapshot instead of by count.

#![forbid(unsafe_code)]

mod directory;
mod error;
mod failure;
mod log_store;
mod membership;
pub mod metrics;
mod network;
mod open;
mod record;
mod recovery;
pub mod rounds;
mod service;
mod settings;
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
use lictor_runtime::Tasks;
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

pub use error::{ConsensusError, StartError};
pub use failure::Failure;
pub use membership::Progress;
use membership::is_settled_voter;
pub use network::PeerDirectory;
use rounds::Rounds;
pub use settings::{Compaction, LogWrites, Settings};
use types::{Proposal, ServerId, ServerNode};
#[doc(hidden)]
pub use wire::sent_again;

/// Proposals that may be in flight, in units of [`PROPOSAL_UNIT_BYTES`] (64 MiB); more wait.
const MAX_PROPOSAL_UNITS: u32 = 1 << 16;
const PROPOSAL_UNIT_BYTES: usize = 1 << 10;
/// How long a proposal may take; longer than any election.
const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a read waits until committed entries are applied here.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the tasks may take to end once the engine has.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Result of a committed command.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Raft index of the command.
    pub index: u64,
    /// Response of the state machine.
    pub response: Response,
}

/// The leader as this server sees it.
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
    peers: PeerDirectory,
    advertised: network::AdvertisedCommit,
    /// Reads that have to ask a quorum share its answers.
    read_rounds: Rounds<Result<u64, ConsensusError>>,
    /// How long a leader serves reads after its last quorum: half the time after which
    /// another can be elected, so that clocks may differ in speed by a factor of two.
    lease: Duration,
    /// The term in which this leader began to transfer leadership; 0: none.
    handed_over: AtomicU64,
    proposals: Semaphore,
    fault: failure::Fault,
    tasks: Tasks,
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

    /// Replicates a command; returns once it is durable on a quorum and applied here. Waits while
    /// 64 MiB of commands are in flight, and at most 30 seconds for its own.
    ///
    /// # Errors
    /// [`ConsensusError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not revoke the command.
    pub async fn propose(&self, command: Command) -> Result<Committed, ConsensusError> {
        let bytes = command.encode();
        let bytes = bytes.expect("commands are text, numbers and maps, all of MessagePack");
        self.propose_encoded(bytes.into()).await
    }

    /// Does the same for an encoded command, such as one that another server forwards.
    ///
    /// # Errors
    /// [`ConsensusError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not revoke the command.
    pub async fn propose_encoded(&self, bytes: Bytes) -> Result<Committed, ConsensusError> {
        let _permit = self.admit(bytes.len()).await?;
        let started = std::time::Instant::now();
        let written = self.engine.client_write(Proposal(bytes));
        match time::timeout(PROPOSAL_TIMEOUT, written).await {
            Ok(Ok(done)) => {
                metrics::PROPOSALS.increment();
                metrics::COMMIT_TIMES.observe_since(started);
                Ok(Committed { index: done.log_id.index, response: done.data })
            }
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
            // What this leader acknowledged is published; what followers may show is applied soon.
            Consistency::Default if self.holds_lease() => {
                self.applied(self.advertised.index()).await
            }
            Consistency::Consistent if is_planted(Bug::ConsistentWithoutQuorum) => Ok(()),
            Consistency::Default | Consistency::Consistent => self.read_quorum().await,
        }
    }

    /// Returns the log index that a read must have applied to be as fresh as `consistency` asks.
    /// Only the leader knows it.
    ///
    /// # Errors
    /// [`ConsensusError::NoLeader`] if this server does not lead.
    pub async fn read_index(&self, consistency: Consistency) -> Result<u64, ConsensusError> {
        let is_default = consistency != Consistency::Consistent;
        if is_default && self.holds_lease() || is_planted(Bug::ConsistentWithoutQuorum) {
            return Ok(self.advertised.index().max(*self.applied.borrow()));
        }
        self.read_rounds.join(|| self.quorum_index()).await
    }

    /// Returns whether a default read of the published state is fresh enough without waiting.
    pub fn is_fresh(&self) -> bool {
        self.holds_lease() && *self.applied.borrow() >= self.advertised.index()
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

    /// Returns how long ago the leader last contacted this server; zero when this server leads,
    /// `None` if no leader ever did.
    pub fn last_contact(&self) -> Option<Duration> {
        if self.leader.borrow().as_ref().is_some_and(|leader| leader.is_self) {
            return Some(Duration::ZERO);
        }
        self.contact.age()
    }

    /// Returns the gRPC service that other servers call.
    pub fn service(&self) -> RaftServer<impl raft_server::Raft> {
        service::Service {
            engine: self.engine.clone(),
            contact: self.contact.clone(),
            peers: self.peers.clone(),
            id: self.engine.node_id().to_string(),
        }
        .into_server()
    }

    /// Returns a receiver of the leader. This server is named only while it may serve reads and
    /// writes: its term's first entry is applied and a quorum answers it.
    pub fn leader(&self) -> watch::Receiver<Option<Leader>> {
        self.leader.clone()
    }

    /// Returns all voters and learners. During a change of the voters, only servers that vote
    /// before and after it count as voters: the change may still need the votes of those it
    /// removes.
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

    /// Returns figures for `agent/self` and `info` under Consul's names: `term`, `state`,
    /// `num_peers`, `last_log_index`, `commit_index`, `applied_index`, `last_snapshot_index` and
    /// others.
    pub fn stats(&self) -> BTreeMap<String, String> {
        stats::stats(&self.engine, &self.log, self.contact.age())
    }

    /// Waits until this server can take no further part: its disk failed, or it cannot apply an
    /// entry. The process must then end with a non-zero status; it must not retry.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn failed(&self) -> Failure {
        tokio::select! {
            biased;
            failure = self.fault.raised() => failure,
            failed = self.tasks.failed() => {
                let error = self.fault.raise(Failure::Task(failed));
                tracing::error!(%error, "consensus ended, this server must stop");
                self.fault.raised().await
            }
        }
    }

    /// Stops consensus. Every acknowledged write is on disk and the files are closed when it
    /// returns.
    pub async fn shutdown(&self) {
        self.proposals.close();
        self.tasks.shutdown().cancel();
        if let Err(error) = self.engine.shutdown().await {
            tracing::warn!(%error, "consensus engine did not end cleanly");
        }
        self.tasks.stop(STOP_TIMEOUT).await;
        let writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(writer) = writer
            && !matches!(task::spawn_blocking(move || writer.join()).await, Ok(Ok(())))
        {
            tracing::error!("raft log writer panicked");
        }
    }

    async fn admit(&self, bytes: usize) -> Result<SemaphorePermit<'_>, ConsensusError> {
        let units = u32::try_from(bytes / PROPOSAL_UNIT_BYTES + 1).unwrap_or(MAX_PROPOSAL_UNITS);
        let permits = self.proposals.acquire_many(units.min(MAX_PROPOSAL_UNITS));
        permits.await.map_err(|_| ConsensusError::ShuttingDown)
    }

    async fn read_quorum(&self) -> Result<(), ConsensusError> {
        let index = self.read_rounds.join(|| self.quorum_index()).await?;
        self.applied(index).await
    }

    /// Returns the commit index after a quorum has confirmed that it still follows this leader.
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

    /// Returns whether no other server can have been elected yet: a quorum followed this leader
    /// less than the lease ago, and none of them votes for another before the longest election
    /// timeout has passed. False once a leadership transfer has begun, because then they may.
    fn holds_lease(&self) -> bool {
        let Some(term) = self.leader.borrow().as_ref().filter(|it| it.is_self).map(|it| it.term)
        else {
            return false;
        };
        if is_planted(Bug::LeaseWithoutBound) || self.has_quorum(term) {
            return true;
        }
        // Last, because it iterates over all voters, on every read.
        standing::is_sole_voter(&self.engine)
    }

    /// Returns whether a quorum followed the leader of `term` within the lease.
    fn has_quorum(&self, term: u64) -> bool {
        let metrics = self.engine.metrics();
        let metrics = metrics.borrow_watched();
        metrics.current_term == term
            && self.handed_over.load(Ordering::Acquire) != term
            && metrics.last_quorum_acked.is_some_and(|acked| acked.elapsed() < self.lease)
    }
}
