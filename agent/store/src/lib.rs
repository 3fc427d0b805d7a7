//! Publishes the state from one writer to any number of readers, without locks between them, and
//! wakes the blocking queries whose topics changed.
//!
//! INVARIANT: readers see a whole batch of commands or nothing of it, and the waiters of a topic
//! are woken only after the state that changed it is visible.

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
    /// Returns the current state. Cheap; call it once per response and read everything from it.
    pub fn snapshot(&self) -> Arc<State> {
        self.current.load_full()
    }

    /// Publishes `state`, then wakes the waiters of the touched topics.
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

    /// Publishes a state that does not follow from the published one (a restored snapshot), then
    /// wakes every waiter.
    pub fn replace(&self, state: State) {
        self.current.store(Arc::new(state));
        self.registry.wake_all();
    }

    /// Registers a waiter; [`Registry::register`] states the required order.
    pub fn watch(&self, topics: WatchSet) -> Waiter {
        self.registry.register(topics)
    }

    /// Returns the number of waiters, counted once per topic; for metrics and tests.
    pub fn sleepers(&self) -> usize {
        self.registry.sleepers()
    }

    /// Reads until the result's index exceeds `index`: the core of every blocking query. Returns
    /// the index and the result. The caller sets the timeout (the future does not end while nothing
    /// changes) and responds with a last [`Store::read`] when it expires.
    ///
    /// # Cancel safety
    /// Cancel-safe: the state is not changed, and the waiter is unregistered.
    pub async fn read_after<T>(
        &self,
        index: u64,
        read: impl Fn(&State, &mut WatchSet) -> T,
    ) -> (u64, T) {
        loop {
            let (current, topics, result) = self.read_topics(&read);
            if current > index {
                return (current, result);
            }
            if is_planted(Bug::WatchAfterRead) {
                // As on a busy machine: widens the race window so that one run hits it.
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
    /// [`Store::read_after`] it compares no indexes, so the result may depend on topics that change
    /// from read to read. The caller sets the timeout.
    ///
    /// # Cancel safety
    /// Cancel-safe: the state is not changed, and the waiter is unregistered.
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

    /// Reads once; returns the index of the result and the result.
    pub fn read<T>(&self, read: impl Fn(&State, &mut WatchSet) -> T) -> (u64, T) {
        let (index, _, result) = self.read_topics(&read);
        (index, result)
    }

    /// Reads once; returns the index of the topics that were read, the topics, and the result.
    fn read_topics<T>(&self, read: &impl Fn(&State, &mut WatchSet) -> T) -> (u64, WatchSet, T) {
        let state = self.snapshot();
        let mut topics = WatchSet::default();
        let result = read(&state, &mut topics);
        (topics.index(&state), topics, result)
    }
}
