//! Growing pauses between attempts, with jitter so that a fleet does not return in step.
//!
//! Written here and not taken from the `backon` crate: our retry loops hold state between attempts
//! and begin again after a success, which its iterators cannot do, and its jitter is added on top
//! of the longest pause instead of keeping below it.

use std::time::Duration;

/// Doubles from the shortest pause to the longest; each pause is jittered.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Begins with `min` and never pauses longer than `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// Returns the pause before the next attempt: between half and all of the current step.
    pub fn next_pause(&mut self) -> Duration {
        let step = self.min.saturating_mul(1 << self.failures.min(30)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        jittered(step)
    }

    /// Begins again with the shortest pause. Called after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Returns between half and all of `pause`: peers that lost the same server return spread out.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

/// The longest extension of a wait ([`extended`]), as a part of it.
pub const MAX_EXTENSION: f64 = 1.0 / 16.0;

/// Returns `wait` and up to a sixteenth more: waits that began together do not end together, and
/// none ends before its time.
pub fn extended(wait: Duration) -> Duration {
    wait + wait.mul_f64(rand::random_range(0.0..=MAX_EXTENSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(MIN, MAX);
        for round in 0..2 {
            for step in [100, 200, 400, 800, 1000, 1000] {
                let (step, pause) = (Duration::from_millis(step), backoff.next_pause());
                assert!(pause >= step / 2 && pause <= step, "round {round}: {pause:?} of {step:?}");
            }
            backoff.reset();
        }
    }

    #[test]
    fn any_number_of_failures_keeps_the_longest_pause() {
        let mut backoff = Backoff { min: MIN, max: MAX, failures: u32::MAX };
        assert!(backoff.next_pause() >= MAX / 2);
        assert!(backoff.next_pause() <= MAX);
    }

    #[test]
    fn two_in_a_fleet_do_not_pause_alike() {
        let pauses: Vec<Duration> = (0..16).map(|_| Backoff::new(MIN, MAX).next_pause()).collect();
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }

    #[test]
    fn an_extended_wait_is_never_shorter_and_at_most_a_sixteenth_longer() {
        for _ in 0..1000 {
            let wait = extended(Duration::from_secs(16));
            assert!((16.0..=17.0).contains(&wait.as_secs_f64()), "{wait:?}");
        }
    }
}
