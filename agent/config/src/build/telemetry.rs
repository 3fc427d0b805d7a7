//! Builds the settings of metrics from `telemetry`.

use super::{
    ConfigError,
    runtime::{PrefixFilter, Telemetry},
    source::TelemetrySource,
};

pub(super) fn build(
    source: &TelemetrySource,
    warnings: &mut Vec<String>,
) -> Result<Telemetry, ConfigError> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let statsd_address = given(&source.statsd_address);
    if let Some(address) = statsd_address.as_deref().filter(|address| !is_host_port(address)) {
        return Err(ConfigError::invalid(
            "telemetry.statsd_address",
            format!("{address:?} is not of the form host:port"),
        ));
    }
    let dogstatsd_address = given(&source.dogstatsd_addr);
    let is_address = |text: &str| text.starts_with("unix://") || is_host_port(text);
    if let Some(address) = dogstatsd_address.as_deref().filter(|address| !is_address(address)) {
        return Err(ConfigError::invalid(
            "telemetry.dogstatsd_addr",
            format!("{address:?} is neither of the form host:port nor a unix:// path"),
        ));
    }
    Ok(Telemetry {
        prometheus_retention: source.prometheus_retention_time.unwrap_or_default().0,
        prefix_filter: prefix_filter(&source.prefix_filter, warnings),
        filter_default: source.filter_default.unwrap_or(true),
        disable_hostname: source.disable_hostname.unwrap_or(false),
        metrics_prefix: given(&source.metrics_prefix).unwrap_or_else(|| "consul".to_owned()),
        statsd_address,
        dogstatsd_address,
        dogstatsd_tags: source.dogstatsd_tags.clone(),
    })
}

/// Parses the rules. COMPAT: Consul starts despite invalid rules, and warns.
fn prefix_filter(rules: &[String], warnings: &mut Vec<String>) -> PrefixFilter {
    let mut filter = PrefixFilter::default();
    for rule in rules {
        if let Some(prefix) = rule.strip_prefix('+') {
            filter.allowed.push(prefix.to_owned());
        } else if let Some(prefix) = rule.strip_prefix('-') {
            filter.blocked.push(prefix.to_owned());
        } else {
            warnings.push(format!(
                "telemetry.prefix_filter {rule:?} begins with neither '+' nor '-' and is left out"
            ));
        }
    }
    filter
}

fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}
