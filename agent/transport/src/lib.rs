//! Transport between agents: the directory of servers ([`servers`]), connections to them
//! ([`connections`]), the server RPC port ([`listener`]), and TLS between agents ([`tls`]).
//!
//! The calls themselves are not known here: callers bring generated clients, and pass services to
//! [`listener::serve`]. INVARIANT: the peer's role follows from its verified certificate alone, and
//! is established before any service sees a call.

#![forbid(unsafe_code)]

#[cfg(test)]
extern crate self as lictor_transport;

pub mod connections;
pub mod listener;
pub mod network;
pub mod servers;
pub mod tls;

/// The largest command that one server proposes to another, in bytes.
pub const MAX_COMMAND_BYTES: usize = 4 << 20;
/// The largest forwarded request or response, in bytes.
pub const MAX_REQUEST_BYTES: usize = 64 << 20;
