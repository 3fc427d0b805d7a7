//! Metrics and where they are sent. Key: `telemetry`.

use std::time::Duration;

/// Metrics and where they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// How long a metric that is not updated stays on the Prometheus page; 0 is no such page.
    /// Key: `prometheus_retention_time`.
    pub prometheus_retention: Duration,
    /// Which metrics are kept. Key: `prefix_filter`.
    pub prefix_filter: PrefixFilter,
    /// Whether metrics are kept that the filter says nothing about. Key: `filter_default`.
    pub filter_default: bool,
    /// Whether the names of gauges leave the host name out. Key: `disable_hostname`.
    pub disable_hostname: bool,
    /// First part of every name, without a dot. Key: `metrics_prefix`.
    pub metrics_prefix: String,
    /// `host:port` of a statsd server. Key: `statsd_address`.
    pub statsd_address: Option<String>,
    /// `host:port`, or `unix://` and a path, of a DogStatsD server. Key: `dogstatsd_addr`.
    pub dogstatsd_address: Option<String>,
    /// Tags of every metric sent there. Key: `dogstatsd_tags`.
    pub dogstatsd_tags: Vec<String>,
}

/// Prefixes of metrics' names; the longest that matches counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrefixFilter {
    /// Metrics that are kept.
    pub allowed: Vec<String>,
    /// Metrics that are dropped.
    pub blocked: Vec<String>,
}
