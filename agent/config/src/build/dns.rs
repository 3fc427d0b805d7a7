//! Builds the settings of DNS from `dns_config` and `recursors`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    ConfigError,
    runtime::{Dns, Soa},
    source::Source,
};

pub(super) fn build(source: &Source) -> Result<Dns, ConfigError> {
    let config = &source.dns_config;
    let recursor_random = match config.recursor_strategy.as_deref() {
        None | Some("" | "sequential") => false,
        Some("random") => true,
        Some(other) => {
            return Err(ConfigError::invalid(
                "dns_config.recursor_strategy",
                format!("{other:?} is neither \"sequential\" nor \"random\""),
            ));
        }
    };
    Ok(Dns {
        node_ttl: config.node_ttl.unwrap_or_default().0,
        service_ttl: config.service_ttl.iter().map(|(name, ttl)| (name.clone(), ttl.0)).collect(),
        only_passing: config.only_passing.unwrap_or(false),
        enable_truncate: config.enable_truncate.unwrap_or(false),
        udp_answer_limit: config.udp_answer_limit.unwrap_or(3),
        a_record_limit: config.a_record_limit.unwrap_or(0),
        disable_compression: config.disable_compression.unwrap_or(false),
        node_meta_txt: config.enable_additional_node_meta_txt.unwrap_or(true),
        soa: Soa {
            refresh: config.soa.refresh.unwrap_or(3600),
            retry: config.soa.retry.unwrap_or(600),
            expire: config.soa.expire.unwrap_or(86400),
            min_ttl: config.soa.min_ttl.unwrap_or(0),
        },
        recursors: source.recursors.iter().map(|text| recursor(text)).collect::<Result<_, _>>()?,
        recursor_timeout: config.recursor_timeout.map_or(Duration::from_secs(2), |d| d.0),
        recursor_random,
    })
}

/// Parses an IP address with or without a port; the default is 53.
fn recursor(text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
        .map_err(|_| ConfigError::invalid("recursors", format!("{text:?} is not an IP address")))
}
