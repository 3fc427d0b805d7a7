//! Builds the bounds on clients from `limits`.

use std::time::Duration;

use lictor_api::{GoDuration, types::kv};

use super::{
    ConfigError,
    runtime::{Limits, MAX_KV_VALUE_BYTES, Rate},
    source::LimitsSource,
};

pub(super) fn build(source: &LimitsSource) -> Result<Limits, ConfigError> {
    let burst = source.rpc_max_burst.unwrap_or(1000) as f64;
    Ok(Limits {
        http_max_conns_per_client: source.http_max_conns_per_client.unwrap_or(200),
        kv_max_value_bytes: kv_max_value_bytes(source.kv_max_value_size)?,
        https_handshake_timeout: handshake_timeout(source.https_handshake_timeout),
        rpc_handshake_timeout: handshake_timeout(source.rpc_handshake_timeout),
        rpc_max_conns_per_client: source.rpc_max_conns_per_client.unwrap_or(100),
        rpc_rate: source
            .rpc_rate
            .filter(|per_second| *per_second >= 0.0)
            .map(|per_second| Rate { per_second, burst }),
    })
}

fn kv_max_value_bytes(given: Option<usize>) -> Result<usize, ConfigError> {
    let bytes = given.unwrap_or(kv::MAX_VALUE_BYTES);
    if bytes > MAX_KV_VALUE_BYTES {
        return Err(ConfigError::invalid(
            "limits.kv_max_value_size",
            format!("is {bytes}; it must be between 0 and {MAX_KV_VALUE_BYTES}"),
        ));
    }
    Ok(bytes)
}

/// Returns the given timeout, by default 5 s. COMPAT: 0 is no limit.
fn handshake_timeout(given: Option<GoDuration>) -> Duration {
    match given {
        None => Duration::from_secs(5),
        Some(time) if time.is_zero() => Duration::MAX,
        Some(time) => time.0,
    }
}
