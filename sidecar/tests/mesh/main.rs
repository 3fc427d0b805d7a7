//! Tests of sidecars in one process, with real sockets, real TLS and a real authority.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

mod control_plane;
mod endpoints;
mod identity;
mod intentions;
mod lifecycle;
mod listeners;
mod metrics;
mod renewal;
mod transfer;
