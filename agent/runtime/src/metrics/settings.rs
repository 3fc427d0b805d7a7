//! How metrics are named and which of them are shown, as Consul's `telemetry` says it.

use std::time::Duration;

/// How metrics are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The first part of every name.
    pub prefix: String,
    /// The second part of every gauge's name: gauges of several machines are not to be summed up.
    pub host: Option<String>,
    /// Which metrics are shown.
    pub filter: Filter,
    /// How long Prometheus is shown a series with labels that nothing is counted in.
    pub retention: Duration,
}

impl Settings {
    /// Returns the whole name of a metric.
    pub fn name(&self, name: &str, is_gauge: bool) -> String {
        match &self.host {
            Some(host) if is_gauge => format!("{}.{host}.{name}", self.prefix),
            _ => format!("{}.{name}", self.prefix),
        }
    }
}

/// Which metrics are shown, by the beginnings of their whole names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Those that are.
    pub allowed: Vec<String>,
    /// Those that are not.
    pub blocked: Vec<String>,
    /// Whether those are that neither list says anything about.
    pub default: bool,
}

impl Filter {
    /// Returns whether a metric is shown. The longest prefix counts; of two equal ones, blocking.
    pub fn shows(&self, name: &str) -> bool {
        let longest = |prefixes: &[String]| {
            let matching = prefixes.iter().filter(|prefix| name.starts_with(prefix.as_str()));
            matching.map(|prefix| prefix.len()).max()
        };
        match (longest(&self.allowed), longest(&self.blocked)) {
            (None, None) => self.default,
            (allowed, blocked) => allowed > blocked,
        }
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self { allowed: Vec::new(), blocked: Vec::new(), default: true }
    }
}
