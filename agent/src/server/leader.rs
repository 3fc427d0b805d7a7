//! Leader duties: each starts when this server gains leadership and stops when it loses it.
//!
//! INVARIANT: duties are level-triggered and may briefly overlap with those of a deposed leader:
//! their decisions are only proposals, and the log decides.

use std::sync::Arc;

use lictor_runtime::Tasks;

use super::Server;
use crate::telemetry::metrics;

/// Runs `begin` whenever this server gains leadership, until shutdown of `tasks`; the tasks that it
/// starts end with the leadership. Duties restart after a panic, so a leader never continues
/// without one of them.
pub async fn run(server: Arc<Server>, begin: impl Fn(&Tasks), tasks: Tasks) {
    let (mut leader, shutdown) = (server.consensus().leader(), tasks.shutdown().clone());
    loop {
        let elected = leader.wait_for(|now| now.as_ref().is_some_and(|now| now.is_self));
        // Releases the borrowed value, which no task may hold while it waits.
        let elected = async { elected.await.map(|now| now.as_ref().map(|now| now.term)) };
        let term = tokio::select! {
            () = shutdown.cancelled() => return,
            elected = elected => match elected {
                Ok(term) => term,
                // Consensus stopped, and reports that itself.
                Err(_) => return shutdown.cancelled().await,
            },
        };
        metrics::RAFT_STATE_LEADER.increment();
        tracing::info!(target: "agent.server", term, "cluster leadership acquired");
        let duties = tasks.group();
        begin(&duties);
        let deposed = leader
            .wait_for(|now| now.as_ref().is_none_or(|now| !now.is_self || Some(now.term) != term));
        let ended = tokio::select! {
            () = shutdown.cancelled() => true,
            deposed = deposed => deposed.is_err(),
        };
        duties.end().await;
        tracing::info!(target: "agent.server", "cluster leadership lost");
        if ended {
            return shutdown.cancelled().await;
        }
    }
}
