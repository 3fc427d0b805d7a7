//! The mesh's decisions: who may connect to whom, and what a proxy has to know.
//!
//! INVARIANT: a pure core. Functions of a [`crate::state::State`], without clock, randomness or
//! I/O, that know no transport; they note the topics they read in a
//! [`crate::state::WatchSet`].

pub mod intention;
pub mod proxy;
