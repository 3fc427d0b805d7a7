//! Raft figures under Consul's names, from the engine's metrics.

use std::{collections::BTreeMap, time::Duration};

use lictor_api::GoDuration;
use openraft::{ServerState, async_runtime::watch::WatchReceiver};

use super::{
    log_store::LogReader,
    membership::is_settled_voter,
    standing::Engine,
    types::{LogId, ServerId, StoredMembership},
};

/// Returns the map that `agent/self` and `info` show; names and spelling are Consul's. `contact` is
/// how long ago a leader contacted this server, `None` if none ever did.
pub(super) fn stats(
    engine: &Engine,
    log: &LogReader,
    contact: Option<Duration>,
) -> BTreeMap<String, String> {
    let watched = engine.metrics();
    let metrics = watched.borrow_watched();
    let (last, applied) = (log.last(), metrics.last_applied);
    let membership = &metrics.membership_config;
    let servers: Vec<String> = membership
        .nodes()
        .map(|(id, node)| {
            let suffrage = if is_settled_voter(membership, id) { "Voter" } else { "Nonvoter" };
            format!("{{Suffrage:{suffrage} ID:{id} Address:{}}}", node.address)
        })
        .collect();
    let state = match metrics.state {
        ServerState::Leader => "Leader",
        ServerState::Candidate => "Candidate",
        ServerState::Shutdown => "Shutdown",
        ServerState::Follower | ServerState::Learner => "Follower",
    };
    let last_contact = match (metrics.state, contact) {
        (ServerState::Leader, _) => "0".to_owned(),
        (_, Some(ago)) => GoDuration(ago).to_string(),
        (_, None) => "never".to_owned(),
    };
    let pending = index(metrics.local_committed).saturating_sub(index(applied));
    let figures = [
        ("applied_index", index(applied).to_string()),
        ("commit_index", index(metrics.local_committed).to_string()),
        ("fsm_pending", pending.to_string()),
        ("last_contact", last_contact),
        ("last_log_index", index(last).to_string()),
        ("last_log_term", term(last).to_string()),
        ("last_snapshot_index", index(metrics.snapshot).to_string()),
        ("last_snapshot_term", term(metrics.snapshot).to_string()),
        ("latest_configuration", format!("[{}]", servers.join(" "))),
        ("latest_configuration_index", index(*membership.log_id()).to_string()),
        ("num_peers", other_voters(membership, engine.node_id()).to_string()),
        ("protocol_version", "3".to_owned()),
        ("protocol_version_max", "3".to_owned()),
        ("protocol_version_min", "0".to_owned()),
        ("snapshot_version_max", "1".to_owned()),
        ("snapshot_version_min", "0".to_owned()),
        ("state", state.to_owned()),
        ("term", metrics.current_term.to_string()),
    ];
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns the number of voters beside this server; 0 if it does not vote itself.
fn other_voters(membership: &StoredMembership, this: &ServerId) -> usize {
    if !is_settled_voter(membership, this) {
        return 0;
    }
    let others = membership.nodes().filter(|(id, _)| *id != this);
    others.filter(|(id, _)| is_settled_voter(membership, id)).count()
}

fn index(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index)
}

fn term(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.leader_id.term)
}

#[cfg(test)]
mod tests {
    use super::{super::types::Membership, *};

    #[test]
    fn peers_are_the_other_voters_of_a_voter() {
        let voters = [1, 2, 3].map(ServerId::from).into();
        let servers = [1, 2, 3, 4].map(ServerId::from);
        let membership = Membership::new_with_defaults(vec![voters], servers);
        let membership = StoredMembership::new(None, membership);
        for (server, peers) in [(1, 2), (4, 0), (5, 0)] {
            assert_eq!(other_voters(&membership, &server.into()), peers, "server {server}");
        }
    }
}
