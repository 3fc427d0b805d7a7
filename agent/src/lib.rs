//! The lictor agent: a Consul-compatible catalog, KV, DNS and certificate authority.
//!
//! The modules are floors: each may use what stands below it in this list, and nothing above
//! (`tests/tidy` reads every `use`). Below them all are the crates beside this one; ARCHITECTURE.md
//! says how they fit together.

#![forbid(unsafe_code)]

// What a person runs.
pub mod cli;
// Starts and stops one agent, and what runs beside its requests.
pub mod app;
// The doors: what clients and other agents ask.
pub mod http;
pub mod rpc;
// What the doors answer from.
pub mod agent;
pub mod ca;
pub mod checks;
pub mod dns;
pub mod events;
pub mod forward;
pub mod kubernetes;
pub mod local;
pub mod message;
pub mod server;
pub mod views;
// Values and tools.
pub mod archive;
pub mod data_dir;
pub mod dial;
pub mod rate;
pub mod telemetry;
