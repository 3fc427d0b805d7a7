//! The table of sessions, and how they end.
//!
//! INVARIANT: a session exists only while its node exists and its checks exist and are not
//! critical, and a key is locked only by a session that exists. A change that breaks the first ends
//! the session in the same step, and with it its locks: every change of a check, an instance or a
//! node goes through this file.
//!
//! The leader watches the TTLs of sessions (the agent's `server/sessions.rs`); no clock is here.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use lictor_api::{
    CheckId, NodeName, ServiceId,
    types::{
        health::{CheckStatus, HealthCheck},
        session::{Session, SessionBehavior},
    },
};

use super::{Folded, State, Topic, catalog::fold, watch::Change};

type Id = Arc<str>;

/// All sessions, by ID.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    pub(super) rows: OrdMap<Id, Arc<Session>>,
    pub(super) by_node: OrdSet<(Folded<NodeName>, Id)>,
    pub(super) by_check: OrdSet<(Folded<NodeName>, CheckId, Id)>,
    /// Raft index of the last creation or end.
    pub(super) index: u64,
}

impl Sessions {
    /// Returns one session.
    pub fn get(&self, id: &str) -> Option<&Arc<Session>> {
        self.rows.get(id)
    }

    /// Returns all sessions, by ID.
    pub fn list(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.rows.values()
    }

    /// Returns the sessions of a node, by ID; accepts every spelling of the name.
    pub fn of_node(&self, node: &str) -> impl Iterator<Item = &Arc<Session>> {
        self.on_node(Folded::of_written(node))
    }

    fn on_node(&self, node: Folded<NodeName>) -> impl Iterator<Item = &Arc<Session>> {
        self.by_node
            .range(node.with("")..)
            .take_while(move |(of, _)| *of == node)
            .filter_map(|(_, id)| self.rows.get(id))
    }

    /// Returns the index of the last change to one session, or to the table when there is none.
    pub(super) fn session_index(&self, id: &str) -> u64 {
        self.get(id).map_or(self.index, |session| session.modify_index)
    }

    /// Returns the sessions that depend on a check.
    fn on_check(&self, node: &Folded<NodeName>, check: &CheckId) -> Vec<Id> {
        self.by_check
            .range((node.clone(), check.clone(), Id::from(""))..)
            .take_while(|(of, name, _)| of == node && name == check)
            .map(|(_, _, id)| id.clone())
            .collect()
    }

    /// Rebuilds what is derived from the rows; called when a snapshot is loaded.
    pub(super) fn reindex(&mut self) {
        for (id, session) in self.rows.clone() {
            self.link(&id, &session);
        }
    }

    fn link(&mut self, id: &Id, session: &Session) {
        let node = fold(&session.node);
        for check in session.checks() {
            self.by_check.insert((node.clone(), check.clone(), id.clone()));
        }
        self.by_node.insert((node, id.clone()));
    }

    fn unlink(&mut self, id: &Id, session: &Session) {
        let node = fold(&session.node);
        for check in session.checks() {
            self.by_check.remove(&(node.clone(), check.clone(), id.clone()));
        }
        self.by_node.remove(&(node, id.clone()));
    }

    fn changed(&mut self, change: &mut Change<'_>, id: Id, node: &NodeName) {
        self.index = change.index;
        change.touch(Topic::Sessions);
        change.touch(Topic::NodeSessions(fold(node)));
        change.touch(Topic::Session(id));
    }
}

// === impl State: sessions, and every change that ends them; called by the state machine alone ===

impl State {
    /// Inserts a session, whose node and checks the caller has validated.
    pub(crate) fn create_session(&mut self, change: &mut Change<'_>, mut session: Session) {
        let id = Id::from(session.id.as_str());
        (session.create_index, session.modify_index) = (change.index, change.index);
        self.sessions.link(&id, &session);
        self.sessions.changed(change, id.clone(), &session.node);
        self.sessions.rows.insert(id, Arc::new(session));
    }

    /// Ends a session: its keys are unlocked or deleted, and stay unlocked for its lock-delay.
    /// Returns false when there was none.
    pub(crate) fn end_session(&mut self, change: &mut Change<'_>, id: &str) -> bool {
        let Some((id, session)) = self.sessions.rows.remove_with_key(id) else { return false };
        self.sessions.unlink(&id, &session);
        let delete = session.behavior == SessionBehavior::Delete;
        self.kv.forfeit(change, &id, delete, session.effective_lock_delay());
        self.sessions.changed(change, id, &session.node);
        true
    }

    /// Inserts or changes a check; a critical one ends the sessions that depend on it.
    pub(crate) fn upsert_check(&mut self, change: &mut Change<'_>, check: HealthCheck) {
        let (node, id, status) = (check.node.clone(), check.check_id.clone(), check.status);
        self.catalog.upsert_check(change, check);
        if status == CheckStatus::Critical {
            self.end_sessions_on(change, &fold(&node), &id);
        }
    }

    /// Removes a check and ends the sessions that depend on it; returns false when there was none.
    pub(crate) fn delete_check(
        &mut self,
        change: &mut Change<'_>,
        node: &NodeName,
        id: &CheckId,
    ) -> bool {
        let node = fold(node);
        let existed = self.catalog.delete_check(change, &node, id);
        self.end_sessions_on(change, &node, id);
        existed
    }

    /// Removes an instance with its checks, and ends the sessions that depend on these; returns
    /// false when there was none.
    pub(crate) fn delete_service(
        &mut self,
        change: &mut Change<'_>,
        node: &NodeName,
        id: &ServiceId,
    ) -> bool {
        let node = fold(node);
        let Some(checks) = self.catalog.delete_service(change, &node, id) else { return false };
        for check in &checks {
            self.end_sessions_on(change, &node, check);
        }
        true
    }

    /// Removes a node with everything on it, its sessions included; returns false when there was
    /// none.
    pub(crate) fn delete_node(&mut self, change: &mut Change<'_>, node: &NodeName) -> bool {
        let node = fold(node);
        let sessions: Vec<Id> = self
            .sessions
            .on_node(node.clone())
            .map(|session| Id::from(session.id.as_str()))
            .collect();
        let existed = self.catalog.delete_node(change, &node);
        for id in sessions {
            self.end_session(change, &id);
        }
        existed
    }

    fn end_sessions_on(
        &mut self,
        change: &mut Change<'_>,
        node: &Folded<NodeName>,
        check: &CheckId,
    ) {
        for id in self.sessions.on_check(node, check) {
            self.end_session(change, &id);
        }
    }
}
