//! What sessions, locks and keys are, written as naively as possible: maps that are searched from
//! end to end.

use std::collections::{BTreeMap, BTreeSet};

use crate::state::State;

/// What to do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Set,
    Cas,
    Lock,
    Unlock,
    Delete,
    DeleteCas,
    DeleteTree,
}

/// One operation on a key.
#[derive(Debug, Clone)]
pub(super) struct KvStep {
    pub(super) verb: Verb,
    pub(super) key: &'static str,
    pub(super) value: u8,
    pub(super) session: &'static str,
    /// Whether a conditional operation names the right index.
    pub(super) good: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    value: u8,
    session: &'static str,
    lock_index: u64,
    create: u64,
    modify: u64,
}

#[derive(Debug, Clone)]
struct Session {
    node: &'static str,
    checks: Vec<&'static str>,
    delete: bool,
    delayed: bool,
}

type Answer = Result<bool, ()>;

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    nodes: BTreeSet<&'static str>,
    services: BTreeSet<&'static str>,
    /// By node and name: whether it is critical.
    checks: BTreeMap<(&'static str, &'static str), bool>,
    sessions: BTreeMap<&'static str, Session>,
    keys: BTreeMap<&'static str, Key>,
    pub(super) delays: BTreeMap<&'static str, u64>,
}

impl Model {
    pub(super) fn node(&mut self, node: &'static str) -> Answer {
        self.nodes.insert(node);
        Ok(true)
    }

    pub(super) fn service(&mut self, node: &'static str) -> Answer {
        self.nodes.insert(node);
        self.services.insert(node);
        Ok(true)
    }

    pub(super) fn check(
        &mut self,
        index: u64,
        node: &'static str,
        check: &'static str,
        critical: bool,
    ) -> Answer {
        if check == "of-service" && !self.services.contains(node) {
            return Err(());
        }
        self.nodes.insert(node);
        self.checks.insert((node, check), critical);
        if critical {
            self.lose(index, |session| session.node == node && session.checks.contains(&check));
        }
        Ok(true)
    }

    pub(super) fn remove_node(&mut self, index: u64, node: &'static str) -> Answer {
        self.nodes.remove(node);
        self.services.remove(node);
        self.checks.retain(|(of, _), _| *of != node);
        self.lose(index, |session| session.node == node);
        Ok(true)
    }

    pub(super) fn remove_check(
        &mut self,
        index: u64,
        node: &'static str,
        check: &'static str,
        with_service: bool,
    ) -> Answer {
        if with_service {
            self.services.remove(node);
        }
        self.checks.remove(&(node, check));
        self.lose(index, |session| session.node == node && session.checks.contains(&check));
        Ok(true)
    }

    pub(super) fn create(
        &mut self,
        id: &'static str,
        node: &'static str,
        checks: Vec<&'static str>,
        delete: bool,
        delayed: bool,
    ) -> Answer {
        let healthy = |check: &&'static str| self.checks.get(&(node, *check)) == Some(&false);
        let fit = self.nodes.contains(node) && checks.iter().all(healthy);
        if self.sessions.contains_key(id) || !fit {
            return Err(());
        }
        self.sessions.insert(id, Session { node, checks, delete, delayed });
        Ok(true)
    }

    pub(super) fn destroy(&mut self, index: u64, id: &'static str) -> Answer {
        if let Some(session) = self.sessions.remove(id) {
            self.forfeit(index, id, &session);
        }
        Ok(true)
    }

    fn lose(&mut self, index: u64, lost: impl Fn(&Session) -> bool) {
        for (id, session) in self.sessions.clone() {
            if lost(&session) {
                self.sessions.remove(id);
                self.forfeit(index, id, &session);
            }
        }
    }

    fn forfeit(&mut self, index: u64, id: &'static str, session: &Session) {
        for (name, key) in self.keys.clone() {
            if key.session != id {
                continue;
            }
            if session.delete {
                self.keys.remove(name);
            } else {
                self.keys.insert(name, Key { session: "", modify: index, ..key });
            }
            if session.delayed {
                self.delays.insert(name, index);
            }
        }
    }

    /// The index that a conditional operation names.
    pub(super) fn expected(&self, step: &KvStep) -> u64 {
        let current = self.keys.get(step.key).map_or(0, |key| key.modify);
        if step.good { current } else { current + 1000 }
    }

