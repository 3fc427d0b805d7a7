//! The life of one agent: wires its parts together, runs and stops them.
//!
//! [`Running::start`] binds every listener first, so that a port in use fails the start before
//! anything else happens; then it starts consensus, then the parts that depend on it. `tasks` has
//! the background tasks.

mod last_seen;
mod listeners;
mod metrics;
mod running;
mod start;
mod tasks;

pub use listeners::ListenError;
pub use running::{Failure, Running};
pub use start::StartError;

#[cfg(test)]
mod tests;
