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

/// Nanoseconds of one unit, or `None` for an unknown one.
fn unit_nanos(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
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
        let mut nanos = 0.0f64;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .filter(|end| *end > 0)
                .ok_or_else(invalid)?;
            let (number, tail) = rest.split_at(digits);
            let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let number: f64 = number.parse().map_err(|_| invalid())?;
            nanos += number * unit_nanos(unit).ok_or_else(invalid)?;
            rest = tail;
        }
        if nanos > i64::MAX as f64 {
            return Err(invalid());
        }
        Ok(Self(Duration::from_nanos(nanos.round() as u64)))
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
                Ok(GoDuration(Duration::from_nanos(nanos)))
            }
            fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<GoDuration, E> {
                u64::try_from(nanos)
                    .map(|nanos| GoDuration(Duration::from_nanos(nanos)))
                    .map_err(|_| E::custom(InvalidDuration(format!("{nanos}ns"))))
            }
            fn visit_f64<E: de::Error>(self, nanos: f64) -> Result<GoDuration, E> {
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
        ] {
            assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_with_its_text() {
        for text in ["", "10", "s", "1x", "1h-5m", "abc", ".s"] {
            assert!(text.parse::<GoDuration>().is_err(), "{text:?}");
        }
        assert_eq!(
            "10".parse::<GoDuration>().unwrap_err().to_string(),
            "time: invalid duration \"10\""
        );
    }
}
