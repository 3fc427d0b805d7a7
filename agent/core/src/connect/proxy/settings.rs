//! Opaque proxy and upstream settings, read leniently: numbers may be written as text, and what
//! cannot be read counts as absent, as in Consul's weak decoding.

use std::collections::BTreeMap;

use serde_json::Value;

/// A registration's `config` map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Config<'a>(pub(super) &'a BTreeMap<String, Value>);

impl Config<'_> {
    /// Returns a non-empty text.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.0.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Returns a whole number.
    pub(super) fn number(&self, key: &str) -> Option<u32> {
        match self.0.get(key)? {
            Value::String(text) => text.parse().ok(),
            // Some encoders write whole numbers as floats.
            value => {
                value.as_f64().filter(|n| (0.0..=f64::from(u32::MAX)).contains(n)).map(|n| n as u32)
            }
        }
    }

    /// Returns `host:port`.
    pub(super) fn address(&self, key: &str) -> Option<(String, u16)> {
        let text = self.text(key)?;
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.to_owned(), port.parse().ok()?))
    }
}
