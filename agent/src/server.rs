//! A server's side of the agent: proposing commands, read barriers and blocking queries.
//!
//! HTTP, DNS, gRPC and the leader duties go through [`Server`], which alone uses the Raft log. A
//! request during an election waits up to the hold timeout instead of failing.

pub mod autopilot;
pub mod bootstrap;
pub mod coordinates;
pub mod leader;
pub mod reconcile;
mod remote;
pub mod sessions;
pub mod snapshots;

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use lictor_api::query::{Consistency, QueryMeta, QueryOptions};
use lictor_consensus::{Consensus, ConsensusError, Leader, PeerDirectory};
use lictor_core::{
    fsm::{Command, Rejection, Response},
    planted::{Bug, is_planted},
    state::{State, WatchSet},
};
use lictor_runtime::{backoff::extended, metrics::Sample};
use lictor_store::Store;
use tokio::time::{Instant, timeout_at};

use crate::telemetry::metrics;

/// Pause between two attempts to reach a leader.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// Why a server failed a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// There was no leader for the whole hold timeout. Retryable; nothing was changed.
    #[error("no cluster leader")]
    NoLeader,
    /// The command may or may not have been committed; the caller must read the state.
    #[error("leadership lost while committing log")]
    LeadershipLost,
    /// The server is stopping. Retryable at another server.
    #[error("shutting down")]
    ShuttingDown,
    /// The command was committed and rejected; the client's fault, nothing was changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A membership change that is not possible; nothing was changed.
    #[error("{0}")]
    Refused(String),
}

impl From<ConsensusError> for ServerError {
    fn from(error: ConsensusError) -> Self {
        match error {
            ConsensusError::NoLeader => Self::NoLeader,
            ConsensusError::LeadershipLost => Self::LeadershipLost,
            ConsensusError::ShuttingDown => Self::ShuttingDown,
            ConsensusError::Refused(reason) => Self::Refused(reason),
        }
    }
}

/// A server of the cluster.
pub struct Server {
    store: Arc<Store>,
    consensus: Consensus,
    leader: remote::RemoteLeader,
    hold_timeout: Duration,
    clocks: Mutex<sessions::Clocks>,
    autopilot: autopilot::Reports,
}

impl Server {
    /// Creates a server from the published state and the consensus that feeds it. A request waits
    /// up to `hold_timeout` for a leader.
    pub fn new(
        store: Arc<Store>,
        consensus: Consensus,
        peers: PeerDirectory,
        hold_timeout: Duration,
    ) -> Self {
        let leader = remote::RemoteLeader::new(peers);
        Self {
            store,
            consensus,
            leader,
            hold_timeout,
            clocks: Mutex::default(),
            autopilot: autopilot::Reports::empty(),
        }
    }

    /// Returns the published state with its watches.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Returns the consensus: leadership, peers and figures.
    pub fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    /// Returns autopilot's last report; `None` inside unless this server leads.
    pub fn autopilot(&self) -> &autopilot::Reports {
        &self.autopilot
    }

    /// Returns the directory of the other servers.
    pub fn peers(&self) -> &PeerDirectory {
        self.leader.peers()
    }

    /// Replicates a command. Returns `Ok(false)` when its condition did not hold.
    ///
    /// # Errors
    /// [`ServerError`]; after [`ServerError::NoLeader`] nothing was changed.
    pub async fn propose(&self, command: Command) -> Result<bool, ServerError> {
        Ok(self.submit(command).await? != Response::Applied(false))
    }

    /// Replicates a command, forwarded to the leader if that is another server, and returns its
    /// result, which is never [`Response::Rejected`].
    ///
    /// # Errors
    /// [`ServerError`]; after [`ServerError::NoLeader`] nothing was changed.
    pub async fn submit(&self, command: Command) -> Result<Response, ServerError> {
        let (started, latency) = (std::time::Instant::now(), latency_of(&command));
        let command = command.encode();
        let command = Bytes::from(command.expect("commands are text, numbers and maps"));
        let propose = || async {
            match self.current_leader()? {
                leader if leader.is_self => self.consensus.propose_encoded(command.clone()).await,
                leader => self.leader.propose(&leader, command.clone()).await,
            }
        };
        let held = self.hold(propose).await;
        if let Some(latency) = latency {
            latency.observe_since(started);
        }
        match held?.response {
            Response::Rejected(rejection) => Err(rejection.into()),
            response => Ok(response),
        }
    }

    /// Waits until a read of the published state is as fresh as `consistency` requires.
    ///
    /// # Errors
    /// [`ServerError`]; stale reads never fail.
    pub async fn barrier(&self, consistency: Consistency) -> Result<(), ServerError> {
        let unguarded = consistency == Consistency::Default && is_planted(Bug::ReadWithoutBarrier);
        let is_fresh = consistency == Consistency::Default && self.consensus.is_fresh();
        if consistency == Consistency::Stale || is_fresh || unguarded {
            return Ok(());
        }
        let read = || async {
            match self.current_leader()? {
                leader if leader.is_self => self.consensus.barrier(consistency).await,
                leader => {
                    let index = self.leader.read_index(&leader, consistency).await?;
                    self.consensus.applied(index).await
                }
            }
        };
        // Boxed to keep the futures of blocking queries small.
        Box::pin(self.hold(read)).await
    }

