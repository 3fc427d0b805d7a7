//! Metrics of a process: counters, gauges and samples, declared in one table, summed up in windows
//! of [`WINDOW`], written as Prometheus text ([`prometheus`]) or sent to a statsd server
//! ([`statsd`]).
//!
//! INVARIANT: counting costs a few relaxed atomic operations: no lock, no allocation, no look-up.
//! Code that counts holds a `&'static` handle ([`Counter`], [`Gauge`], [`Sample`]), which has no
//! name; the table of the process ([`Row`]) gives it one. What has labels is looked up once in its
//! [`Family`] and then held.
//!
//! INVARIANT: label values come from bounded sets, because a series is never freed.
//!
//! Windows close for all metrics at once, but not at one instant: what is counted while a window
//! closes is in one of the two, never in both or in none.

mod distribution;
mod handle;
pub mod prometheus;
mod registry;
mod settings;
pub mod statsd;

pub use self::{
    distribution::Distribution,
    handle::{Counter, Family, Gauge, Sample},
    registry::{Handle, Reading, Registry, Row, Unit, Value, WINDOW, Window, until_next_window},
    settings::{Filter, Settings},
};

#[cfg(test)]
mod tests;
