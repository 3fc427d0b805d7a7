//! The objects whose histories are checked.

use super::Model;

/// One key of the KV store.
///
/// Every write writes a value that no other writes, so a client that compares indexes compares
/// values: an index that it read stands for the value it read with it.
#[derive(Debug)]
pub(crate) struct Key;

/// What a client did with a key. `None` as a value: there is no such key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyOperation {
    /// It read this value.
    Read(Option<u64>),
    /// It wrote this value, or deleted the key.
    Write(Option<u64>),
    /// It wrote this value, if the value was another, and was told whether it did.
    CompareAndSet {
        /// The value it compared with.
        expected: Option<u64>,
        /// The value it wrote.
        new: Option<u64>,
        /// Whether it was told that the value is written; true if it was told nothing, as an
        /// operation that had no effect need not be explained.
        done: bool,
    },
}

// === impl Key ===

impl Model for Key {
    type State = Option<u64>;
    type Operation = KeyOperation;

    fn step(state: &Self::State, operation: &KeyOperation) -> Option<Self::State> {
        match operation {
            KeyOperation::Read(value) => (state == value).then_some(*state),
            KeyOperation::Write(value) => Some(*value),
            KeyOperation::CompareAndSet { expected, new, done } => {
                match (state == expected, done) {
                    (true, true) => Some(*new),
                    (false, false) => Some(*state),
                    (true, false) | (false, true) => None,
                }
            }
        }
    }
}

/// A lock: a key that sessions acquire and release. No session of the history ends by itself.
#[derive(Debug)]
pub(crate) struct Lock;

/// What a client did with a lock, by its session's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LockOperation {
    /// It acquired the lock for its session, and was told whether it has it. True if it was told
    /// nothing.
    Acquire(u64, bool),
    /// It released the lock, and was told whether its session had it. True if it was told nothing.
    Release(u64, bool),
}

// === impl Lock ===

impl Model for Lock {
    /// The session that holds it.
    type State = Option<u64>;
    type Operation = LockOperation;

    fn step(holder: &Self::State, operation: &LockOperation) -> Option<Self::State> {
        match *operation {
            LockOperation::Acquire(session, told) => {
                let free = holder.is_none_or(|holder| holder == session);
                (free == told).then_some(if told { Some(session) } else { *holder })
            }
            LockOperation::Release(session, told) => {
                let held = *holder == Some(session);
                (held == told).then_some(if told { None } else { *holder })
            }
        }
    }
}
