//! Growing pauses between attempts, with jitter so that a fleet does not return in step.

use std::time::Duration;

/// Doubles from `base` to `cap`; each pause is between half and all of the step.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    pub(crate) fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempt: 0 }
    }

    /// The pause before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let step = self.base.saturating_mul(1 << self.attempt.min(16)).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        step.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// After a success: begin again with `base`.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }
}
