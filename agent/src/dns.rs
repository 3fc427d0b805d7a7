//! The DNS interface: the catalog as records of one domain (Consul "DNS Interface").
//!
//! A packet becomes a message (hickory-proto), its name a [`name::Question`], the question rows of
//! one published state ([`lookup`]), the rows records ([`mod@answer`]), the records bytes that fit the
//! client ([`truncate`]). These are pure; [`server`] owns sockets, clock and randomness.
//!
//! INVARIANT: a query inside the domain never waits: no locks, no I/O, no other thread. Only names
//! that recursors must resolve leave the UDP threads, and only a bounded number at a time.
//!
//! Not here: prepared queries, ingress gateways and virtual IPs, which the catalog does not have
//! yet; DNSSEC; zone transfers.

pub mod answer;
mod direct;
pub mod lookup;
pub mod name;
pub mod packet;
pub mod record;
pub mod recursor;
pub mod remote;
pub mod server;
mod tcp;
pub mod truncate;
mod udp;
pub mod zone;

#[cfg(test)]
mod tests;

pub use remote::{Remote, answer_for};
pub use server::{BindError, Listeners, ServeError, Source, serve};
pub use zone::{Zone, ZoneError};
