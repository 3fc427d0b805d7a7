//! `lictor operator ...`: Raft's members and autopilot.

pub mod autopilot;
pub mod raft;
