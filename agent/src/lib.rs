//! The lictor agent: a Consul-compatible catalog, KV, DNS and certificate authority.
//!
//! The modules below stand in floor order, from top to bottom: each names only modules of floors
//! below its own (`tests/tidy` reads every path). Below them all are the crates beside this one:
//! `lictor_consensus` and `lictor_membership`, `lictor_transport`, `lictor_store`, `lictor_core`,
//! `lictor_config`, `lictor_runtime`, `lictor_api`. ARCHITECTURE.md says how they fit together.

#![forbid(unsafe_code)]

// What a person runs.
pub mod cli;

// One agent from start to end.
pub mod app;

// What other agents and sidecars ask.
pub mod rpc;

// What clients ask.
pub mod http;

// What the doors answer from.
pub mod agent;

// What rests on local state and on views.
pub mod checks;
pub mod dns;
pub mod events;

// This agent's own services, the mesh's certificates, what a client agent follows.
pub mod ca;
pub mod local;
pub mod views;

// The way to the replicated state: through the log, or through another agent.
pub mod forward;
pub mod server;

// The ground: values and tools.
pub mod archive;
pub mod data_dir;
pub mod dial;
pub mod kubernetes;
pub mod message;
#[cfg(test)]
mod plant;
pub mod rate;
pub mod telemetry;
