//! The key/value table, its locks and its graveyard.
//!
//! A deleted key leaves a tombstone, so that a blocking query on its prefix sees the index rise.
//! The graveyard is bounded: when it is full, its older half is forgotten and their highest index
//! becomes a floor under every prefix's index. That may wake a reader once too often; it never
//! lets one sleep through a delete.
//!
//! A key whose lock was lost with its session is under a lock-delay: no session can lock it, so
//! that a holder that does not know yet has time to stop. The delay is a row here, and the leader
//! proposes its end (the agent's `server/sessions.rs`), because no clock is here. LockIndex rises
//! with each new holder: a client that guards something else with the lock compares it (fencing).

use std::{sync::Arc, time::Duration};

use imbl::{OrdMap, OrdSet};
use lictor_api::types::kv::KvPair;
use serde::{Deserialize, Serialize};

use super::{Topic, watch::Change};
use crate::planted::{Bug, is_planted};

/// Tombstones that are kept; beyond, the older half is dropped.
const MAX_TOMBSTONES: usize = 8192;

/// All keys, in byte order.
#[derive(Debug, Clone, Default)]
pub struct Kv {
    pub(super) pairs: OrdMap<Arc<str>, Arc<KvPair>>,
    pub(super) graveyard: OrdMap<Arc<str>, u64>,
    /// Highest index among forgotten tombstones.
    pub(super) graveyard_floor: u64,
    /// Raft index of the last change to any key.
    pub(super) index: u64,
    /// Session and key of every lock that is held.
    pub(super) held: OrdSet<(Arc<str>, Arc<str>)>,
    /// Keys that cannot be locked yet.
    pub(super) delays: OrdMap<Arc<str>, LockDelay>,
}

/// A time in which a key cannot be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockDelay {
    /// Raft index at which the lock was lost.
    pub since: u64,
    /// How long the key stays unlocked.
    pub length: Duration,
}

impl Kv {
    /// Returns one pair.
    pub fn get(&self, key: &str) -> Option<&Arc<KvPair>> {
        self.pairs.get(key)
    }

    /// Returns all pairs whose key begins with `prefix`, in order.
    pub fn list<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<KvPair>> + 'a {
        self.pairs
            .range(Arc::<str>::from(prefix)..)
            .map(|(_, pair)| pair)
            .take_while(move |pair| pair.key.starts_with(prefix))
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Returns the keys that a session has locked, in order.
    pub fn held_by(&self, session: &str) -> impl Iterator<Item = &Arc<str>> {
        let session: Arc<str> = Arc::from(session);
        self.held
            .range((session.clone(), Arc::from(""))..)
            .take_while(move |(holder, _)| *holder == session)
            .map(|(_, key)| key)
    }

    /// Returns the lock-delay of a key.
    pub fn delay(&self, key: &str) -> Option<&LockDelay> {
        self.delays.get(key)
    }

    /// Returns all lock-delays, by key.
    pub fn delays(&self) -> impl Iterator<Item = (&Arc<str>, &LockDelay)> {
        self.delays.iter()
    }

    /// Writes a key. An existing key keeps its lock fields and creation index. Writing the value
    /// and flags that the key has already changes nothing.
    pub(crate) fn set(
        &mut self,
        change: &mut Change<'_>,
        key: &str,
        flags: u64,
        value: bytes::Bytes,
    ) {
        let old = self.pairs.get(key);
        let lock_index = old.map_or(0, |old| old.lock_index);
        let session = old.map(|old| old.session.clone()).unwrap_or_default();
        let key = key.to_owned();
        let pair = KvPair { key, flags, value, lock_index, session, ..KvPair::default() };
        self.write(change, pair);
    }

    /// Locks a key for a session, which must exist, and writes it; returns false when another
    /// session holds it or it is under a lock-delay.
    pub(crate) fn lock(
        &mut self,
        change: &mut Change<'_>,
        key: &str,
        flags: u64,
        value: bytes::Bytes,
        session: &str,
    ) -> bool {
        let (holder, lock_index) =
            self.pairs.get(key).map_or(("", 0), |old| (&old.session, old.lock_index));
        let lock_index = match holder {
            "" if self.delays.contains_key(key) => return false,
            "" => lock_index + 1,
            holder if holder == session => lock_index,
            _ if is_planted(Bug::LockTakenOver) => lock_index + 1,
            _ => return false,
        };
        let (key, session) = (key.to_owned(), session.to_owned());
        let pair = KvPair { key, flags, value, lock_index, session, ..KvPair::default() };
        self.write(change, pair);
        true
    }

