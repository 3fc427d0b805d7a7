//! The leader as far as this server may act on it, purging of the log, and the engine's end.
//!
//! INVARIANT: a leader is announced only when its earlier decisions are visible here: its term's
//! first entry is applied. This server announces itself only while a quorum has answered it within
//! the lease, because the engine keeps the role of a leader that is cut off.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lictor_core::planted::{Bug, is_planted};
use lictor_transport::servers::Servers;
use openraft::{
    Instant, Raft, ServerState, async_runtime::watch::WatchReceiver, errors::Fatal,
    vote::RaftLeaderId,
};
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{
    Leader,
    failure::{Failure, Fault},
    snapshot::Snapshots,
    state_machine::StateMachine,
    types::{ServerNode, TypeConfig},
};

/// Time of the last append or heartbeat from the leader.
#[derive(Debug, Default)]
pub(super) struct Contact(Mutex<Option<time::Instant>>);

impl Contact {
    pub(super) fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(time::Instant::now());
    }

    pub(super) fn age(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }
}

pub(super) type Engine = Raft<TypeConfig, StateMachine>;

/// Inputs of [`Standing::follow`].
pub(super) struct Standing {
    pub(super) engine: Engine,
    /// This server, as it is now; the log may still have an older address.
    pub(super) this: ServerNode,
    pub(super) applied_term: watch::Receiver<u64>,
    pub(super) servers: Arc<Servers>,
    pub(super) lease: Duration,
    pub(super) snapshots: Arc<Snapshots>,
    /// Entries that stay in the log in any case.
    pub(super) trailing: u64,
    pub(super) fault: Fault,
}

impl Standing {
    /// Announces leaders, purges log entries that snapshots replace, and records the engine's end,
    /// until `stop`.
    pub(super) async fn follow(
        mut self,
        announced: watch::Sender<Option<Leader>>,
        stop: CancellationToken,
    ) {
        let announced = Announced(announced);
        let mut server = self.engine.server_metrics();
        let mut servers = self.servers.changes();
        loop {
            let leader = self.leader();
            // A leader that was cut off may reach a quorum again without any event: it has kept its
            // role and term.
            let check_again = self.is_engine_leader() && !is_sole_voter(&self.engine);
            announced.announce(leader);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = server.changed() => if changed.is_err() { break },
                changed = self.applied_term.changed() => if changed.is_err() {
                    break;
                },
                () = time::sleep(self.lease / 4), if check_again => {}
                () = self.snapshots.saved.notified() => self.purge().await,
                // The leader may have come back under another address.
                Ok(()) = servers.changed() => {}
            }
        }
        self.record_end();
        drop(announced);
        if self.fault.first().is_some() {
            // It is reported already; without one, this end is what is reported.
            stop.cancelled().await;
        }
    }

    fn leader(&self) -> Option<Leader> {
        // A copy: borrowing again while a borrow is held would deadlock with the engine, which
        // waits to write.
        let server = self.engine.server_metrics().borrow_watched().clone();
        let id = server.current_leader?;
        let term = server.vote.leader_id.term();
        if *self.applied_term.borrow() != term {
            return None;
        }
        let is_self = id == *self.engine.node_id();
        let node = if is_self {
            let leads = server.state == ServerState::Leader
                && (is_sole_voter(&self.engine) || self.has_quorum());
            leads.then_some(&self.this)?
        } else {
            server.membership_config.get_node(&id)?
        };
        let address = if is_self {
            node.address
        } else {
            self.servers.address_of(&id.to_string()).unwrap_or(node.address)
        };
        let node_name = node.name.clone();
        Some(Leader { node_id: id.to_string(), node_name, address, is_self, term })
    }

    fn is_engine_leader(&self) -> bool {
        self.engine.server_metrics().borrow_watched().state == ServerState::Leader
    }

    fn has_quorum(&self) -> bool {
        let metrics = self.engine.metrics();
        let acked = metrics.borrow_watched().last_quorum_acked;
        is_planted(Bug::LeaseWithoutBound)
            || acked.is_some_and(|acked| acked.elapsed() < self.lease)
    }

    async fn purge(&self) {
        let last = self.engine.metrics().borrow_watched().last_log_index.unwrap_or(0);
        let stays_from = last.saturating_sub(self.trailing);
        if let Some(upto) = self.snapshots.purgeable().map(|upto| upto.min(stays_from))
            && upto > 0
            && let Err(error) = self.engine.trigger().purge_log(upto).await
        {
            tracing::debug!(%error, "log was not shortened because consensus is ending");
        }
    }

    fn record_end(&self) {
        let end = self.engine.metrics().borrow_watched().running_state.clone();
        if let Err(fatal @ (Fatal::StorageError(_) | Fatal::Panicked)) = end {
            let error = self.fault.raise(Failure::Engine(fatal.to_string()));
            tracing::debug!(%error, "consensus engine ended");
        }
        if let Some(failure) = self.fault.first() {
            tracing::error!(error = %failure, "consensus ended, this server must stop");
        }
    }
}

/// Returns whether this server is a quorum by itself.
pub(super) fn is_sole_voter(engine: &Engine) -> bool {
    let metrics = engine.server_metrics();
    let server = metrics.borrow_watched();
    let mut voters = server.membership_config.voter_ids();
    voters.next() == Some(*engine.node_id()) && voters.next().is_none()
}

/// Where the leader is announced. Dropped, also by a panic, it says that none is known.
struct Announced(watch::Sender<Option<Leader>>);

impl Announced {
    fn announce(&self, leader: Option<Leader>) {
        self.0.send_if_modified(|known| {
            let is_new = *known != leader;
            if is_new {
                match &leader {
                    Some(leader) => tracing::info!(
                        leader = leader.node_name,
                        term = leader.term,
                        "cluster leader is known"
                    ),
                    None => tracing::info!("cluster leader is lost"),
                }
                *known = leader;
            }
            is_new
        });
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.announce(None);
    }
}
