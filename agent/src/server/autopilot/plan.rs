//! The next change of the Raft membership, if one is due.
//!
//! INVARIANT: a voter is removed only while the voters in contact are a quorum before and after,
//! and the leader never removes itself. Dead servers are removed only while fewer than half of the
//! voters are dead: with more, this server itself may be the one that is partitioned.

use std::time::Duration;

use lictor_api::types::operator::AutopilotConfiguration;
use lictor_consensus::Peer;

use super::{Liveness, Member, View, health::Health, quorum};

/// How long a peer must be missing from the pool before it counts as dead: after a start of the
/// whole cluster the pool forms later than Raft.
const UNKNOWN_TIMEOUT: Duration = Duration::from_secs(60);

/// A change of the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Add a server as a non-voter, or correct the name or address of a member.
    AddLearner {
        /// The server.
        peer: Peer,
        /// Why, for the log.
        reason: &'static str,
    },
    /// Make a non-voter a voter.
    Promote {
        /// The server.
        node_id: String,
        /// Why, for the log.
        reason: &'static str,
    },
    /// Remove a server.
    Remove {
        /// The server.
        node_id: String,
        /// Why, for the log.
        reason: &'static str,
    },
}

/// Returns the change to make next; `None` when no change is needed or possible now. `servers` is
/// the health of the same view, `now` the time since this server began to lead.
pub fn plan(
    view: &View,
    servers: &[Health],
    configuration: &AutopilotConfiguration,
    now: Duration,
) -> Option<Action> {
    correction(view)
        .or_else(|| removal_of_left(view))
        .or_else(|| removal_of_replaced(view))
        .or_else(|| removal_of_dead(view, servers, configuration))
        .or_else(|| addition(view))
        .or_else(|| promotion(servers, configuration, now))
}

/// Corrects a peer whose name or address changed; it is unreachable until then.
fn correction(view: &View) -> Option<Action> {
    let moved = |peer: &&Peer| {
        let member = view.member(&peer.node_id).filter(|member| is_alive(member))?;
        let is_same = member.address == peer.address && member.node_name == peer.node_name;
        (!is_same).then(|| Peer {
            address: member.address,
            node_name: member.node_name.clone(),
            ..(*peer).clone()
        })
    };
    let peer = view.peers.iter().find_map(|peer| moved(&peer))?;
    Some(Action::AddLearner { peer, reason: "its name or address changed" })
}

fn removal_of_left(view: &View) -> Option<Action> {
    let left = |peer: &&Peer| view.liveness(&peer.node_id) == Liveness::Left;
    removal(view, view.peers.iter().filter(left), "it left")
}

/// Removes a server that returned under its name or address without its data, and so with a new ID:
/// the old ID never returns.
fn removal_of_replaced(view: &View) -> Option<Action> {
    let replaced = |peer: &&Peer| is_replaced(view, peer);
    removal(view, view.peers.iter().filter(replaced), "another server has its name or address")
}

fn is_replaced(view: &View, peer: &Peer) -> bool {
    // A peer that now has another's address has not replaced it: addresses may be reassigned while
    // all servers are down.
    let is_peer = |id: &str| view.peers.iter().any(|peer| peer.node_id == id);
    view.liveness(&peer.node_id) != Liveness::Alive
        && view.members.iter().any(|member| {
            is_alive(member)
                && member.node_id != peer.node_id
                && (member.node_name.eq_ignore_ascii_case(&peer.node_name)
                    || member.address == peer.address && !is_peer(&member.node_id))
        })
}

fn removal_of_dead(
    view: &View,
    servers: &[Health],
    configuration: &AutopilotConfiguration,
) -> Option<Action> {
    if !configuration.cleanup_dead_servers {
        return None;
    }
    let dead = || servers.iter().filter(|server| is_dead(server)).map(|server| &server.peer);
    let (voters, dead_voters) = (view.voters().count(), dead().filter(|peer| peer.voter).count());
    let may_shrink =
        2 * dead_voters < voters && voters > (configuration.min_quorum as usize).max(1);
    let candidates = dead().filter(|peer| !peer.voter || may_shrink);
    removal(view, candidates, "it failed")
}

fn is_dead(server: &Health) -> bool {
    let is_gone = match server.liveness {
        Liveness::Failed => true,
        Liveness::Unknown => server.unknown_for >= UNKNOWN_TIMEOUT,
        Liveness::Alive | Liveness::Left => false,
    };
    // A server that still responds to the leader is alive, whatever gossip reports.
    is_gone && !server.contact.is_recent()
}

/// Removes the first candidate whose removal keeps a quorum.
fn removal<'a>(
    view: &View,
    mut candidates: impl Iterator<Item = &'a Peer>,
    reason: &'static str,
) -> Option<Action> {
    let peer = candidates.find(|peer| keeps_quorum(view, peer))?;
    Some(Action::Remove { node_id: peer.node_id.clone(), reason })
}

/// Returns whether the removal can be committed, and entries after it too.
fn keeps_quorum(view: &View, removed: &Peer) -> bool {
    if removed.node_id == view.this {
        return false;
    }
    if !removed.voter {
        return true;
    }
    let responds = |peer: &&Peer| view.contact(&peer.node_id).is_recent();
    let is_other = |peer: &&Peer| peer.node_id != removed.node_id;
    let before = (view.voters().filter(responds).count(), view.voters().count());
    let after = (
        view.voters().filter(is_other).filter(responds).count(),
        view.voters().filter(is_other).count(),
    );
    [before, after]
        .into_iter()
        .all(|(responding, voters)| voters > 0 && responding >= quorum(voters))
}

fn addition(view: &View) -> Option<Action> {
    let is_known = |id: &str| view.peers.iter().any(|peer| peer.node_id == id);
    let is_taken = |member: &Member| {
        view.peers.iter().any(|peer| {
            peer.address == member.address || peer.node_name.eq_ignore_ascii_case(&member.node_name)
        })
    };
    let new = |member: &&Member| {
        is_alive(member)
            && !member.node_id.is_empty()
            && !is_known(&member.node_id)
            // The peer that it replaces is removed first.
            && !is_taken(member)
    };
    let member = view.members.iter().find(new)?;
    let peer = Peer {
        node_id: member.node_id.clone(),
        node_name: member.node_name.clone(),
        address: member.address,
        voter: false,
    };
    Some(Action::AddLearner { peer, reason: "it joined" })
}

fn promotion(
    servers: &[Health],
    configuration: &AutopilotConfiguration,
    now: Duration,
) -> Option<Action> {
    let time = configuration.server_stabilization_time.0;
    // COMPAT: a new leader cannot know how long servers have been healthy and does not require it.
    let time = if now < time + time / 10 { Duration::ZERO } else { time };
    let ready =
        |server: &&Health| !server.peer.voter && server.healthy && server.stable_for >= time;
    let server = servers.iter().find(ready)?;
    let reason = "it is healthy and stable";
    Some(Action::Promote { node_id: server.peer.node_id.clone(), reason })
}

fn is_alive(member: &Member) -> bool {
    member.liveness == Liveness::Alive
}

#[cfg(test)]
mod tests;
