//! The pure core: what the servers agree on and what follows from it.
//!
//! [`state`] is the replicated state, [`fsm`] the commands that change it, [`connect`] the mesh's
//! decisions, [`acl`] the one gate.
//!
//! INVARIANT: nothing here has a clock, randomness, I/O, threads or async code, or iterates in the
//! order of a hash: functions take a state and the time and return values, so that every server
//! that applies the same log has the same state. This crate therefore depends on no runtime, and
//! must not.

#![forbid(unsafe_code)]

pub mod acl;
pub mod connect;
pub mod fsm;
pub mod planted;
pub mod state;

#[cfg(test)]
mod tests;
