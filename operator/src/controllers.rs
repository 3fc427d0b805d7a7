//! The leader's controllers, one file per duty.
//!
//! A controller compares the desired state with the actual one and writes the difference: after a
//! change, and at least every [`RESYNC_INTERVAL`]. A pass that fails is counted, logged and
//! retried.

pub mod config_entries;
pub mod coredns;
pub mod pods;
pub mod roots;

#[cfg(test)]
pub(crate) mod api_server;

use std::time::Duration;

use lictor_runtime::backoff::Backoff;
use metrics::counter;

use crate::metrics::FAILURES;

/// From the first change of a burst to the pass that handles them all. Short, because a pod that is
/// not ready must be out of DNS at once.
const DEBOUNCE_INTERVAL: Duration = Duration::from_millis(50);
/// Longest time between two passes when nothing changes.
const RESYNC_INTERVAL: Duration = Duration::from_secs(300);
/// Shortest pause after a failed pass.
const MIN_RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Longest pause after failed passes.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Counts a failed pass of `controller`, which is the name of its module.
fn count_failure(controller: &'static str) {
    counter!(FAILURES, "controller" => controller).increment(1);
}

/// Returns the backoff after failed passes.
fn backoff() -> Backoff {
    Backoff::new(MIN_RETRY_INTERVAL, MAX_RETRY_INTERVAL)
}
