//! Leader duty: evaluates the servers once a second, publishes a report, and applies changes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lictor_api::types::operator::AutopilotConfiguration;
use lictor_consensus::{Consensus, ConsensusError};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Contact, Member, Report, View,
    health::History,
    plan::{Action, plan},
    servers,
};
use crate::server::Server;

/// Interval of the evaluations.
const EVALUATION_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before the next evaluation after a change.
const CHANGE_INTERVAL: Duration = Duration::from_millis(100);
/// Pause before the next evaluation after a failed change.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// The cluster that the duty maintains.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// This server's node ID.
    pub this: String,
    /// Its datacenter.
    pub datacenter: String,
    /// The members of the LAN pool.
    pub members: watch::Receiver<Arc<Vec<lictor_membership::Member>>>,
    /// The settings until an operator sets others.
    pub defaults: AutopilotConfiguration,
}

/// Maintains the membership until `until`, which ends when this server no longer leads.
pub async fn run(server: Arc<Server>, mut cluster: Cluster, until: CancellationToken) {
    let (began, mut history) = (Instant::now(), History::default());
    let this = cluster.this.clone();
    loop {
        let members = cluster.members.borrow_and_update().clone();
        let members = servers(&members, &cluster.datacenter);
        let (view, now) = (collect_view(server.consensus(), &this, members), began.elapsed());
        let configuration = server.store().snapshot().autopilot_or(&cluster.defaults).clone();
        let servers = history.evaluate(&view, &configuration, now);
        let action = plan(&view, &servers, &configuration, now);
        let report =
            Report { leader: this.clone(), term: view.term, at: Timestamp::now(), servers };
        server.autopilot().store(Some(Arc::new(report)));
        let pause = match &action {
            None => EVALUATION_INTERVAL,
            Some(action) => apply(&server, action).await,
        };
        tokio::select! {
            () = until.cancelled() => break,
            () = sleep(pause) => {}
            // A change of the pool is handled at once.
            Ok(()) = cluster.members.changed(), if pause == EVALUATION_INTERVAL => {}
        }
    }
    server.autopilot().store(None);
}

fn collect_view(consensus: &Consensus, this: &str, members: Vec<Member>) -> View {
    let progress = consensus.progress();
    View {
        this: this.to_owned(),
        term: consensus.term(),
        last_index: consensus.last_index(),
        members,
        peers: consensus.peers(),
        contacts: progress
            .into_iter()
            .map(|it| (it.node_id, Contact { matched: it.matched, ago: it.last_contact }))
            .collect(),
    }
}

async fn apply(server: &Server, action: &Action) -> Duration {
    let consensus = server.consensus();
    let (node_id, reason, what, done) = match action {
        Action::AddLearner { peer, reason } => {
            (&peer.node_id, reason, "learns", consensus.add_learner(peer).await)
        }
        Action::Promote { node_id, reason } => {
            (node_id, reason, "votes", consensus.promote(node_id).await)
        }
        Action::Remove { node_id, reason } => {
            (node_id, reason, "is removed", consensus.remove(node_id).await)
        }
    };
    match done {
        Ok(()) => {
            tracing::info!(target: "agent.server.autopilot", node_id, reason, "server {what}");
            CHANGE_INTERVAL
        }
        // Another server leads, or will be elected.
        Err(ConsensusError::NoLeader | ConsensusError::ShuttingDown) => RETRY_INTERVAL,
        Err(error) => {
            tracing::warn!(target: "agent.server.autopilot", node_id, reason, %error, "membership was not changed, trying again");
            RETRY_INTERVAL
        }
    }
}
