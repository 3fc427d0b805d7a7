//! Panics that were caught: their text, and how many each task has had.
//!
//! INVARIANT: the counts are bounded, because a task's name is `&'static str`.

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

static COUNTS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Returns how many panics were caught since the process began.
pub fn count() -> u64 {
    by_task().iter().map(|(_, count)| count).sum()
}

/// Returns how many panics were caught, by the task's name, in the order of the names.
pub fn by_task() -> Vec<(&'static str, u64)> {
    let counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    counts.iter().map(|(name, count)| (*name, *count)).collect()
}

/// Counts and logs a panic that `task` was caught in, and returns its message. For code that
/// catches panics itself; [`Tasks`](crate::Tasks) does this for each of its tasks.
pub fn caught(task: &'static str, payload: &(dyn Any + Send)) -> String {
    let message = message(payload);
    *COUNTS.lock().unwrap_or_else(PoisonError::into_inner).entry(task).or_default() += 1;
    tracing::error!(task, panic = message, "task panicked");
    message
}

/// Returns what was given to `panic!`.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    }
}
