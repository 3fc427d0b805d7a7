//! What each of our long-running processes does in the same way: named tasks that cannot die
//! unnoticed, panics in the log, log output, metrics, pauses between attempts, accept loops.
//!
//! INVARIANT: nothing here knows of Consul, catalogs or meshes. What a process does is written in
//! the agent, the sidecar and the operator; how it runs, logs and ends is written here, once.

#![forbid(unsafe_code)]

pub mod accept;
pub mod backoff;
#[cfg(test)]
mod capture;
pub mod files;
pub mod log;
pub mod metrics;
pub mod panic_hook;
pub mod panics;
pub mod task;

pub use backoff::Backoff;
pub use log::LogHandle;
pub use task::{TaskFailed, Tasks};
