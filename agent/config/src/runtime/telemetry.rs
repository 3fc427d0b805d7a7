//! Metrics and where they are sent. Key: `telemetry`.

use std::time::Duration;

/// Metrics and where they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// How long the Prometheus page has a metric that is not updated; 0 disables the page.
    /// Key: `prometheus_retention_time`.
    pub prometheus_retention: Duration,
    /// Which metrics are recorded. Key: `prefix_filter`.
    pub prefix_filter: PrefixFilter,
    /// Whether metrics that no prefix of the filter matches are recorded. Key: `filter_default`.
    pub filter_default: bool,
    /// Whether the names of gauges leave the host name out. Key: `disable_hostname`.
    pub disable_hostname: bool,
    /// First part of every metric name, without a dot. Key: `metrics_prefix`.
    pub metrics_prefix: String,
    /// `host:port` of a statsd server. Key: `statsd_address`.
    pub statsd_address: Option<String>,
    /// `host:port`, or `unix://` and a path, of a DogStatsD server. Key: `dogstatsd_addr`.
    pub dogstatsd_address: Option<String>,
    /// Tags of every metric sent there. Key: `dogstatsd_tags`.
    pub dogstatsd_tags: Vec<String>,
}

/// Prefixes of metric names; the longest that matches decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrefixFilter {
    /// Prefixes of metrics that are recorded.
    pub allowed: Vec<String>,
    /// Prefixes of metrics that are dropped.
    pub blocked: Vec<String>,
}
