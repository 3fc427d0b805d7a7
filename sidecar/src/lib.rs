//! The mesh proxy of one workload: a local port for every upstream, mutual TLS between sidecars,
//! intentions decided at the destination.
//!
//! [`run`] is all an embedder needs; [`Sidecar::new`] also gives a [`Handle`] to watch it by. The
//! binary `lictor-sidecar`, the agent's `connect proxy` and `lictor demo` are the embedders.
//!
//! The modules below stand in floor order, from top to bottom: each imports only from floors below
//! its own, never from its own floor or one above. Reading path: [`config`] (what it is told),
//! `app` (how the parts meet), `discovery` and `identity` (what it asks of the servers), `outbound`
//! and `inbound` (a connection's life), `copy` (the bytes). Layer 4 only; HTTP is not looked at.
#![forbid(unsafe_code)]

// The whole: every part wired to the others, and ended.
mod app;

// The long-lived parts: each runs for as long as the sidecar does.
mod admin;
pub mod annotations;
mod discovery;
mod identity;
mod supervisor;

// The two kinds of connection; what the parts above ask, and whom.
mod inbound;
mod outbound;
mod readiness;
mod servers;

// What is known and recorded while it runs.
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

// The ground: plain values, rules and bytes that know nothing of a sidecar.
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
