//! What the leader keeps true, one file per duty.

pub mod config_entries;
pub mod coredns;
pub mod pods;
pub mod roots;

use std::time::Duration;

/// Changes come in bursts; this long after the first, all of them are looked at together. Short,
/// because a pod that is not ready must leave DNS at once.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Everything is compared anew at least so often.
const RESYNC: Duration = Duration::from_secs(300);

/// Waits from 0.25 s after the first failure to 10 s after many.
fn backoff(failures: u32) -> Duration {
    Duration::from_millis(250 << failures.min(6)).min(Duration::from_secs(10))
}
