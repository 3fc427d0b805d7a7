//! Leader duty: judges the servers once a second, publishes what it finds, and makes the changes.

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

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// After a change the next is looked for soon.
const AFTER_CHANGE: Duration = Duration::from_millis(100);
/// After a change that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// What the duty looks after.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// This server's node ID.
    pub this: String,
    /// Its datacenter.
    pub datacenter: String,
    /// What gossip says.
    pub members: watch::Receiver<Arc<Vec<lictor_membership::Member>>>,
    /// The settings while no operator has set any.
    pub defaults: AutopilotConfiguration,
}

/// Looks after the membership until `until`, which ends when this server no longer leads.
pub async fn run(server: Arc<Server>, mut cluster: Cluster, until: CancellationToken) {
    let (began, mut history) = (Instant::now(), History::default());
    let this = cluster.this.clone();
    loop {
        let members = cluster.members.borrow_and_update().clone();
        let members = servers(&members, &cluster.datacenter);
        let (view, now) = (look(server.consensus(), &this, members), began.elapsed());
        let configuration = server.store().snapshot().autopilot_or(&cluster.defaults).clone();
        let servers = history.judge(&view, &configuration, now);
        let action = plan(&view, &servers, &configuration, now);
        let report =
            Report { leader: this.clone(), term: view.term, at: Timestamp::now(), servers };
        server.autopilot().store(Some(Arc::new(report)));
        let pause = match &action {
            None => INTERVAL,
            Some(action) => carry_out(&server, action).await,
        };
        tokio::select! {
            () = until.cancelled() => break,
            () = sleep(pause) => {}
            // Who came or went need not wait.
            Ok(()) = cluster.members.changed(), if pause == INTERVAL => {}
        }
    }
    server.autopilot().store(None);
}

fn look(consensus: &Consensus, this: &str, members: Vec<Member>) -> View {
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

async fn carry_out(server: &Server, action: &Action) -> Duration {
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
            AFTER_CHANGE
        }
        // Somebody else leads, or will.
        Err(ConsensusError::NoLeader | ConsensusError::ShuttingDown) => AFTER_FAILURE,
        Err(error) => {
            tracing::warn!(target: "agent.server.autopilot", node_id, reason, %error, "membership was not changed, trying again");
            AFTER_FAILURE
        }
    }
}
