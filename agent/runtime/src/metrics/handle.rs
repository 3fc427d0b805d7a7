//! What code counts with: [`Counter`], [`Gauge`], [`Sample`], and families of them with labels.
//!
//! INVARIANT: all methods that code on a hot path calls are relaxed atomic operations on memory that
//! is there already. [`Family::with`] takes a lock and may allocate; its result is to be held.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use super::distribution::{BUCKETS, Distribution, bucket};

/// Events that happened.
#[derive(Debug, Default)]
pub struct Counter {
    total: AtomicU64,
    /// The total when the last window closed.
    closed: AtomicU64,
    /// Unix seconds of the last window with an event.
    counted_at: AtomicU64,
}

impl Counter {
    /// Returns a counter at 0.
    pub const fn new() -> Self {
        Self { total: AtomicU64::new(0), closed: AtomicU64::new(0), counted_at: AtomicU64::new(0) }
    }

    /// Counts one event.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts several events.
    pub fn add(&self, events: u64) {
        self.total.fetch_add(events, Relaxed);
    }

    /// Raises the total to what something else has counted; never lowers it.
    pub fn raise_to(&self, total: u64) {
        self.total.fetch_max(total, Relaxed);
    }

    /// Returns how many events there were since the process began.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Returns the events of the window under way.
    pub(super) fn open(&self) -> u64 {
        self.total().saturating_sub(self.closed.load(Relaxed))
    }

    /// Ends the window that began at `started`, and returns its events.
    pub(super) fn close(&self, started: u64) -> u64 {
        let total = self.total();
        let events = total.saturating_sub(self.closed.swap(total, Relaxed));
        if events > 0 {
            self.counted_at.store(started, Relaxed);
        }
        events
    }

    pub(super) fn counted_at(&self) -> u64 {
        self.counted_at.load(Relaxed)
    }
}

/// A value that goes up and down.
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Returns a gauge without a value.
    pub const fn new() -> Self {
        Self(AtomicU64::new(f64::NAN.to_bits()))
    }

    /// Replaces the value; `None` takes it away, so that the gauge is not shown.
    pub fn set(&self, value: impl Into<Option<f64>>) {
        self.0.store(value.into().unwrap_or(f64::NAN).to_bits(), Relaxed);
    }

    /// Returns the value.
    pub fn value(&self) -> Option<f64> {
        Some(f64::from_bits(self.0.load(Relaxed))).filter(|value| !value.is_nan())
    }
}

impl Default for Gauge {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gauge").field(&self.value()).finish()
    }
}

/// Values that were observed, mostly how many milliseconds something took.
pub struct Sample {
    // Of the window under way.
    buckets: [AtomicU32; BUCKETS],
    /// The bits of floats, as all that follow. Those that are not negative are ordered as integers.
    sum: AtomicU64,
    squares: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
    // Of all windows before it.
    closed_count: AtomicU64,
    closed_sum: AtomicU64,
    /// Unix seconds of the last window with an observation.
    counted_at: AtomicU64,
}

impl Sample {
    /// Returns a sample without observations.
    pub const fn new() -> Self {
        Self {
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            squares: AtomicU64::new(0),
            min: AtomicU64::new(f64::INFINITY.to_bits()),
            max: AtomicU64::new(0),
            closed_count: AtomicU64::new(0),
            closed_sum: AtomicU64::new(0),
            counted_at: AtomicU64::new(0),
        }
    }

    /// Notes a value; one that is negative or no number counts as 0.
    pub fn observe(&self, value: f64) {
        let value = value.max(0.0);
        let bits = value.to_bits();
        self.buckets[bucket(value)].fetch_add(1, Relaxed);
        add(&self.sum, value);
        add(&self.squares, value * value);
        // Mostly neither changes, and a load costs less than a write.
        if bits < self.min.load(Relaxed) {
            self.min.fetch_min(bits, Relaxed);
        }
        if bits > self.max.load(Relaxed) {
            self.max.fetch_max(bits, Relaxed);
        }
    }

