//! Waiting on conditions.

use std::time::{Duration, Instant};

/// Polls until `probe` gives a value.
///
/// # Panics
/// With `what` after ten seconds.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_secs(10), what, probe)
}

/// Polls until `probe` gives a value.
///
/// # Panics
/// With `what` after `limit`.
pub fn within<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
        pause(Duration::from_millis(20));
    }
}

/// Time between two looks at a condition; never a substitute for one.
#[expect(
    clippy::disallowed_methods,
    reason = "the interval of polling a condition with a deadline"
)]
pub fn pause(interval: Duration) {
    std::thread::sleep(interval);
}
