//! The table of sessions, and how they end.
//!
//! INVARIANT: a session exists only while its node exists and its checks exist and are not
//! critical, and a key is locked only by a session that exists. Whatever breaks the first ends the
//! session in the same step, and with it its locks: every change of a check, an instance or a node
//! goes through this file.
//!
//! A session's TTL is the leader's to watch (`server/sessions.rs`); there is no clock here.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use lictor_api::{
    CheckId, NodeName, ServiceId,
    types::{
        health::{CheckStatus, HealthCheck},
        session::{Session, SessionBehavior},
    },
};

use super::{State, Topic, catalog::fold, watch::Touched};

type Id = Arc<str>;

/// All sessions, by ID.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    pub(super) rows: OrdMap<Id, Arc<Session>>,
    pub(super) by_node: OrdSet<(NodeName, Id)>,
    pub(super) by_check: OrdSet<(NodeName, CheckId, Id)>,
    /// Raft index of the last creation or end.
    pub(super) index: u64,
}

impl Sessions {
    /// One session.
    pub fn get(&self, id: &str) -> Option<&Arc<Session>> {
        self.rows.get(id)
    }

    /// All sessions, by ID.
    pub fn list(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.rows.values()
    }

    /// The sessions of a node, by ID, whatever the name's case.
    pub fn of_node(&self, node: &str) -> impl Iterator<Item = &Arc<Session>> {
        let node = fold(&NodeName::from(node));
        self.by_node
            .range((node.clone(), Id::from(""))..)
            .take_while(move |(of, _)| *of == node)
            .filter_map(|(_, id)| self.rows.get(id))
    }

    /// The last change to one session, or to the table when there is none.
    pub(super) fn session_index(&self, id: &str) -> u64 {
        self.get(id).map_or(self.index, |session| session.modify_index)
    }

    /// The sessions that rest on a check.
    fn on_check(&self, node: &NodeName, check: &CheckId) -> Vec<Id> {
        let (node, check) = (fold(node), check.clone());
        self.by_check
            .range((node.clone(), check.clone(), Id::from(""))..)
            .take_while(|(of, name, _)| *of == node && *name == check)
            .map(|(_, _, id)| id.clone())
            .collect()
    }

    /// Rebuilds what is derived from the rows; used when a snapshot is loaded.
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

    fn changed(&mut self, index: u64, id: Id, node: &NodeName, touched: &mut Touched) {
        self.index = index;
        touched.touch(Topic::Sessions);
        touched.touch(Topic::NodeSessions(fold(node)));
        touched.touch(Topic::Session(id));
    }
}

// === impl State: sessions, and what ends them (by the FSM alone) ===

impl State {
    /// Inserts a session, whose node and checks must be fit for it.
    pub(crate) fn create_session(
        &mut self,
        index: u64,
        mut session: Session,
        touched: &mut Touched,
    ) {
        let id = Id::from(session.id.as_str());
        (session.create_index, session.modify_index) = (index, index);
        self.sessions.link(&id, &session);
        self.sessions.changed(index, id.clone(), &session.node, touched);
        self.sessions.rows.insert(id, Arc::new(session));
    }

    /// Ends a session: its keys are unlocked or deleted, and stay unlocked for its lock-delay.
    /// False when there was none.
    pub(crate) fn end_session(&mut self, index: u64, id: &str, touched: &mut Touched) -> bool {
        let Some((id, session)) = self.sessions.rows.remove_with_key(id) else { return false };
        self.sessions.unlink(&id, &session);
        let delete = session.behavior == SessionBehavior::Delete;
        self.kv.forfeit(index, &id, delete, session.effective_lock_delay(), touched);
        self.sessions.changed(index, id, &session.node, touched);
        true
    }

    /// Inserts or changes a check; a critical one ends the sessions that rest on it.
    pub(crate) fn upsert_check(&mut self, index: u64, check: HealthCheck, touched: &mut Touched) {
        let (node, id, status) = (check.node.clone(), check.check_id.clone(), check.status);
        self.catalog.upsert_check(index, check, touched);
        if status == CheckStatus::Critical {
            self.end_sessions_on(index, &node, &id, touched);
        }
    }

    /// Removes a check and ends the sessions that rest on it; false when there was none.
    pub(crate) fn delete_check(
        &mut self,
        index: u64,
        node: &NodeName,
        id: &CheckId,
        touched: &mut Touched,
    ) -> bool {
        let existed = self.catalog.delete_check(index, node, id, touched);
        self.end_sessions_on(index, node, id, touched);
        existed
    }

    /// Removes an instance with its checks, and ends the sessions that rest on these; false when
    /// there was none.
    pub(crate) fn delete_service(
        &mut self,
        index: u64,
        node: &NodeName,
        id: &ServiceId,
        touched: &mut Touched,
    ) -> bool {
        let checks = self.catalog.node_checks(node).filter(|check| check.service_id == *id);
        let checks: Vec<CheckId> = checks.map(|check| check.check_id.clone()).collect();
        let existed = self.catalog.delete_service(index, node, id, touched);
        if existed {
            for check in checks {
                self.end_sessions_on(index, node, &check, touched);
            }
        }
        existed
    }

    /// Removes a node with everything on it, its sessions included; false when there was none.
    pub(crate) fn delete_node(
        &mut self,
        index: u64,
        node: &NodeName,
        touched: &mut Touched,
    ) -> bool {
        let sessions: Vec<Id> =
            self.sessions.of_node(node).map(|session| Id::from(session.id.as_str())).collect();
        let existed = self.catalog.delete_node(index, node, touched);
        for id in sessions {
            self.end_session(index, &id, touched);
        }
        existed
    }

    fn end_sessions_on(
        &mut self,
        index: u64,
        node: &NodeName,
        check: &CheckId,
        touched: &mut Touched,
    ) {
        for id in self.sessions.on_check(node, check) {
            self.end_session(index, &id, touched);
        }
    }
}
