//! Starts real binaries for tests, on ports and in directories of their own, and ends them.
//!
//! INVARIANT: what a test starts ends with the test, by process id; nothing listens outside
//! loopback and namespaces that the test made; every wait has a deadline and is on a condition.

pub mod agent;
pub mod binary;
pub mod fault;
mod leftovers;
pub mod local;
pub mod machine;
pub mod network;
pub mod ports;
pub mod process;
pub mod systemd;
pub mod tools;
pub mod wait;

pub use agent::Agent;
pub use machine::Machine;
pub use network::Network;
pub use process::Process;
pub use systemd::Systemd;
pub use wait::{eventually, within};
