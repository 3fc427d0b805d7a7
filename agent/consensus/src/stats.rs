//! Raft figures under Consul's names, from the engine's metrics.

use std::collections::BTreeMap;

use openraft::{ServerState, async_runtime::watch::WatchReceiver};

use super::{log_store::LogReader, membership::is_settled_voter, standing::Engine, types::LogId};

/// Returns the map that `agent/self` and `info` show; names and spelling are Consul's.
pub(super) fn stats(engine: &Engine, log: &LogReader) -> BTreeMap<String, String> {
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
    let contact = match (metrics.state, metrics.current_leader) {
        (ServerState::Leader, _) => "0",
        (_, Some(_)) => "0s",
        (_, None) => "never",
    };
    let pending = index(metrics.local_committed).saturating_sub(index(applied));
    let figures = [
        ("applied_index", index(applied).to_string()),
        ("commit_index", index(metrics.local_committed).to_string()),
        ("fsm_pending", pending.to_string()),
        ("last_contact", contact.to_owned()),
        ("last_log_index", index(last).to_string()),
        ("last_log_term", term(last).to_string()),
        ("last_snapshot_index", index(metrics.snapshot).to_string()),
        ("last_snapshot_term", term(metrics.snapshot).to_string()),
        ("latest_configuration", format!("[{}]", servers.join(" "))),
        ("latest_configuration_index", index(*membership.log_id()).to_string()),
        ("num_peers", membership.voter_ids().count().saturating_sub(1).to_string()),
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

fn index(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index)
}

fn term(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.leader_id.term)
}
