//! Token buckets: limit a rate per second and a burst.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// One bucket, initially full.
#[derive(Debug, Default)]
pub struct Bucket(Mutex<Option<Level>>);

#[derive(Debug)]
struct Level {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// Takes a token. Returns false when there is none. The bucket is filled with `per_second`
    /// tokens and holds at most `burst`; both may change between calls.
    pub fn take(&self, per_second: f64, burst: f64) -> bool {
        let now = Instant::now();
        // No step can panic halfway, so a poisoned lock is safe to use.
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let level = guard.get_or_insert(Level { tokens: burst, filled: now });
        let since = now.duration_since(level.filled).as_secs_f64();
        level.tokens = (level.tokens + since * per_second).min(burst);
        level.filled = now;
        let is_enough = level.tokens >= 1.0;
        if is_enough {
            level.tokens -= 1.0;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let bucket = Bucket::default();
        let taken = || (0..10).filter(|_| bucket.take(2.0, 3.0)).count();
        assert_eq!(taken(), 3);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(taken(), 2);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(taken(), 3, "no more than the burst is saved up");
    }
}
