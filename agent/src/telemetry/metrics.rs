//! The agent's metrics: the one table of their names, and how the configuration says to show them.
//!
//! Names are Consul's where its documentation has the thing (Consul "Telemetry", "Key metrics"), so
//! that dashboards work; `lictor.` begins those that Consul does not have. To add one, add a row
//! and count with its handle. `agent/METRICS.md` is made from the table.
//!
//! INVARIANT: every row is counted where its meaning says; there are no rows that stay 0 for the
//! sake of a dashboard. Labels never hold what clients choose.

mod table;

use std::time::SystemTime;

use lictor_config::{RuntimeConfig, runtime::Telemetry};
use lictor_runtime::metrics::{
    Filter, Registry, Settings,
    statsd::{self, Dialect},
};

pub use self::table::*;

/// The metrics of this process. Several agents of one process, as in tests, count together.
pub static REGISTRY: Registry = Registry::new(TABLE);

/// Returns how a configuration says to show metrics.
pub fn settings(config: &RuntimeConfig) -> Settings {
    let telemetry = &config.telemetry;
    let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    Settings {
        prefix: telemetry.metrics_prefix.clone(),
        host: if telemetry.disable_hostname { None } else { host() },
        filter: Filter {
            allowed: telemetry.prefix_filter.allowed.clone(),
            blocked: telemetry.prefix_filter.blocked.clone(),
            default: telemetry.filter_default,
        },
        retention: telemetry.prometheus_retention,
    }
}

/// The servers that metrics are sent to.
#[derive(Debug)]
pub struct Receivers {
    receivers: Vec<(String, Dialect)>,
    /// When the window began that was sent last, in Unix seconds.
    sent: Option<u64>,
}

impl Receivers {
    /// Returns those of a configuration.
    pub fn new(telemetry: &Telemetry) -> Self {
        let statsd = telemetry.statsd_address.clone().map(|address| (address, Dialect::Statsd));
        let tags = telemetry.dogstatsd_tags.clone();
        let dogstatsd = telemetry.dogstatsd_address.clone();
        let dogstatsd = dogstatsd.map(|address| (address, Dialect::DogStatsd { tags }));
        Self { receivers: statsd.into_iter().chain(dogstatsd).collect(), sent: None }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.receivers.is_empty()
    }

    /// Sends each the gauges, and what was counted in the window that was closed last unless it
    /// was sent before.
    pub async fn send(&mut self, settings: &Settings, now: SystemTime) {
        let window = REGISTRY.close_window(now);
        let window =
            window.filter(|window| self.sent.replace(window.started) != Some(window.started));
        let gauges = REGISTRY.gauges();
        let readings = || window.iter().flat_map(|window| &window.readings).chain(&gauges);
        for (address, dialect) in &self.receivers {
            statsd::send(address, &statsd::lines(readings(), settings, dialect)).await;
        }
    }
}

#[cfg(test)]
mod tests;
