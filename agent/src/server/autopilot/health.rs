//! Which servers are healthy, and since when.
//!
//! Time is counted from the moment this server began to lead; a new leader starts without memory.

use std::{collections::BTreeMap, time::Duration};

use lictor_api::types::operator::AutopilotConfiguration;
use lictor_consensus::Peer;

use super::{Contact, Liveness, View, quorum};

/// How one member of Raft is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The member.
    pub peer: Peer,
    /// How gossip sees it.
    pub liveness: Liveness,
    /// The version it says it is.
    pub version: String,
    /// How its log is.
    pub contact: Contact,
    /// Alive, in contact and not far behind.
    pub healthy: bool,
    /// For how long `healthy` has been what it is.
    pub stable_for: Duration,
    /// For how long gossip has not known it.
    pub unknown_for: Duration,
}

/// What is remembered from one look to the next.
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
    /// Judges every member of Raft. `now` is the time since this server began to lead.
    pub fn judge(
        &mut self,
        view: &View,
        configuration: &AutopilotConfiguration,
        now: Duration,
    ) -> Vec<Health> {
        self.servers.retain(|id, _| view.peers.iter().any(|peer| peer.node_id == *id));
        let judge = |peer: &Peer| {
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
        view.peers.iter().map(judge).collect()
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
    let is_heard = contact.ago.is_some_and(|ago| ago <= configuration.last_contact_threshold.0);
    liveness == Liveness::Alive && is_heard && is_close
}

/// How many more voters may fail without an outage.
pub fn failure_tolerance(servers: &[Health]) -> usize {
    let voters = servers.iter().filter(|server| server.peer.voter);
    let healthy = voters.clone().filter(|server| server.healthy).count();
    healthy.saturating_sub(quorum(voters.count()))
}
