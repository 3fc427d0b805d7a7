//! Keeps the published member list equal to the engine's table, and stops the pool when a newer
//! agent has taken this agent's name.
//!
//! INVARIANT: the table is read and published by one caller at a time, so that a stale table is
//! never published last.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Member, MemberStatus, Pool, Profile, engine, gate::NameConflict, member::EngineMember,
};

/// Some status changes emit no serf event, so the member list is also polled.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

impl Pool {
    /// Publishes the members whenever they change, until the pool stops or is superseded.
    pub(super) async fn watch(self) {
        let mut superseded = self.superseded();
        loop {
            let is_superseded = async { superseded.wait_for(Option::is_some).await.map(drop) };
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = self.0.refresh.notified() => {}
                () = tokio::time::sleep(REFRESH_INTERVAL) => {}
                Ok(()) = is_superseded => {
                    // In a task of its own, because stopping the pool ends this one.
                    let pool = self.clone();
                    let step_aside = async move { pool.step_aside().await };
                    self.0.tasks.spawn_transient("gossip.step_aside", step_aside);
                    self.0.stop.cancelled().await;
                    return;
                }
            }
            self.refresh_members().await;
        }
    }

    /// Stops gossiping: the two agents would otherwise take turns under one name.
    async fn step_aside(&self) {
        let newer = self.superseded().borrow().clone();
        if let Some(NameConflict { address, node_id, .. }) = newer {
            tracing::error!(target: "agent", name = self.name(), %address, by = node_id, "a newer agent uses this agent's name; this one has stopped gossiping, end it or give it another name");
        }
        self.0.stop.cancel();
        engine::stop(&self.0.engine).await;
    }

    /// Reads the engine's table and publishes it if it changed.
    pub(super) async fn refresh_members(&self) {
        if self.0.stop.is_cancelled() {
            return;
        }
        // Held from reading to publishing; see the header.
        let mut published = self.0.published.lock().await;
        let mut table: Vec<EngineMember> = self.0.engine.members().await.into_iter().collect();
        table.sort_by(|a, b| a.node().id().cmp(b.node().id()));
        if is_same(&published, &table) {
            return;
        }
        published.clone_from(&table);
        let members = Arc::new(table.iter().map(Member::from).collect::<Vec<_>>());
        let before = self.0.members.send_replace(members.clone());
        log_changes(self.profile(), &before, &members);
        self.0.peers.remember(self.local_address(), &members).await;
    }
}

/// Compares two tables without comparing tags by content: the engine replaces them as a whole.
fn is_same(before: &[EngineMember], after: &[EngineMember]) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).all(|(a, b)| {
            a.node() == b.node() && a.status() == b.status() && Arc::ptr_eq(a.tags(), b.tags())
        })
}

/// Logs joins, failures and leaves. COMPAT: the sentences are serf's, which scripts grep for.
fn log_changes(profile: Profile, before: &[Member], after: &[Member]) {
    let pool = profile.name();
    let old: BTreeMap<&str, &Member> = before.iter().map(|m| (m.name.as_str(), m)).collect();
    for member in after {
        let Member { name, address, status, .. } = member;
        let ip = address.ip();
        let was = old.get(name.as_str());
        if was.is_some_and(|was| was.status == *status && was.address == *address) {
            continue;
        }
        match status {
            MemberStatus::Alive => {
                tracing::info!(target: "agent.serf", pool, "serf: EventMemberJoin: {name} {ip}");
            }
            MemberStatus::Left => {
                tracing::info!(target: "agent.serf", pool, "serf: EventMemberLeave: {name} {ip}");
            }
            MemberStatus::Failed => {
                tracing::info!(target: "agent.serf", pool, "serf: EventMemberFailed: {name} {ip}");
            }
            MemberStatus::Leaving => {}
        }
    }
    for gone in before.iter().filter(|m| !after.iter().any(|other| other.name == m.name)) {
        tracing::info!(target: "agent.serf", pool, "serf: EventMemberReap: {}", gone.name);
    }
}
