//! The agent's metrics: the one table of their names, and their configured output.
//!
//! Names are Consul's where its documentation has the metric (Consul "Telemetry", "Key metrics"),
//! so that dashboards work; metrics that Consul does not have begin with `lictor.`. To add one, add
//! a row and count with its handle. `agent/METRICS.md` is generated from the table.
//!
//! INVARIANT: every row is counted as its help text states; no row stays 0 for the sake of a
//! dashboard. Labels never hold values that clients choose.

mod table;

use std::time::SystemTime;

use lictor_config::{RuntimeConfig, runtime::Telemetry};
use lictor_runtime::metrics::{
    Filter, Registry, Settings,
    statsd::{self, Dialect},
};

pub use self::table::*;

/// The metrics of this process, shared by all of its agents (tests start several).
pub static REGISTRY: Registry = Registry::new(TABLE);

/// Returns the output settings of a configuration.
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
    /// Start of the window that was sent last, in Unix seconds.
    sent: Option<u64>,
}

impl Receivers {
    /// Returns the receivers of a configuration.
    pub fn new(telemetry: &Telemetry) -> Self {
        let statsd = telemetry.statsd_address.clone().map(|address| (address, Dialect::Statsd));
        let tags = telemetry.dogstatsd_tags.clone();
        let dogstatsd = telemetry.dogstatsd_address.clone();
        let dogstatsd = dogstatsd.map(|address| (address, Dialect::DogStatsd { tags }));
        Self { receivers: statsd.into_iter().chain(dogstatsd).collect(), sent: None }
    }

    /// Returns whether no receiver is configured.
    pub fn is_empty(&self) -> bool {
        self.receivers.is_empty()
    }

    /// Sends the gauges to each receiver, with the readings of the last closed window unless they
    /// were sent before.
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
