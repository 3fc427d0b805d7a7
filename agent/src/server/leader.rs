//! What only the leader does: each duty begins when this server begins to lead and ends when it
//! stops.
//!
//! INVARIANT: duties are level-triggered and may overlap with those of a deposed leader for a
//! moment: whatever they decide is proposed, and the log decides.

use std::sync::Arc;

use lictor_runtime::Tasks;

use super::Server;
use crate::telemetry::metrics;

/// Runs `begin` whenever this server begins to lead, until shutdown of `tasks`; what it starts ends
/// with the leadership. Duties are started so that they begin again after a panic: a leader never
/// goes on without one of them.
pub async fn run(server: Arc<Server>, begin: impl Fn(&Tasks), tasks: Tasks) {
    let (mut leader, shutdown) = (server.consensus().leader(), tasks.shutdown().clone());
    loop {
        let elected = leader.wait_for(|now| now.as_ref().is_some_and(|now| now.is_self));
        // Lets go of the value, which no task may hold while it waits.
        let elected = async { elected.await.map(|now| now.as_ref().map(|now| now.term)) };
        let term = tokio::select! {
            () = shutdown.cancelled() => return,
            elected = elected => match elected {
                Ok(term) => term,
                // Consensus ended, which it reports itself.
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