    /// Unlocks a key and writes it; returns false when the session does not hold it.
    pub(crate) fn unlock(
        &mut self,
        change: &mut Change<'_>,
        key: &str,
        flags: u64,
        value: bytes::Bytes,
        session: &str,
    ) -> bool {
        let Some(old) = self.pairs.get(key).filter(|old| old.session == session) else {
            return false;
        };
        let (key, lock_index) = (key.to_owned(), old.lock_index);
        let pair = KvPair { key, flags, value, lock_index, ..KvPair::default() };
        self.write(change, pair);
        true
    }

    /// Releases the locks of a session that ended: unlocks or deletes its keys and puts them under
    /// a lock-delay.
    pub(super) fn forfeit(
        &mut self,
        change: &mut Change<'_>,
        session: &str,
        delete: bool,
        delay: Duration,
    ) {
        let keys: Vec<Arc<str>> = self.held_by(session).cloned().collect();
        for key in keys {
            if delete {
                self.delete(change, &key);
            } else if let Some(old) = self.pairs.get(&key).cloned() {
                self.write(change, KvPair { session: String::new(), ..(*old).clone() });
            }
            if !delay.is_zero() {
                self.delays.insert(key, LockDelay { since: change.index, length: delay });
            }
        }
    }

    /// Ends a key's lock-delay if it is the one that began at `since`.
    pub(crate) fn end_delay(&mut self, key: &str, since: u64) {
        if self.delays.get(key).is_some_and(|delay| delay.since == since) {
            self.delays.remove(key);
        }
    }

    /// Stores a pair with its indexes; one equal to the stored pair changes nothing.
    fn write(&mut self, change: &mut Change<'_>, mut pair: KvPair) {
        let old = self.pairs.get(pair.key.as_str());
        pair.create_index = old.map_or(change.index, |old| old.create_index);
        pair.modify_index = old.map_or(change.index, |old| old.modify_index);
        if old.is_some_and(|old| **old == pair) {
            return;
        }
        pair.modify_index = change.index;
        let key: Arc<str> = Arc::from(pair.key.as_str());
        self.forget_holder(&key);
        if !pair.session.is_empty() {
            self.held.insert((Arc::from(pair.session.as_str()), key.clone()));
        }
        self.graveyard.remove(&key);
        self.pairs.insert(key.clone(), Arc::new(pair));
        self.index = change.index;
        change.touch(Topic::KvKey(key));
    }

    /// Deletes a key; returns false when there was none.
    pub(crate) fn delete(&mut self, change: &mut Change<'_>, key: &str) -> bool {
        let key: Arc<str> = Arc::from(key);
        self.forget_holder(&key);
        let Some((key, _)) = self.pairs.remove_with_key(&*key) else { return false };
        self.bury(change.index, key.clone());
        change.touch(Topic::KvKey(key));
        true
    }

    /// Deletes every key that begins with `prefix`.
    pub(crate) fn delete_tree(&mut self, change: &mut Change<'_>, prefix: &str) {
        let keys: Vec<String> = self.list(prefix).map(|pair| pair.key.clone()).collect();
        for key in keys {
            self.delete(change, &key);
        }
    }

    /// Rebuilds what is derived from the rows; called when a snapshot is loaded.
    pub(super) fn reindex(&mut self) {
        let locked = self.pairs.iter().filter(|(_, pair)| !pair.session.is_empty());
        self.held =
            locked.map(|(key, pair)| (Arc::from(pair.session.as_str()), key.clone())).collect();
    }

    fn forget_holder(&mut self, key: &Arc<str>) {
        if let Some(old) = self.pairs.get(key).filter(|old| !old.session.is_empty()) {
            self.held.remove(&(Arc::from(old.session.as_str()), key.clone()));
        }
    }

