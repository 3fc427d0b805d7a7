//! The clock: the one place of DNS that reads the time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns Unix seconds, the serial of the SOA. Wraps in 2106, as serials do.
pub(super) fn unix_seconds() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() as u32
}
