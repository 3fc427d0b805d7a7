//! Go durations: the text form (`"1m30s"`) that Consul's JSON, flags and query parameters use.
//!
//! Grammar: Go's `time.ParseDuration`. On input an integer means nanoseconds, as in Go's JSON.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A non-negative duration that reads and prints as Go does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

/// The text is not a duration; shown with Go's wording, because clients print it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("time: invalid duration {0:?}")]
pub struct InvalidDuration(pub String);

impl GoDuration {
    /// A duration of `seconds`.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// True for the zero duration, which Go omits from many answers.
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

/// The largest duration: Go counts nanoseconds in a signed number.
const MAX_NANOS: u64 = i64::MAX.unsigned_abs();
/// COMPAT: the largest that is read as [`MAX_NANOS`]: log entries of the first format hold it,
/// rounded up.
const MAX_READ_NANOS: u64 = MAX_NANOS + 1;

/// Returns the nanoseconds of one unit, or `None` for an unknown one.
fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Returns the nanoseconds of `number` units of `unit`. Whole units are counted exactly, so that
/// what is printed reads as the same duration; a fraction is cut off below a nanosecond, as in Go.
fn nanos_of(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if number == "." || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // More digits than these are beyond a nanosecond of any unit.
    let digits = &fraction[..fraction.len().min(18)];
    let part: u128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let scale = 10u128.pow(u32::try_from(digits.len()).ok()?);
    let part = u64::try_from(part * u128::from(unit) / scale).ok()?;
    whole.checked_mul(unit)?.checked_add(part).filter(|nanos| *nanos <= MAX_READ_NANOS)
}

impl FromStr for GoDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDuration(text.to_owned());
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut nanos = 0u64;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .filter(|end| *end > 0)
                .ok_or_else(invalid)?;
            let (number, tail) = rest.split_at(digits);
            let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let part = unit_nanos(unit).and_then(|unit| nanos_of(number, unit));
            nanos = part
                .and_then(|part| nanos.checked_add(part))
                .filter(|nanos| *nanos <= MAX_READ_NANOS)
                .ok_or_else(invalid)?;
            rest = tail;
        }
        Ok(Self(Duration::from_nanos(nanos.min(MAX_NANOS))))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < 1_000 {
            return write!(f, "{nanos}ns");
        }
        if nanos < 1_000_000 {
            return write!(f, "{}µs", nanos as f64 / 1e3);
        }
        if nanos < 1_000_000_000 {
            return write!(f, "{}ms", nanos as f64 / 1e6);
        }
        let (hours, minutes) = (self.0.as_secs() / 3600, self.0.as_secs() / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", (nanos % 60_000_000_000) as f64 / 1e9)
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = GoDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"10s\" or integer nanoseconds")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
                if text.is_empty() {
                    Ok(GoDuration::default())
                } else {
                    text.parse().map_err(E::custom)
                }
            }
            fn visit_u64<E: de::Error>(self, nanos: u64) -> Result<GoDuration, E> {
                // Durations are kept as text, and no text of more is read again.
                if nanos > MAX_NANOS {
                    return Err(E::custom(InvalidDuration(format!("{nanos}ns"))));
                }
                Ok(GoDuration(Duration::from_nanos(nanos)))
            }
            fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<GoDuration, E> {
                u64::try_from(nanos)
                    .map(|nanos| GoDuration(Duration::from_nanos(nanos)))
                    .map_err(|_| E::custom(InvalidDuration(format!("{nanos}ns"))))
            }
            fn visit_f64<E: de::Error>(self, nanos: f64) -> Result<GoDuration, E> {
                if nanos < 0.0 {
                    return Err(E::custom(InvalidDuration(format!("{nanos}ns"))));
                }
                self.visit_u64(nanos as u64)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_text_is_read_and_printed_as_go_prints_it() {
        for (text, printed) in [
            ("10s", "10s"),
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("1.5s", "1.5s"),
            ("250ms", "250ms"),
            ("1m0.5s", "1m0.5s"),
            ("0", "0s"),
            ("72h", "72h0m0s"),
            ("15us", "15µs"),
            ("1.s.5s", "1.5s"),
            ("1.9ns", "1ns"),
            ("2562047h47m16.854775807s", "2562047h47m16.854775807s"),
            ("2562047h47m16.854775808s", "2562047h47m16.854775807s"),
        ] {
            assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_with_its_text() {
        for text in ["", "10", "s", "1x", "1h-5m", "abc", ".s", "1..2s", "2562047h47m16.854775809s"]
        {
            assert!(text.parse::<GoDuration>().is_err(), "{text:?}");
        }
        assert_eq!(
            "10".parse::<GoDuration>().unwrap_err().to_string(),
            "time: invalid duration \"10\""
        );
    }

    #[test]
    fn a_number_that_no_duration_can_be_is_refused() {
        for json in ["9223372036854775808", "18446744073709551615", "1e300", "-1", "-1.5"] {
            assert!(serde_json::from_str::<GoDuration>(json).is_err(), "{json}");
        }
        let longest: GoDuration = serde_json::from_str("9223372036854775807").unwrap();
        assert_eq!(longest.to_string().parse(), Ok(longest));
    }
}
