//! The mesh proxy of one workload: a local port for every upstream, mutual TLS between sidecars,
//! intentions decided at the destination.
//!
//! [`run`] is all an embedder needs; [`Sidecar::new`] also gives a [`Handle`] to watch it by. The
//! binary `lictor-sidecar`, the agent's `connect proxy` and `lictor demo` are the embedders.
//!
//! Reading path: [`config`] (what it is told), `app` (how the pieces meet), `discovery` and
//! `tls::identity` (what it asks of the servers), `outbound` and `inbound` (a connection's life),
//! `copy` (the bytes). Layer 4 only; HTTP is not looked at.

mod access_log;
mod admin;
pub mod annotations;
mod app;
mod backoff;
mod balance;
pub mod config;
mod copy;
mod discovery;
mod drain;
mod inbound;
mod listener;
pub mod metrics;
mod names;
mod outbound;
mod policy;
pub mod probe;
mod readiness;
pub mod report;
mod servers;
mod snapshot;
mod state;
mod tls;
pub mod token;

pub use app::{Error, Running, Sidecar, run};
pub use config::Config;
pub use policy::Policy;
pub use readiness::Handle;
pub use snapshot::{Endpoint, Target};
pub use tls::material::{CertificateError, Leaf, LeafSummary, Roots};
