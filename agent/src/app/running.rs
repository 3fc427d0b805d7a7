//! A running agent and its shutdown: listeners first, then tasks, then consensus, so that every
//! acknowledged change is on disk.

use std::{sync::Arc, time::Duration};

use lictor_membership::NameConflict;
use lictor_runtime::{TaskFailed, Tasks};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::{Agent, Request},
    data_dir,
};

/// How long a shutdown waits for requests and tasks before it abandons them.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a running agent must end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Consensus failed; this server cannot continue.
    #[error(transparent)]
    Consensus(lictor_consensus::Failure),
    /// It could not join the cluster within `retry_max` attempts.
    #[error("max join retry exhausted, exiting")]
    NotJoined,
    /// A newer agent has superseded this one under its name.
    #[error("node name is now used by {} at {}", .0.node_id, .0.address)]
    Superseded(NameConflict),
    /// A task failed that the agent cannot run without.
    #[error(transparent)]
    Task(TaskFailed),
}

/// An agent and its tasks.
pub struct Running {
    pub(super) agent: Arc<Agent>,
    pub(super) requests: Mutex<mpsc::Receiver<Request>>,
    /// Cancelled when joining has failed `retry_max` times.
    pub(super) exhausted: CancellationToken,
    pub(super) tasks: Tasks,
    pub(super) _data_dir: Option<data_dir::Lock>,
}

// === impl Running ===

impl Running {
    /// Returns the agent that request handlers use.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Receives the next request of an endpoint to the process; `None` when there will be none.
    pub async fn request(&self) -> Option<Request> {
        self.requests.lock().await.recv().await
    }

    /// Waits until this agent cannot continue; the process must then exit.
    pub async fn failed(&self) -> Failure {
        let consensus = async {
            match self.agent.server() {
                Some(server) => server.consensus().failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In order of causes: a failure of consensus also fails tasks.
            biased;
            failure = consensus => Failure::Consensus(failure),
            () = self.exhausted.cancelled() => Failure::NotJoined,
            conflict = self.agent.pools.superseded() => Failure::Superseded(conflict),
            failed = self.agent.pools.failed() => Failure::Task(failed),
            failed = self.tasks.failed() => Failure::Task(failed),
        }
    }

    /// Leaves the cluster, so that no member waits for this agent, notifies `left` and stops.
    pub async fn leave(self, left: Option<oneshot::Sender<()>>) {
        tracing::info!(target: "agent", "Requesting graceful leave");
        self.agent.leaving.cancel();
        if let Some(server) = self.agent.server() {
            server.hand_over().await;
        }
        // The pools first: the leader adds an alive member that Raft does not know again.
        self.agent.pools.leave().await;
        self.drain().await;
        if let Some(server) = self.agent.server() {
            server.leave(&self.agent.node_id).await;
        }
        if left.is_some_and(|left| left.send(()).is_err()) {
            tracing::debug!("the client that asked to leave is gone");
        }
        self.shutdown().await;
    }

    /// Waits until in-flight calls of other agents are done, at most
    /// `performance.leave_drain_time`. Consul sleeps for all of that time; here no new calls are
    /// accepted.
    async fn drain(&self) {
        self.agent.calls.close();
        let drain_timeout = self.agent.config.load().performance.leave_drain_time;
        if !self.agent.calls.is_empty() {
            tracing::info!(
                target: "agent.server",
                calls = self.agent.calls.len(),
                drain_time = ?drain_timeout,
                "Waiting to drain RPC traffic"
            );
        }
        if tokio::time::timeout(drain_timeout, self.agent.calls.wait()).await.is_err() {
            tracing::warn!(calls = self.agent.calls.len(), "some calls are cut off");
        }
    }

    /// Stops the parts in order; takes at most about ten seconds. A leader transfers leadership
    /// first.
    pub async fn shutdown(self) {
        if let Some(server) = self.agent.server() {
            server.hand_over().await;
        }
        // A pod returns under another address, which members reject while the old one looks alive.
        // Elsewhere, a quick restart does not fail the node's checks and sessions.
        if self.agent.kubernetes.is_some() {
            self.agent.pools.withdraw().await;
        }
        self.agent.pools.shutdown().await;
        self.tasks.stop(SHUTDOWN_TIMEOUT).await;
        if let Some(server) = self.agent.server() {
            server.consensus().shutdown().await;
        }
    }
}
