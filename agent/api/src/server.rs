//! `lictor.server.v1`: what agents say to servers, and servers to each other.
//!
//! Generated from `proto/lictor/server/v1/server.proto`; field numbers are never reused and unknown
//! fields are ignored, so that a cluster can be upgraded one agent at a time.

/// Generated messages, clients and servers.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("lictor.server.v1");
}

/// The protocol version this build speaks, sent with every request.
pub const PROTOCOL_VERSION: u32 = 1;
