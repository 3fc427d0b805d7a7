//! What clients did and what they were told, and what must hold of it.

pub(crate) mod check;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::linearizable::{
    Interval,
    model::{KeyOperation, LockOperation},
};

/// How a read is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// No parameter: from a leader that holds its lease.
    Default,
    /// `?consistent`: from a leader that asked the others.
    Consistent,
    /// `?stale`: from any server.
    Stale,
}

/// One operation on one key.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// The key.
    pub(crate) key: usize,
    /// How a read was asked for.
    pub(crate) mode: Mode,
    /// What was asked and told.
    pub(crate) operation: KeyOperation,
    /// Nanoseconds since the history's start.
    pub(crate) called: u64,
    /// The same; `None` if the outcome is unknown.
    pub(crate) returned: Option<u64>,
    /// `X-Consul-Index` of a read.
    pub(crate) index: Option<u64>,
    /// `ModifyIndex` of the value that was read.
    pub(crate) modified: Option<u64>,
}

/// What a watcher has seen last: an answer's index, and each key's value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `X-Consul-Index`.
    pub(crate) index: u64,
    /// The values.
    pub(crate) values: BTreeMap<usize, u64>,
}

/// Everything that happened in one epoch, under keys of its own.
pub(crate) struct History {
    start: Instant,
    epoch: u64,
    records: Mutex<Vec<Record>>,
    locks: Mutex<Vec<Interval<LockOperation>>>,
    acknowledged: Mutex<Vec<String>>,
    watched: Mutex<BTreeMap<(usize, Mode), Seen>>,
    complaints: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Mode ===

impl Mode {
    /// The query parameter.
    pub(crate) fn parameter(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Consistent => "consistent",
            Self::Stale => "stale",
        }
    }
}

// === impl History ===

impl History {
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            start: Instant::now(),
            epoch,
            records: Mutex::default(),
            locks: Mutex::default(),
            acknowledged: Mutex::default(),
            watched: Mutex::default(),
            complaints: Mutex::default(),
        }
    }

    /// The prefix of the keys that are read and written.
    pub(crate) fn prefix(&self) -> String {
        format!("e{}/k/", self.epoch)
    }

    /// The prefix of the keys that are written once.
    pub(crate) fn once_prefix(&self) -> String {
        format!("e{}/once/", self.epoch)
    }

    /// The key that is a lock.
    pub(crate) fn lock_key(&self) -> String {
        format!("e{}/lock", self.epoch)
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("a test ends within 500 years")
    }

    pub(crate) fn add(&self, record: Record) {
        lock(&self.records).push(record);
    }

    pub(crate) fn add_lock(&self, interval: Interval<LockOperation>) {
        lock(&self.locks).push(interval);
    }

    pub(crate) fn locks(&self) -> Vec<Interval<LockOperation>> {
        lock(&self.locks).clone()
    }

    /// Notes a key whose only write was acknowledged.
    pub(crate) fn acknowledge(&self, key: String) {
        lock(&self.acknowledged).push(key);
    }

    /// Notes what a watcher sees. The index of one that reads the leader's state never goes back.
    pub(crate) fn watch(&self, machine: usize, mode: Mode, seen: Seen) {
        let mut watched = lock(&self.watched);
        let before = watched.insert((machine, mode), seen.clone());
        let Some(before) = before.filter(|before| before.index > seen.index) else { return };
        if mode != Mode::Stale {
            self.complain(format!(
                "index of a watch in {mode:?} mode on machine {machine} went back from {} to {}",
                before.index, seen.index
            ));
        }
    }

    /// What each watcher saw last.
    pub(crate) fn watched(&self) -> BTreeMap<(usize, Mode), Seen> {
        lock(&self.watched).clone()
    }

    /// Notes a violation.
    pub(crate) fn complain(&self, text: String) {
        lock(&self.complaints).push(text);
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        lock(&self.complaints).clone()
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        lock(&self.records).clone()
    }

    pub(crate) fn acknowledged(&self) -> Vec<String> {
        lock(&self.acknowledged).clone()
    }
}
