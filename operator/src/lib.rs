//! The Kubernetes operator of lictor.
//!
//! ```text
//! webhook      injects the sidecar into pods that opt in (every replica)
//! controllers  pods -> catalog, ServiceIntentions -> config entries, roots -> namespaces,
//!              the mesh's domain -> CoreDNS (the leader)
//! ```
//!
//! The modules are listed in floor order, highest first: a module imports only modules on lower
//! floors, and only `main` imports [`app`] and [`cleanup`]. Pure cores:
//! [`registration`], [`claims`], [`injection`], [`pod`], [`annotations`], [`plan`], [`corefile`].
//! They use neither tokio nor the network.
//!
//! The operator only writes: while it is down, traffic and DNS go on.

#![forbid(unsafe_code)]

// What `main` runs.
pub mod app;
pub mod cleanup;

// Duties: of every replica, and of the leader.
pub mod controllers;
pub mod webhook;

// What a duty uses: the desired catalog, the servers, the API server, probes.
pub mod context;
pub mod health;
pub mod registration;
pub mod servers;

// Decisions about one pod.
pub mod claims;
pub mod injection;

// Reading a pod.
pub mod pod;

// Tools, each for one thing.
pub mod annotations;
pub mod corefile;
pub mod crds;
pub mod election;
pub mod net;
pub mod plan;
pub mod watch;

// Settings, metrics and spellings.
pub mod config;
pub mod contract;
pub mod metrics;
