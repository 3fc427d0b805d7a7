//! What only the leader does: each duty begins when this server begins to lead and ends when it
//! stops.
//!
//! INVARIANT: duties are level-triggered and may overlap with those of a deposed leader for a
//! moment: whatever they decide is proposed, and the log decides.

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Server;
use crate::telemetry::metrics;

/// Runs `begin` whenever this server begins to lead; the tasks that it spawns end with the token.
pub async fn run(
    server: Arc<Server>,
    begin: impl Fn(&TaskTracker, CancellationToken),
    shutdown: CancellationToken,
) {
    let mut leader = server.consensus().leader();
    loop {
        let elected = leader.wait_for(|now| now.as_ref().is_some_and(|now| now.is_self));
        let term = tokio::select! {
            () = shutdown.cancelled() => return,
            elected = elected => match elected {
                Ok(now) => now.as_ref().map(|now| now.term),
                Err(_) => return,
            },
        };
        metrics::RAFT_STATE_LEADER.increment();
        tracing::info!(target: "agent.server", term, "cluster leadership acquired");
        let (tasks, until) = (TaskTracker::new(), shutdown.child_token());
        begin(&tasks, until.clone());
        tasks.close();
        let deposed = leader
            .wait_for(|now| now.as_ref().is_none_or(|now| !now.is_self || Some(now.term) != term));
        let ended = tokio::select! {
            () = shutdown.cancelled() => true,
            deposed = deposed => deposed.is_err(),
        };
        until.cancel();
        tasks.wait().await;
        tracing::info!(target: "agent.server", "cluster leadership lost");
        if ended {
            return;
        }
    }
}
