//! The mesh proxy of one workload: a local port for every upstream, mutual TLS between sidecars,
//! intentions decided at the destination.
//!
//! [`run`] is all an embedder needs; [`Sidecar::new`] also gives a [`Handle`] to watch it by. The
//! binary `lictor-sidecar`, the agent's `connect proxy` and `lictor demo` are the embedders.
//!
//! The modules below are in floor order, from top to bottom: each imports only from floors below
//! its own, never from its own floor or one above. Reading path: [`config`] (the settings), `app`
//! (the wiring), `discovery` and `identity` (the requests to the servers), `outbound` and `inbound`
//! (a connection's life), `copy` (the bytes). Layer 4 only; HTTP is not parsed.
#![forbid(unsafe_code)]

// The wiring: starts every part and ends it.
mod app;

// The long-lived parts: each runs for as long as the sidecar does.
mod admin;
pub mod annotations;
mod discovery;
mod identity;
mod supervisor;

// The two kinds of connection; readiness; the client of the servers.
mod inbound;
mod outbound;
mod readiness;
mod servers;

// Configuration, shared state and the access log.
mod access_log;
pub mod config;
mod error;
mod state;

// Mechanisms, each with one job.
mod balance;
mod handshake;
mod listener;
pub mod metrics;
mod snapshot;

// The ground: plain values, rules and byte copying, independent of a sidecar.
mod copy;
mod drain;
mod outcome;
mod policy;
pub mod probe;
mod target;
mod tls;
pub mod token;

#[cfg(test)]
mod tests;

pub use app::{Running, Sidecar, run};
pub use config::Config;
pub use error::Error;
pub use policy::Policy;
pub use readiness::Handle;
pub use target::{Endpoint, Target};
pub use tls::material::{CertificateError, Leaf, LeafSummary, Roots};
