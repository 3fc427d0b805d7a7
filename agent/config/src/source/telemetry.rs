//! `telemetry`: metrics and where they are sent (Consul "Telemetry parameters").

use lictor_api::GoDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys;

section! {
    /// Metrics and where they are sent.
    TelemetrySource {
        /// How long a metric that is not updated stays on the Prometheus page of
        /// `/v1/agent/metrics`; 0s turns the page off.
        prometheus_retention_time: Option<GoDuration> {
            default: "0s", bounds: "0s or more", reload: Restart, example: r#""24h""#
        },
        /// Which metrics are kept: `+prefix` allows and `-prefix` blocks every name that begins with
        /// it; the longest prefix counts. An entry with neither sign is left out with a warning.
        prefix_filter: Vec<String> {
            default: "none", bounds: "texts that begin with `+` or `-`", reload: Live,
            example: r#"["+consul.raft","-consul.http"]"#
        },
        /// Keeps metrics that `prefix_filter` says nothing about.
        filter_default: Option<bool> {
            default: "true", bounds: "none", reload: Live, example: "false"
        },
        /// Leaves the host name out of the names of gauges.
        disable_hostname: Option<bool> {
            default: "false", bounds: "none", reload: Restart, example: "true"
        },
        /// First part of every metric's name.
        metrics_prefix: Option<String> {
            default: "consul", bounds: "none; an empty text is the default", reload: Restart,
            example: r#""mesh""#
        },
        /// Address of a statsd server that metrics are sent to over UDP.
        statsd_address: Option<String> {
            default: "none", bounds: "host:port", reload: Restart, example: r#""127.0.0.1:8125""#
        },
        /// Address of a DogStatsD server that metrics are sent to.
        dogstatsd_addr: Option<String> {
            default: "none", bounds: "host:port or `unix://` path", reload: Restart,
            example: r#""127.0.0.1:8126""#
        },
        /// Tags of every metric that is sent to DogStatsD, as `name:value`.
        dogstatsd_tags: Vec<String> {
            default: "none", bounds: "none", reload: Restart, example: r#"["team:mesh"]"#
        },
        /// Address of a statsite server.
        statsite_address: Option<Value> { ignored, warn_if_set, example: r#""127.0.0.1:8127""# },
        /// Metrics of the machine.
        enable_host_metrics: Option<Value> { ignored, example: "true" },
        /// Usage metrics by namespace and partition.
        disable_per_tenancy_usage_metrics: Option<Value> { ignored, example: "true" },
        /// Retries when the address of a receiver cannot be resolved at start.
        retry_failed_connection: Option<Value> { ignored, example: "true" },
        /// Names of metrics as of Consul 1.9.
        #[serde(rename = "disable_compat_1.9")]
        disable_compat_1_9: Option<Value> { ignored, example: "true" },
        /// Circonus.
        circonus_api_token: Option<Value> { ignored, warn_if_set, example: r#""x""# },
        /// Circonus.
        circonus_api_app: Option<Value> { ignored, example: r#""x""# },
        /// Circonus.
        circonus_api_url: Option<Value> { ignored, example: r#""https://x.example""# },
        /// Circonus.
        circonus_submission_interval: Option<Value> { ignored, example: r#""20s""# },
        /// Circonus.
        circonus_submission_url: Option<Value> { ignored, warn_if_set, example: r#""https://x.example""# },
        /// Circonus.
        circonus_check_id: Option<Value> { ignored, example: r#""x""# },
        /// Circonus.
        circonus_check_force_metric_activation: Option<Value> { ignored, example: r#""true""# },
        /// Circonus.
        circonus_check_instance_id: Option<Value> { ignored, example: r#""x""# },
        /// Circonus.
        circonus_check_search_tag: Option<Value> { ignored, example: r#""x""# },
        /// Circonus.
        circonus_check_tags: Option<Value> { ignored, example: r#""x""# },
        /// Circonus.
        circonus_check_display_name: Option<Value> { ignored, example: r#""x""# },
        /// Circonus.
        circonus_broker_id: Option<Value> { ignored, example: r#""x""# },
        /// Circonus.
        circonus_broker_select_tag: Option<Value> { ignored, example: r#""x""# },
    }
}
