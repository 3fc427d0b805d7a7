//! How many certificates are signed per second (`CSRMaxPerSecond`): a token bucket of one second.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::CaError;

/// The bucket.
#[derive(Debug, Default)]
pub(super) struct Limit(Mutex<Option<Bucket>>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Limit {
    /// Takes one token; `per_second` 0 is no limit.
    ///
    /// # Errors
    /// [`CaError::RateLimited`].
    pub(super) fn take(&self, per_second: u32) -> Result<(), CaError> {
        if per_second == 0 {
            return Ok(());
        }
        let (rate, now) = (f64::from(per_second), Instant::now());
        // Each step leaves the bucket whole, so a poisoned lock is as good as any.
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = guard.get_or_insert(Bucket { tokens: rate, filled: now });
        let since = now.duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + since * rate).min(rate);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return Err(CaError::RateLimited);
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}
