//! What was observed, summed up: exact sums and extremes, and counts in buckets for quantiles.
//!
//! A bucket is an eighth of a power of two, so a quantile is wrong by 6% at most. Buckets reach from
//! 2^-10 to 2^22: for milliseconds, from a microsecond to more than an hour. What lies beyond counts
//! in the outermost ones.

/// Buckets of a sample.
pub(super) const BUCKETS: usize = 256;
/// The bits of a value that tell its bucket: the exponent and three bits of the mantissa.
const SHIFT: u32 = 49;
/// Those bits of 2^-10, the first bucket.
const FIRST: u64 = (1023 - 10) << 3;

/// Returns the bucket of a value that is not negative.
pub(super) fn bucket(value: f64) -> usize {
    let above = (value.to_bits() >> SHIFT).saturating_sub(FIRST);
    usize::try_from(above).map_or(BUCKETS - 1, |above| above.min(BUCKETS - 1))
}

/// Returns the middle of a bucket.
fn middle(bucket: usize) -> f64 {
    f64::from_bits(((FIRST + bucket as u64) << SHIFT) | (1 << (SHIFT - 1)))
}

/// The observations of a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Distribution {
    /// How many there are.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
    /// The smallest; 0 without any.
    pub min: f64,
    /// The largest; 0 without any.
    pub max: f64,
    /// The buckets that are not empty, in order: index and count.
    pub(super) buckets: Vec<(usize, u32)>,
}

impl Distribution {
    /// Returns `count` events that are worth 1 each.
    pub(super) fn of_events(count: u64) -> Self {
        let (sum, one) = (count as f64, if count == 0 { 0.0 } else { 1.0 });
        Self { count, sum, squares: sum, min: one, max: one, buckets: Vec::new() }
    }

    /// Returns the mean; 0 without observations.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// Returns the standard deviation of a sample; 0 with fewer than two observations.
    pub fn stddev(&self) -> f64 {
        let count = self.count as f64;
        let divisor = count * (count - 1.0);
        // What is counted while a window closes may be in one sum and not yet in the other.
        let variance = count.mul_add(self.squares, -(self.sum * self.sum)).max(0.0);
        if divisor > 0.0 { (variance / divisor).sqrt() } else { 0.0 }
    }

    /// Returns about the value that the share `q` of observations does not exceed; NaN without any.
    pub fn quantile(&self, q: f64) -> f64 {
        let rank = (q * self.count as f64).ceil().max(1.0);
        let mut seen = 0.0;
        for (value, count) in self.values() {
            seen += f64::from(count);
            if seen >= rank {
                return value;
            }
        }
        if self.count == 0 { f64::NAN } else { self.max }
    }

    /// Returns about each value and how often it was observed, in order. A single one is exact.
    pub fn values(&self) -> impl Iterator<Item = (f64, u32)> {
        // Not `clamp`: while a window closes, one of the two may be from after it.
        let within = |value: f64| value.max(self.min).min(self.max);
        self.buckets.iter().map(move |&(index, count)| (within(middle(index)), count))
    }
}
