//! The mesh's decisions: which services may connect, and the configuration of each proxy.
//!
//! INVARIANT: a pure core. Functions of a [`crate::state::State`], without clock, randomness or
//! I/O, that know no transport; they add the topics they read to a
//! [`crate::state::WatchSet`].

pub mod intention;
pub mod proxy;
