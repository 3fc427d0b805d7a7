//! A server's side of the agent: proposing commands, read barriers and blocking queries.
//!
//! Everything above (HTTP, DNS, gRPC, leader duties) goes through [`Server`]; it alone knows that
//! there is a Raft log underneath. A request that meets an election waits up to the hold timeout
//! instead of failing.

pub mod reconcile;

use std::{sync::Arc, time::Duration};

use lictor_api::query::{Consistency, QueryMeta, QueryOptions};
use tokio::time::{Instant, timeout_at};

use crate::{
    fsm::{Command, Rejection, Response},
    raft::{Consensus, ConsensusError},
    state::{State, Store, WatchSet},
};

/// How long a blocking query waits when the client does not say (`default_query_time`).
const DEFAULT_WAIT: Duration = Duration::from_secs(300);
/// The longest a blocking query waits (`max_query_time`).
const MAX_WAIT: Duration = Duration::from_secs(600);
/// How long a request waits for a leader (`performance.rpc_hold_timeout`).
const HOLD_TIMEOUT: Duration = Duration::from_secs(7);

/// Why a server could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Nobody leads, and nobody did for the hold timeout. Retryable.
    #[error("no cluster leader")]
    NoLeader,
    /// The command may or may not have been committed; whoever asked has to look.
    #[error("leadership lost while committing log")]
    LeadershipLost,
    /// The server is stopping. Retryable elsewhere.
    #[error("shutting down")]
    ShuttingDown,
    /// The command was committed and refused; the client's fault, nothing changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

impl From<ConsensusError> for ServerError {
    fn from(error: ConsensusError) -> Self {
        match error {
            ConsensusError::NoLeader => Self::NoLeader,
            ConsensusError::LeadershipLost => Self::LeadershipLost,
            ConsensusError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// A server of the cluster.
pub struct Server {
    store: Arc<Store>,
    consensus: Consensus,
}

impl Server {
    /// Joins the published state with the consensus that feeds it.
    pub fn new(store: Arc<Store>, consensus: Consensus) -> Self {
        Self { store, consensus }
    }

    /// The published state and its watches.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Leadership, peers and figures.
    pub fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    /// Replicates a command. `Ok(false)` means that its condition did not hold.
    ///
    /// # Errors
    /// [`ServerError`]; after [`ServerError::NoLeader`] nothing was changed.
    pub async fn propose(&self, command: Command) -> Result<bool, ServerError> {
        Ok(self.submit(command).await? != Response::Applied(false))
    }

    /// Replicates a command and returns what it did, which is never [`Response::Rejected`].
    ///
    /// # Errors
    /// [`ServerError`]; after [`ServerError::NoLeader`] nothing was changed.
    pub async fn submit(&self, command: Command) -> Result<Response, ServerError> {
        let deadline = Instant::now() + HOLD_TIMEOUT;
        let committed = loop {
            match self.consensus.propose(command.clone()).await {
                Err(ConsensusError::NoLeader) => self.wait_for_leader(deadline).await?,
                other => break other?,
            }
        };
        match committed.response {
            Response::Rejected(rejection) => Err(rejection.into()),
            response => Ok(response),
        }
    }

    /// Returns once a read is as fresh as asked.
    ///
    /// # Errors
    /// [`ServerError`]; stale reads never fail.
    pub async fn barrier(&self, consistency: Consistency) -> Result<(), ServerError> {
        let deadline = Instant::now() + HOLD_TIMEOUT;
        loop {
            match self.consensus.barrier(consistency).await {
                Err(ConsensusError::NoLeader) => self.wait_for_leader(deadline).await?,
                other => return Ok(other?),
            }
        }
    }

    /// Answers a read, after blocking if the client gave an index: Consul's blocking query.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn query<T>(
        &self,
        options: &QueryOptions,
        read: impl Fn(&State, &mut WatchSet) -> T,
    ) -> Result<(QueryMeta, T), ServerError> {
        self.barrier(options.consistency).await?;
        let (index, answer) = if options.index == 0 {
            self.store.read(read)
        } else {
            let deadline =
                Instant::now() + jittered(options.wait.unwrap_or(DEFAULT_WAIT).min(MAX_WAIT));
            match timeout_at(deadline, self.store.read_after(options.index, &read)).await {
                Ok(changed) => changed,
                Err(_) => self.store.read(read),
            }
        };
        let meta = QueryMeta {
            index,
            last_contact_ms: 0,
            known_leader: self.known_leader(),
            consistency: options.consistency,
        };
        Ok((meta, answer))
    }

    /// Whether this server knows who leads.
    pub fn known_leader(&self) -> bool {
        self.consensus.leader().borrow().is_some()
    }

    /// Whether this server leads.
    pub fn is_leader(&self) -> bool {
        self.consensus.leader().borrow().as_ref().is_some_and(|leader| leader.is_self)
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
        // A leader that is known but not ready yet refuses with NoLeader: do not spin on it.
        tokio::time::sleep_until(deadline.min(Instant::now() + Duration::from_millis(5))).await;
        if Instant::now() >= deadline { Err(ServerError::NoLeader) } else { result }
    }
}

/// Adds up to a sixteenth, so that queries that began together do not end together.
fn jittered(wait: Duration) -> Duration {
    wait + wait.mul_f64(rand::random_range(0.0..=1.0 / 16.0))
}
