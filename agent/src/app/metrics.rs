//! Background tasks of metrics: one closes and sends the windows, one counts membership changes.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use lictor_membership::{Member, MemberStatus};
use lictor_runtime::metrics::{Counter, until_next_window};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::Agent,
    telemetry::metrics::{self, REGISTRY, Receivers},
};

/// Closes every window at its end and sends its metrics to the configured servers, until
/// `shutdown`.
pub(super) async fn run(agent: Arc<Agent>, shutdown: CancellationToken) {
    let mut receivers = Receivers::new(&agent.config.load().telemetry);
    REGISTRY.close_window(SystemTime::now());
    loop {
        let pause = until_next_window(SystemTime::now());
        if shutdown.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
        observe_contact(&agent);
        if receivers.is_empty() {
            REGISTRY.close_window(SystemTime::now());
            continue;
        }
        agent.read_gauges();
        let settings = metrics::settings(&agent.config.load());
        let sent = receivers.send(&settings, SystemTime::now());
        if shutdown.run_until_cancelled(sent).await.is_none() {
            return;
        }
    }
}

/// Records the time since each server's last response, if this server leads.
fn observe_contact(agent: &Agent) {
    let Some(server) = agent.server().filter(|server| server.is_leader()) else { return };
    for ago in server.consensus().progress().iter().filter_map(|peer| peer.last_contact) {
        metrics::RAFT_LEADER_LAST_CONTACT.observe(ago.as_secs_f64() * 1e3);
    }
}

/// Counts members that join, fail and leave, until `shutdown`.
pub(super) async fn count_members(
    mut members: watch::Receiver<Arc<Vec<Member>>>,
    shutdown: CancellationToken,
) {
    let mut known = BTreeMap::new();
    loop {
        let changes = changes(&mut known, &members.borrow_and_update());
        changes.iter().for_each(|counter| counter.increment());
        let changed = shutdown.run_until_cancelled(members.changed()).await;
        if !matches!(changed, Some(Ok(()))) {
            return;
        }
    }
}

/// Returns the counters to increment for the difference between `members` and `known`, and updates
/// `known`.
fn changes(
    known: &mut BTreeMap<String, MemberStatus>,
    members: &[Member],
) -> Vec<&'static Counter> {
    known.retain(|name, _| members.iter().any(|member| member.name == *name));
    let mut counters = Vec::new();
    for member in members {
        let before = known.insert(member.name.clone(), member.status);
        match member.status {
            status if before == Some(status) => {}
            // The leave was refuted.
            MemberStatus::Alive if before == Some(MemberStatus::Leaving) => {}
            MemberStatus::Alive => counters.push(&metrics::SERF_MEMBER_JOIN),
            MemberStatus::Failed => counters.push(&metrics::SERF_MEMBER_FAILED),
            MemberStatus::Left => counters.push(&metrics::SERF_MEMBER_LEFT),
            MemberStatus::Leaving => {}
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_counted_when_they_join_fail_and_leave() {
        let member = |name: &str, status| Member {
            name: name.to_owned(),
            address: ([127, 0, 0, 1], 8301).into(),
            status,
            tags: BTreeMap::new(),
            protocol: 1,
            delegate: 1,
        };
        let (join, failed, left) =
            (&metrics::SERF_MEMBER_JOIN, &metrics::SERF_MEMBER_FAILED, &metrics::SERF_MEMBER_LEFT);
        use MemberStatus::{Alive, Failed, Leaving, Left};
        let mut known = BTreeMap::new();
        for (one, two, expected) in [
            (Alive, Alive, vec![join, join]),
            (Alive, Alive, vec![]),
            (Alive, Failed, vec![failed]),
            (Leaving, Alive, vec![join]),
            (Alive, Alive, vec![]),
            (Left, Alive, vec![left]),
        ] {
            let changes = changes(&mut known, &[member("one", one), member("two", two)]);
            let pointers = |counters: Vec<&'static Counter>| -> Vec<*const Counter> {
                counters.into_iter().map(std::ptr::from_ref).collect()
            };
            assert_eq!(pointers(changes), pointers(expected), "{one:?} {two:?}");
        }
        assert_eq!(changes(&mut known, &[]).len() + known.len(), 0, "who is gone is forgotten");
    }
}