    pub(super) fn kv(&mut self, index: u64, step: &KvStep, expected: u64, in_txn: bool) -> Answer {
        let old = self.keys.get(step.key).cloned();
        let modify = old.as_ref().map_or(0, |key| key.modify);
        match step.verb {
            Verb::Set => {}
            Verb::Cas if modify == expected => {}
            Verb::Cas => return Ok(false),
            Verb::Delete => drop(self.keys.remove(step.key)),
            Verb::DeleteTree => self.keys.retain(|key, _| !key.starts_with(step.key)),
            Verb::DeleteCas if old.is_none() => {}
            Verb::DeleteCas if expected == 0 && !in_txn => {}
            Verb::DeleteCas if modify == expected => drop(self.keys.remove(step.key)),
            Verb::DeleteCas => return Ok(false),
            Verb::Lock => {
                if !self.sessions.contains_key(step.session) {
                    return Err(());
                }
                let holder = old.as_ref().map_or("", |key| key.session);
                let free = holder.is_empty() && !self.delays.contains_key(step.key);
                if !free && holder != step.session {
                    return Ok(false);
                }
            }
            Verb::Unlock => {
                if old.as_ref().is_none_or(|key| key.session != step.session) {
                    return Ok(false);
                }
            }
        }
        if !matches!(step.verb, Verb::Delete | Verb::DeleteTree | Verb::DeleteCas) {
            self.put(index, step, old);
        }
        Ok(true)
    }

    fn put(&mut self, index: u64, step: &KvStep, old: Option<Key>) {
        let before = old.clone().unwrap_or(Key {
            value: 0,
            session: "",
            lock_index: 0,
            create: index,
            modify: index,
        });
        let mut key = Key { value: step.value, ..before.clone() };
        match step.verb {
            Verb::Lock => {
                key.session = step.session;
                key.lock_index += u64::from(before.session != step.session);
            }
            Verb::Unlock => key.session = "",
            _ => {}
        }
        if old.as_ref() != Some(&key) {
            key.modify = index;
        }
        self.keys.insert(step.key, key);
    }

    pub(super) fn transaction(&mut self, index: u64, steps: &[KvStep]) -> Answer {
        let expected: Vec<u64> = steps.iter().map(|step| self.expected(step)).collect();
        let before = self.clone();
        let mut failed = false;
        for (step, expected) in steps.iter().zip(expected) {
            failed |= self.kv(index, step, expected, true) != Ok(true);
        }
        if failed {
            *self = before;
        }
        Ok(!failed)
    }

    /// Everything that the state says about sessions, locks and keys must be what is here.
    pub(super) fn compare(&self, state: &State) {
        let sessions: Vec<&str> = state.sessions.list().map(|session| &*session.id).collect();
        assert_eq!(sessions, self.sessions.keys().copied().collect::<Vec<_>>());
        for node in ["n0", "N1"] {
            let of_node: Vec<&str> = state.sessions.of_node(node).map(|s| &*s.id).collect();
            let expected = self.sessions.iter().filter(|(_, session)| session.node == node);
            assert_eq!(of_node, expected.map(|(id, _)| *id).collect::<Vec<_>>());
        }
        let keys = state.kv.list("").map(|pair| {
            let key = (pair.key.clone(), pair.value.to_vec(), pair.session.clone());
            (key, pair.lock_index, pair.create_index, pair.modify_index)
        });
        let expected = self.keys.iter().map(|(name, key)| {
            let written = ((*name).to_owned(), vec![key.value], key.session.to_owned());
            (written, key.lock_index, key.create, key.modify)
        });
        assert_eq!(keys.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        for id in self.sessions.keys() {
            let held: Vec<&str> = state.kv.held_by(id).map(|key| &**key).collect();
            let expected = self.keys.iter().filter(|(_, key)| key.session == *id);
            assert_eq!(held, expected.map(|(name, _)| *name).collect::<Vec<_>>());
        }
        let delays = state.kv.delays().map(|(key, delay)| (&**key, delay.since));
        assert_eq!(
            delays.collect::<Vec<_>>(),
            self.delays.iter().map(|(key, since)| (*key, *since)).collect::<Vec<_>>()
        );
    }
}