    /// Returns the index of the last change to one key, or to the table when the key does not
    /// exist.
    pub(super) fn key_index(&self, key: &str) -> u64 {
        self.get(key).map_or(self.index, |pair| pair.modify_index)
    }

    /// Returns the index of the last change under a prefix, deletes included, or to the table when
    /// no key is there.
    pub(super) fn prefix_index(&self, prefix: &str) -> u64 {
        let Some(newest) = self.list(prefix).map(|pair| pair.modify_index).max() else {
            return self.index;
        };
        let buried = self
            .graveyard
            .range(Arc::<str>::from(prefix)..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, index)| *index)
            .max();
        newest.max(buried.unwrap_or(0)).max(self.graveyard_floor)
    }

    fn bury(&mut self, index: u64, key: Arc<str>) {
        self.index = index;
        self.graveyard.insert(key, index);
        if self.graveyard.len() <= MAX_TOMBSTONES {
            return;
        }
        let mut ages: Vec<u64> = self.graveyard.values().copied().collect();
        ages.sort_unstable();
        self.graveyard_floor = ages[ages.len() / 2];
        let floor = self.graveyard_floor;
        self.graveyard = self
            .graveyard
            .iter()
            .filter(|(_, index)| **index > floor)
            .map(|(key, index)| (key.clone(), *index))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::watch::Touched;

    fn kv(writes: &[(u64, &str)]) -> (Kv, Touched) {
        let (mut kv, mut touched) = (Kv::default(), Touched::default());
        for (index, key) in writes {
            let change = &mut Change::new(*index, &mut touched);
            kv.set(change, key, 0, bytes::Bytes::from_static(b"v"));
        }
        (kv, touched)
    }

    #[test]
    fn a_prefix_lists_its_keys_in_order_and_nothing_else() {
        let (kv, _) = kv(&[(1, "b"), (2, "a/2"), (3, "a/1"), (4, "a0"), (5, "a")]);
        let keys = |prefix| kv.list(prefix).map(|pair| pair.key.as_str()).collect::<Vec<_>>();
        assert_eq!(keys("a/"), ["a/1", "a/2"]);
        assert_eq!(keys(""), ["a", "a/1", "a/2", "a0", "b"]);
        assert!(keys("c").is_empty());
    }

    #[test]
    fn a_delete_raises_the_index_of_its_prefix_only() {
        let (mut kv, mut touched) = kv(&[(1, "a/1"), (2, "a/2"), (3, "b/1")]);
        assert!(kv.delete(&mut Change::new(9, &mut touched), "a/2"));
        assert!(!kv.delete(&mut Change::new(10, &mut touched), "a/2"));
        assert_eq!((kv.prefix_index("a/"), kv.prefix_index("b/")), (9, 3));
        assert_eq!(kv.key_index("a/2"), 9, "a missing key has the table's index");
    }

    #[test]
    fn a_full_graveyard_forgets_the_old_half_without_lowering_any_index() {
        let (mut kv, mut touched) = kv(&[(1, "keep")]);
        for i in 0..=MAX_TOMBSTONES as u64 {
            let key = format!("t/{i}");
            let change = &mut Change::new(2 + 2 * i, &mut touched);
            kv.set(change, &key, 0, bytes::Bytes::new());
            kv.delete(&mut Change::new(3 + 2 * i, &mut touched), &key);
        }
        assert!(kv.graveyard.len() <= MAX_TOMBSTONES);
        assert_eq!(kv.prefix_index("keep"), kv.graveyard_floor);
        assert!(kv.graveyard_floor > 1);
    }

    #[test]
    fn writing_the_same_value_again_changes_nothing() {
        let (mut kv, _) = kv(&[(1, "a")]);
        let mut touched = Touched::default();
        kv.set(&mut Change::new(7, &mut touched), "a", 0, bytes::Bytes::from_static(b"v"));
        assert_eq!(kv.get("a").unwrap().modify_index, 1);
        kv.set(&mut Change::new(8, &mut touched), "a", 1, bytes::Bytes::from_static(b"v"));
        let pair = kv.get("a").unwrap();
        assert_eq!((pair.create_index, pair.modify_index), (1, 8));
    }
}
