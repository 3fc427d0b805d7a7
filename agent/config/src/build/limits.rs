//! `limits`.

use std::time::Duration;

use lictor_api::{GoDuration, types::kv};

use super::{
    runtime::{Limits, Rate},
    source::LimitsSource,
};

pub(super) fn build(source: &LimitsSource) -> Limits {
    let burst = source.rpc_max_burst.unwrap_or(1000) as f64;
    Limits {
        http_max_conns_per_client: source.http_max_conns_per_client.unwrap_or(200),
        kv_max_value_bytes: source.kv_max_value_size.unwrap_or(kv::MAX_VALUE_BYTES),
        https_handshake_timeout: handshake_timeout(source.https_handshake_timeout),
        rpc_handshake_timeout: handshake_timeout(source.rpc_handshake_timeout),
        rpc_max_conns_per_client: source.rpc_max_conns_per_client.unwrap_or(100),
        rpc_rate: source
            .rpc_rate
            .filter(|per_second| *per_second >= 0.0)
            .map(|per_second| Rate { per_second, burst }),
    }
}

/// COMPAT: 0 is no limit.
fn handshake_timeout(given: Option<GoDuration>) -> Duration {
    match given {
        None => Duration::from_secs(5),
        Some(time) if time.is_zero() => Duration::MAX,
        Some(time) => time.0,
    }
}
