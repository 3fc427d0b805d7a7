//! Health of the servers: which are healthy, and since when.
//!
//! Time is measured from the start of this server's leadership; a new leader has no history.

use std::{collections::BTreeMap, time::Duration};

use lictor_api::types::operator::AutopilotConfiguration;
use lictor_consensus::Peer;

use super::{Contact, Liveness, View, quorum};

/// The health of one member of Raft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The member.
    pub peer: Peer,
    /// Its status in gossip.
    pub liveness: Liveness,
    /// The version that it advertises.
    pub version: String,
    /// Its replication progress.
    pub contact: Contact,
    /// Whether it is alive, in contact and not far behind.
    pub healthy: bool,
    /// Time since `healthy` changed.
    pub stable_for: Duration,
    /// Time since it is missing from the pool; zero while it is there.
    pub unknown_for: Duration,
}

/// The state that is kept between evaluations.
#[derive(Debug, Clone, Default)]
pub struct History {
    servers: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    healthy: bool,
    since: Duration,
    unknown_since: Option<Duration>,
}

impl History {
    /// Evaluates every member of Raft. `now` is the time since this server began to lead.
    pub fn evaluate(
        &mut self,
        view: &View,
        configuration: &AutopilotConfiguration,
        now: Duration,
    ) -> Vec<Health> {
        self.servers.retain(|id, _| view.peers.iter().any(|peer| peer.node_id == *id));
        let evaluate = |peer: &Peer| {
            let (liveness, contact) = (view.liveness(&peer.node_id), view.contact(&peer.node_id));
            let healthy = is_healthy(view, configuration, liveness, contact);
            let new = Seen { healthy, since: now, unknown_since: None };
            let seen = self.servers.entry(peer.node_id.clone()).or_insert(new);
            if seen.healthy != healthy {
                (seen.healthy, seen.since) = (healthy, now);
            }
            seen.unknown_since = match (liveness, seen.unknown_since) {
                (Liveness::Unknown, since) => since.or(Some(now)),
                _ => None,
            };
            Health {
                peer: peer.clone(),
                liveness,
                version: view.version(&peer.node_id),
                contact,
                healthy,
                stable_for: now.saturating_sub(seen.since),
                unknown_for: seen.unknown_since.map_or(Duration::ZERO, |at| now.saturating_sub(at)),
            }
        };
        view.peers.iter().map(evaluate).collect()
    }
}

fn is_healthy(
    view: &View,
    configuration: &AutopilotConfiguration,
    liveness: Liveness,
    contact: Contact,
) -> bool {
    let is_close = contact.matched.is_some_and(|matched| {
        matched.saturating_add(configuration.max_trailing_logs) >= view.last_index
    });
    let is_in_contact =
        contact.ago.is_some_and(|ago| ago <= configuration.last_contact_threshold.0);
    liveness == Liveness::Alive && is_in_contact && is_close
}

/// Returns how many more voters may fail without an outage.
pub fn failure_tolerance(servers: &[Health]) -> usize {
    let voters = servers.iter().filter(|server| server.peer.voter);
    let healthy = voters.clone().filter(|server| server.healthy).count();
    healthy.saturating_sub(quorum(voters.count()))
}
