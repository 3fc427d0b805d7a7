//! `lictor kv ...`: keys and values.

pub mod delete;
pub mod get;
pub mod put;
pub mod transfer;

/// Returns the path of a key. COMPAT: Consul's CLI takes a key with a leading slash and drops it.
pub(super) fn path(key: &str) -> String {
    format!("/v1/kv/{}", key.strip_prefix('/').unwrap_or(key))
}
