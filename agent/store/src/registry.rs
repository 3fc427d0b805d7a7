//! Registers the waiters of blocking queries by topic, and wakes them.
//!
//! INVARIANT: a waiter that registered before a topic was touched is woken; a wake-up is never
//! lost. Waking costs O(length of the key) per written key, independent of the number of watched
//! prefixes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lictor_core::state::watch::{Topic, Touched, WatchSet};
use tokio::sync::Notify;

type Sleepers = HashMap<u64, Arc<Notify>>;

#[derive(Debug, Default)]
struct Table {
    topics: HashMap<Topic, Sleepers>,
    prefixes: HashMap<Arc<str>, Sleepers>,
}

/// Waiters by topic.
#[derive(Debug, Default)]
pub struct Registry {
    table: Mutex<Table>,
    next_id: AtomicU64,
}

/// A registered waiter; dropping it unregisters its topics.
#[derive(Debug)]
pub struct Waiter {
    registry: Arc<Registry>,
    topics: WatchSet,
    id: u64,
    notify: Arc<Notify>,
}

impl Registry {
    /// Registers a waiter for every topic of `topics`. Register first, then read again: a change
    /// between reading and registering is otherwise missed.
    pub fn register(self: &Arc<Self>, topics: WatchSet) -> Waiter {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let notify = Arc::new(Notify::new());
        let mut table = self.lock();
        for topic in topics.iter() {
            let sleepers = match topic {
                Topic::KvPrefix(prefix) => table.prefixes.entry(prefix.clone()).or_default(),
                other => table.topics.entry(other.clone()).or_default(),
            };
            sleepers.insert(id, notify.clone());
        }
        drop(table);
        Waiter { registry: self.clone(), topics, id, notify }
    }

    /// Wakes the waiters of the touched topics. Call it after the new state is published.
    pub fn wake(&self, touched: &Touched) {
        if touched.is_everything() {
            return self.wake_all();
        }
        let table = self.lock();
        if table.topics.is_empty() && table.prefixes.is_empty() {
            return;
        }
        let wake = |sleepers: Option<&Sleepers>| {
            sleepers.into_iter().flatten().for_each(|(_, notify)| notify.notify_one());
        };
        for topic in touched.topics() {
            wake(table.topics.get(topic));
            if let Topic::KvKey(key) = topic
                && !table.prefixes.is_empty()
            {
                for end in (0..=key.len()).filter(|end| key.is_char_boundary(*end)) {
                    wake(table.prefixes.get(&key[..end]));
                }
            }
        }
    }

    /// Wakes every waiter. Call it after the new state is published.
    pub fn wake_all(&self) {
        let table = self.lock();
        for (_, notify) in table.topics.values().chain(table.prefixes.values()).flatten() {
            notify.notify_one();
        }
    }

    /// Returns the number of waiters, counted once per topic; for metrics and tests.
    pub fn sleepers(&self) -> usize {
        let table = self.lock();
        table.topics.values().chain(table.prefixes.values()).map(HashMap::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic while the table was locked cannot leave it inconsistent: each step is one insert
        // or remove.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Waits until one of the topics is touched after registration.
    ///
    /// # Cancel safety
    /// Cancel-safe: a wake-up that was not yet observed is stored.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        fn forget<K: std::hash::Hash + Eq + Clone>(
            map: &mut HashMap<K, Sleepers>,
            key: &K,
            id: u64,
        ) {
            if let Some(sleepers) = map.get_mut(key) {
                sleepers.remove(&id);
                if sleepers.is_empty() {
                    map.remove(key);
                }
            }
        }
        let mut table = self.registry.lock();
        for topic in self.topics.iter() {
            match topic {
                Topic::KvPrefix(prefix) => forget(&mut table.prefixes, prefix, self.id),
                other => forget(&mut table.topics, other, self.id),
            }
        }
    }
}