    /// Notes the milliseconds since `started`, and returns the end: where what comes next starts.
    pub fn observe_since(&self, started: Instant) -> Instant {
        let now = Instant::now();
        self.observe((now - started).as_secs_f64() * 1e3);
        now
    }

    /// Returns the observations of the window under way.
    pub(super) fn open(&self) -> Distribution {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let float = |cell: &AtomicU64| f64::from_bits(cell.load(Relaxed));
        let extremes = (float(&self.min), float(&self.max));
        summed_up(counts, float(&self.sum), float(&self.squares), extremes)
    }

    /// Ends the window that began at `started`, and returns its observations.
    pub(super) fn close(&self, started: u64) -> Distribution {
        let counts = self.buckets.iter().map(|bucket| bucket.swap(0, Relaxed));
        let take = |cell: &AtomicU64, then: f64| f64::from_bits(cell.swap(then.to_bits(), Relaxed));
        let extremes = (take(&self.min, f64::INFINITY), take(&self.max, 0.0));
        let (sum, squares) = (take(&self.sum, 0.0), take(&self.squares, 0.0));
        let closed = summed_up(counts, sum, squares, extremes);
        self.closed_count.fetch_add(closed.count, Relaxed);
        add(&self.closed_sum, closed.sum);
        if closed.count > 0 {
            self.counted_at.store(started, Relaxed);
        }
        closed
    }

    /// Returns count and sum since the process began.
    pub fn totals(&self) -> (u64, f64) {
        let open = self.open();
        let closed_sum = f64::from_bits(self.closed_sum.load(Relaxed));
        (self.closed_count.load(Relaxed) + open.count, closed_sum + open.sum)
    }

    pub(super) fn counted_at(&self) -> u64 {
        self.counted_at.load(Relaxed)
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sample").field(&self.totals()).finish()
    }
}

/// Adds to the float whose bits a cell holds.
fn add(cell: &AtomicU64, value: f64) {
    let mut known = cell.load(Relaxed);
    loop {
        let sum = (f64::from_bits(known) + value).to_bits();
        match cell.compare_exchange_weak(known, sum, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(newer) => known = newer,
        }
    }
}

fn summed_up(
    counts: impl Iterator<Item = u32>,
    sum: f64,
    squares: f64,
    (min, max): (f64, f64),
) -> Distribution {
    let buckets: Vec<_> = counts.enumerate().filter(|(_, count)| *count > 0).collect();
    let count = buckets.iter().map(|(_, count)| u64::from(*count)).sum();
    let min = if min.is_finite() { min } else { 0.0 };
    Distribution { count, sum, squares, min, max, buckets }
}

/// One metric for each set of values of its labels.
pub struct Family<M: 'static> {
    labels: &'static [&'static str],
    series: Mutex<Vec<(Vec<String>, &'static M)>>,
}

impl<M: Default> Family<M> {
    /// Returns a family without series.
    pub const fn new(labels: &'static [&'static str]) -> Self {
        Self { labels, series: Mutex::new(Vec::new()) }
    }

    /// Returns the series of these values, one for each label, from now on shown with the others.
    pub fn with(&self, values: &[&str]) -> &'static M {
        debug_assert_eq!(values.len(), self.labels.len(), "{:?}", self.labels);
        let mut series = self.lock();
        if let Some((_, metric)) = series.iter().find(|(known, _)| known == values) {
            return metric;
        }
        let metric: &'static M = Box::leak(Box::default());
        series.push((values.iter().map(|value| (*value).to_owned()).collect(), metric));
        metric
    }
}

impl<M> Family<M> {
    /// Returns the names of the labels.
    pub fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// Returns all series with their labels.
    pub(crate) fn series(&self) -> Vec<(Vec<(&'static str, String)>, &'static M)> {
        let named =
            |values: &Vec<String>| self.labels.iter().copied().zip(values.clone()).collect();
        self.lock().iter().map(|(values, metric)| (named(values), *metric)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Vec<String>, &'static M)>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> fmt::Debug for Family<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("labels", &self.labels).finish_non_exhaustive()
    }
}
