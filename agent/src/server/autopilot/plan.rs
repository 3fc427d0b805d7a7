//! The next change of the membership, if there is one to make.
//!
//! INVARIANT: a voter is only taken out while those that answer are a quorum before and after, and
//! the leader never takes itself out. What is dead is taken out only while fewer than half of the
//! voters are: more than that looks the same as this server being the one that is cut off.

use std::time::Duration;

use lictor_api::types::operator::AutopilotConfiguration;
use lictor_consensus::Peer;

use super::{Liveness, Member, View, health::Health, quorum};

/// How long gossip must not know a peer before it counts as dead: after a start of the whole
/// cluster the pool comes together later than Raft.
const UNKNOWN_AFTER: Duration = Duration::from_secs(60);

/// A change of the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Take a server in as a learner, or correct the name or address of one that is in.
    AddLearner {
        /// The server.
        peer: Peer,
        /// Why, for the log.
        reason: &'static str,
    },
    /// Let a learner vote.
    Promote {
        /// The server.
        node_id: String,
        /// Why, for the log.
        reason: &'static str,
    },
    /// Take a server out.
    Remove {
        /// The server.
        node_id: String,
        /// Why, for the log.
        reason: &'static str,
    },
}

/// The change to make next; `None` when everything is as it should be or has to wait. `servers` are
/// the judgments of the same view, `now` the time since this server began to lead.
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

/// A peer that moved: until it is known where it is, nothing reaches it.
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

/// A server came back under its name or address without its data, and so with a new ID: the old ID
/// never comes back.
fn removal_of_replaced(view: &View) -> Option<Action> {
    let replaced = |peer: &&Peer| is_replaced(view, peer);
    removal(view, view.peers.iter().filter(replaced), "another server has its name or address")
}

fn is_replaced(view: &View, peer: &Peer) -> bool {
    // A peer that moved to where another was has not replaced it: addresses may be dealt anew when
    // all servers were away.
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
        Liveness::Unknown => server.unknown_for >= UNKNOWN_AFTER,
        Liveness::Alive | Liveness::Left => false,
    };
    // Whoever still answers the leader is there, whatever gossip believes.
    is_gone && !server.contact.answers()
}

/// Takes out the first candidate that can be.
fn removal<'a>(
    view: &View,
    mut candidates: impl Iterator<Item = &'a Peer>,
    reason: &'static str,
) -> Option<Action> {
    let peer = candidates.find(|peer| keeps_quorum(view, peer))?;
    Some(Action::Remove { node_id: peer.node_id.clone(), reason })
}

/// Whether the change can be committed, and whatever follows it too.
fn keeps_quorum(view: &View, removed: &Peer) -> bool {
    if removed.node_id == view.this {
        return false;
    }
    if !removed.voter {
        return true;
    }
    let answers = |peer: &&Peer| view.contact(&peer.node_id).answers();
    let is_other = |peer: &&Peer| peer.node_id != removed.node_id;
    let before = (view.voters().filter(answers).count(), view.voters().count());
    let after = (
        view.voters().filter(is_other).filter(answers).count(),
        view.voters().filter(is_other).count(),
    );
    [before, after].into_iter().all(|(answering, voters)| voters > 0 && answering >= quorum(voters))
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
            // The one that it replaces goes first.
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
    // COMPAT: a new leader cannot know how long others have been healthy and does not ask for it.
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
