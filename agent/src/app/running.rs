//! An agent that runs, and how it stops: listeners first, then tasks, then consensus, so that
//! everything that was answered is on disk.

use std::{sync::Arc, time::Duration};

use lictor_membership::NameConflict;
use lictor_runtime::{TaskFailed, Tasks};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::{Agent, Request},
    data_dir,
};

/// How long a stop waits for requests and tasks before it leaves them.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a running agent must end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Consensus failed; this server cannot continue.
    #[error(transparent)]
    Consensus(lictor_consensus::Failure),
    /// It was not let into the cluster, and `retry_max` is reached.
    #[error("max join retry exhausted, exiting")]
    NotJoined,
    /// A newer agent has taken this agent's name.
    #[error("node name is now used by {} at {}", .0.node_id, .0.address)]
    Superseded(NameConflict),
    /// A task is gone without which it would only look healthy.
    #[error(transparent)]
    Task(TaskFailed),
}

/// An agent and its tasks.
pub struct Running {
    pub(super) agent: Arc<Agent>,
    pub(super) requests: Mutex<mpsc::Receiver<Request>>,
    /// Cancelled when joining was limited and failed that often.
    pub(super) exhausted: CancellationToken,
    pub(super) tasks: Tasks,
    pub(super) _data_dir: Option<data_dir::Lock>,
}

// === impl Running ===

impl Running {
    /// What requests are answered from.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// The next thing an endpoint asks of the process.
    pub async fn request(&self) -> Option<Request> {
        self.requests.lock().await.recv().await
    }

    /// Waits until this agent cannot go on; the process must then end.
    pub async fn failed(&self) -> Failure {
        let consensus = async {
            match self.agent.server() {
                Some(server) => server.consensus().failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The cause before what follows from it.
            biased;
            failure = consensus => Failure::Consensus(failure),
            () = self.exhausted.cancelled() => Failure::NotJoined,
            conflict = self.agent.pools.superseded() => Failure::Superseded(conflict),
            failed = self.agent.pools.failed() => Failure::Task(failed),
            failed = self.tasks.failed() => Failure::Task(failed),
        }
    }

    /// Leaves the cluster, so that nobody waits for this agent any more, tells `left` and stops.
    pub async fn leave(self, left: Option<oneshot::Sender<()>>) {
        tracing::info!(target: "agent", "Requesting graceful leave");
        self.agent.leaving.cancel();
        if let Some(server) = self.agent.server() {
            server.hand_over().await;
        }
        // First the pools: the leader takes in again whom gossip calls alive and Raft does not know.
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

    /// Waits for what other agents are being answered, at most for `performance.leave_drain_time`.
    /// Consul sleeps for all of that time; here nothing new comes in.
    async fn drain(&self) {
        self.agent.calls.close();
        let patience = self.agent.config.load().performance.leave_drain_time;
        if !self.agent.calls.is_empty() {
            tracing::info!(
                target: "agent.server",
                calls = self.agent.calls.len(),
                drain_time = ?patience,
                "Waiting to drain RPC traffic"
            );
        }
        if tokio::time::timeout(patience, self.agent.calls.wait()).await.is_err() {
            tracing::warn!(calls = self.agent.calls.len(), "some calls are cut off");
        }
    }

    /// Stops in order; ends within ten seconds whatever the tasks do. A leader hands over first.
    pub async fn shutdown(self) {
        if let Some(server) = self.agent.server() {
            server.hand_over().await;
        }
        // A pod comes back under another address, which the others refuse while they wait for the old.
        // Elsewhere a quick restart passes without its checks and sessions failing.
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
