//! Panics on purpose, for tests of what a panic does: in one place, for one subject, once.

use std::sync::{Mutex, PoisonError};

/// What panics next: a place in the code, and whose turn it is there.
static PLANTED: Mutex<Vec<(&str, String)>> = Mutex::new(Vec::new());

/// Makes the next [`panic_if_planted`] of this place and subject panic.
pub(crate) fn plant_panic(place: &'static str, subject: &str) {
    PLANTED.lock().unwrap_or_else(PoisonError::into_inner).push((place, subject.to_owned()));
}

/// Panics if that was planted for this place and subject.
pub(crate) fn panic_if_planted(place: &str, subject: &str) {
    let mut planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    let at = planted.iter().position(|(at, whose)| *at == place && whose == subject);
    if let Some(at) = at {
        planted.remove(at);
        drop(planted);
        panic!("planted");
    }
}

/// Returns whether a planted panic has happened.
pub(crate) fn has_panicked(place: &str, subject: &str) -> bool {
    let planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    !planted.iter().any(|(at, whose)| *at == place && whose == subject)
}
