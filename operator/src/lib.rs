//! The Kubernetes operator of lictor.
//!
//! ```text
//! webhook      pods that ask for it get a sidecar (every replica)
//! controllers  pods -> catalog, ServiceIntentions -> config entries, roots -> namespaces,
//!              the mesh's domain -> CoreDNS (the leader)
//! ```
//!
//! Pure cores: [`webhook::validate`], [`webhook::mutate`], [`claims`], [`registration`], [`plan`].
//! The operator only writes; losing it stops neither traffic nor DNS.

#![forbid(unsafe_code)]

pub mod annotations;
pub mod app;
pub mod claims;
pub mod cleanup;
pub mod config;
pub mod context;
pub mod controllers;
pub mod corefile;
pub mod crds;
pub mod election;
pub mod health;
pub mod metrics;
pub mod net;
pub mod plan;
pub mod registration;
pub mod servers;
pub mod watch;
pub mod webhook;
