//! Wire types of lictor: the Consul HTTP API's JSON shapes, the gRPC services that sidecars use,
//! and a client for both. Every other member depends on this one; no server code lives here.
//!
//! The structs under [`types`] are also what the servers keep in their state, so a field added
//! here is stored, replicated, answered and decoded without being written a second time.

#[cfg(feature = "client")]
pub mod client;
pub mod contract;
pub mod duration;
pub mod error;
pub mod go;
pub mod mesh;
pub mod names;
pub mod query;
#[cfg(feature = "resolve")]
pub mod resolve;
pub mod server;
pub mod spiffe;
#[cfg(feature = "tls")]
pub mod tls;
pub mod types;
pub mod upstream;
pub mod wire;

pub use duration::GoDuration;
pub use names::{CheckId, NodeName, ServiceId, ServiceName};
pub use spiffe::SpiffeId;

/// The Consul release whose API this is. Clients decide by it what they may ask for, so agents
/// report it as their build (member tag `build`, node meta `consul-version`, `version`).
pub const CONSUL_VERSION: &str = "1.21.4";
