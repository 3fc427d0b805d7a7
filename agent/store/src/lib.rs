//! The published state: one writer, any number of readers, no locks between them; and the watches
//! that blocking queries wait on.
//!
//! INVARIANT: readers see a whole batch of commands or nothing of it, and a topic is woken only
//! after the state that changed it is visible.

#![forbid(unsafe_code)]

mod registry;

use std::sync::Arc;

use arc_swap::ArcSwap;
use lictor_core::{
    planted::{Bug, is_planted},
    state::{
        State,
        watch::{Touched, WatchSet},
    },
};

pub use registry::{Registry, Waiter};

/// The published state and its waiters.
#[derive(Debug, Default)]
pub struct Store {
    current: ArcSwap<State>,
    registry: Arc<Registry>,
}

impl Store {
    /// Returns the current state. Cheap; take it once per response and read everything from it.
    pub fn snapshot(&self) -> Arc<State> {
        self.current.load_full()
    }

    /// Makes `state` visible, then wakes the waiters of the touched topics.
    pub fn publish(&self, state: State, touched: &Touched) {
        if is_planted(Bug::WakeBeforePublish) {
            self.registry.wake(touched);
            std::thread::yield_now();
        }
        self.current.store(Arc::new(state));
        if !is_planted(Bug::WakeBeforePublish) {
            self.registry.wake(touched);
        }
    }

    /// Makes a state visible that is not the successor of the published one (a snapshot), then
    /// wakes every waiter.
    pub fn replace(&self, state: State) {
        self.current.store(Arc::new(state));
        self.registry.wake_all();
    }

    /// Registers a waiter; see [`Registry::register`] for the order to keep.
    pub fn watch(&self, topics: WatchSet) -> Waiter {
        self.registry.register(topics)
    }

    /// Returns the number of registered waiters; for metrics and tests.
    pub fn sleepers(&self) -> usize {
        self.registry.sleepers()
    }

    /// Reads until the answer's index exceeds `index`: the core of every blocking query. Returns
    /// the answer with its index. The caller bounds the time (the future never ends by itself when
    /// nothing changes) and responds with a last [`Store::read`] at the timeout.
    ///
    /// # Cancel safety
    /// Cancel-safe: nothing is changed.
    pub async fn read_after<T>(
        &self,
        index: u64,
        read: impl Fn(&State, &mut WatchSet) -> T,
    ) -> (u64, T) {
        loop {
            let (current, topics, answer) = self.read_topics(&read);
            if current > index {
                return (current, answer);
            }
            if is_planted(Bug::WatchAfterRead) {
                // As on a busy machine: widens the gap so that one run hits it.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            let waiter = self.watch(topics);
            if !is_planted(Bug::WatchAfterRead) && self.read_topics(&read).0 > index {
                continue;
            }
            waiter.changed().await;
        }
    }

    /// Reads until `read` returns a value, again whenever a topic that it added is touched. Unlike
    /// [`Store::read_after`] it compares no indexes, so what it looks for may depend on topics that
    /// change from read to read. The caller bounds the time.
    ///
    /// # Cancel safety
    /// Cancel-safe: nothing is changed.
    pub async fn wait_for<T>(&self, read: impl Fn(&State, &mut WatchSet) -> Option<T>) -> T {
        loop {
            let (_, topics, found) = self.read_topics(&read);
            if let Some(found) = found {
                return found;
            }
            let waiter = self.watch(topics);
            if let (_, Some(found)) = self.read(&read) {
                return found;
            }
            waiter.changed().await;
        }
    }

    /// Reads once; returns the index of the answer with the answer.
    pub fn read<T>(&self, read: impl Fn(&State, &mut WatchSet) -> T) -> (u64, T) {
        let (index, _, answer) = self.read_topics(&read);
        (index, answer)
    }

    fn read_topics<T>(&self, read: &impl Fn(&State, &mut WatchSet) -> T) -> (u64, WatchSet, T) {
        let state = self.snapshot();
        let mut topics = WatchSet::default();
        let answer = read(&state, &mut topics);
        (topics.index(&state), topics, answer)
    }
}
