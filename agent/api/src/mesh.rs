//! `lictor.mesh.v1`: the gRPC service that gives a sidecar its certificate and its configuration.
//!
//! Generated from `proto/lictor/mesh/v1/mesh.proto`; field numbers are never reused and unknown
//! fields are ignored, so old sidecars and new servers understand each other.

/// Generated messages, client and server.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("lictor.mesh.v1");
}

/// The protocol version this build speaks, sent with every request.
pub const PROTOCOL_VERSION: u32 = 1;

/// gRPC metadata key of a Kubernetes token: `authorization: Bearer <token>`.
pub const AUTHORIZATION: &str = "authorization";

/// gRPC metadata key of an ACL token.
pub const ACL_TOKEN: &str = "x-consul-token";
