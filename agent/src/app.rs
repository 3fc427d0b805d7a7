//! Wires the parts of one agent together, runs and ends them.
//!
//! [`Running::start`] binds every listener first (a port in use ends the start before anything
//! happens), then starts consensus, then what rests on it. `tasks` is what runs beside the requests.

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