    /// Runs a read, and blocks first if the client sent an index: Consul's blocking query. Waits up
    /// to `options.wait`, which the caller has bounded (`max_query_time`), plus up to a sixteenth.
    ///
    /// # Errors
    /// [`ServerError`]; stale reads never fail.
    pub async fn query<T>(
        &self,
        options: &QueryOptions,
        read: impl Fn(&State, &mut WatchSet) -> T,
    ) -> Result<(QueryMeta, T), ServerError> {
        metrics::RPC_QUERY.increment();
        let consistency = self.consistency(options);
        self.barrier(consistency).await?;
        let (index, answer) = if options.index == 0 {
            self.store.read(read)
        } else {
            let deadline = Instant::now() + extended(options.wait.unwrap_or_default());
            match timeout_at(deadline, self.store.read_after(options.index, &read)).await {
                Ok(changed) => changed,
                Err(_) => {
                    // Nothing changed here; a partitioned server must not report that as current.
                    self.barrier(consistency).await?;
                    self.store.read(read)
                }
            }
        };
        Ok((self.meta(consistency, index), answer))
    }

    /// Returns the metadata of a read of this server's state at `index` with `consistency`.
    pub fn meta(&self, consistency: Consistency, index: u64) -> QueryMeta {
        let last_contact = match consistency {
            Consistency::Stale => self.consensus.last_contact().unwrap_or_default(),
            Consistency::Default | Consistency::Consistent => Duration::ZERO,
        };
        QueryMeta {
            index,
            last_contact_ms: u64::try_from(last_contact.as_millis()).unwrap_or(u64::MAX),
            known_leader: self.known_leader(),
            consistency,
        }
    }

    /// Locks the clocks of sessions and lock-delays, which run while this server leads.
    fn clocks(&self) -> MutexGuard<'_, sessions::Clocks> {
        // A panic between two steps leaves a clock too many or too few; the next pass repairs that.
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether this server has a known leader, itself included.
    pub fn known_leader(&self) -> bool {
        self.consensus.leader().borrow().is_some()
    }

    /// Returns whether this server leads.
    pub fn is_leader(&self) -> bool {
        self.consensus.leader().borrow().as_ref().is_some_and(|leader| leader.is_self)
    }

    /// Transfers leadership to another voter, if this server leads and there is one.
    pub async fn hand_over(&self) {
        let others = self.consensus.peers().iter().filter(|peer| peer.voter).count() > 1;
        if others
            && self.is_leader()
            && let Err(error) = self.consensus.transfer_leader(None).await
        {
            tracing::warn!(%error, "leadership was not handed over");
        }
    }

    /// Removes this server from consensus, so that the quorum shrinks with it. The last voter is
    /// not removed.
    pub async fn leave(&self, own: &str) {
        let voters = self.consensus.peers().iter().filter(|peer| peer.voter).count();
        if voters <= 1 {
            return;
        }
        self.hand_over().await;
        let left = async || match self.current_leader()? {
            leader if leader.is_self => self.consensus.remove(own).await,
            leader => self.leader.remove(&leader, own).await,
        };
        if let Err(error) = self.hold(left).await {
            tracing::warn!(%error, "this server is still part of consensus; others will remove it");
        }
    }

    /// Returns the current leader.
    ///
    /// # Errors
    /// [`ConsensusError::NoLeader`] while none is known.
    pub fn current_leader(&self) -> Result<Leader, ConsensusError> {
        self.consensus.leader().borrow().clone().ok_or(ConsensusError::NoLeader)
    }

    /// Returns how fresh a read must be: one that would exceed the client's `max_stale` consults
    /// the leader.
    fn consistency(&self, options: &QueryOptions) -> Consistency {
        match (options.consistency, options.max_stale) {
            (Consistency::Stale, Some(limit)) => match self.consensus.last_contact() {
                Some(age) if age <= limit => Consistency::Stale,
                _ => Consistency::Default,
            },
            (consistency, _) => consistency,
        }
    }

    /// Repeats `attempt` while there is no leader, until the hold timeout.
    ///
    /// # Errors
    /// The error of the attempt; [`ServerError::NoLeader`] at the timeout.
    pub async fn hold<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, ServerError>
    where
        F: Future<Output = Result<T, ConsensusError>>,
    {
        let deadline = Instant::now() + self.hold_timeout;
        loop {
            match attempt().await {
                Err(ConsensusError::NoLeader) => self.wait_for_leader(deadline).await?,
                Err(ConsensusError::LeadershipLost) if is_planted(Bug::UnknownRetried) => {
                    self.wait_for_leader(deadline).await?;
                }
                other => return Ok(other?),
            }
        }
    }

    async fn wait_for_leader(&self, deadline: Instant) -> Result<(), ServerError> {
        let mut leader = self.consensus.leader();
        let known = timeout_at(deadline, leader.wait_for(Option::is_some))
            .await
            .map(|found| found.map(|_leader| ()));
        let result = match known {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ServerError::ShuttingDown),
            Err(_) => Err(ServerError::NoLeader),
        };
        // A known leader rejects requests while it is not ready or gone: do not spin on it.
        tokio::time::sleep_until(deadline.min(Instant::now() + RETRY_INTERVAL)).await;
        if Instant::now() >= deadline { Err(ServerError::NoLeader) } else { result }
    }
}

/// Returns the latency metric of this type of command.
fn latency_of(command: &Command) -> Option<&'static Sample> {
    match command {
        Command::Register(_) => Some(&metrics::CATALOG_REGISTER),
        Command::Deregister(_) => Some(&metrics::CATALOG_DEREGISTER),
        Command::Kv(_) => Some(&metrics::KVS_APPLY),
        Command::ConfigEntry(_) => Some(&metrics::CONFIG_ENTRY_APPLY),
        Command::Intention(_) => Some(&metrics::INTENTION_APPLY),
        Command::Session(_) => Some(&metrics::SESSION_APPLY),
        Command::Transaction(_) => Some(&metrics::TXN_APPLY),
        Command::Ca(_) | Command::Restore(_) | Command::Autopilot(_) | Command::Coordinate(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests;
