//! Several agents, each on a machine of its own, and what happens to them.
//!
//! `linearizable` decides whether a history is right and is itself tested; `workload` makes
//! histories; `nemesis` injects faults, which prove themselves before they count; the other modules
//! are the scenarios. Root and a few programs are needed, see `harness::Network`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod faults;
mod history;
mod linearizable;
mod locks;
mod moved;
mod nemesis;
mod operator;
mod replaced;
mod seeds;
mod suite;
mod workload;
mod world;
