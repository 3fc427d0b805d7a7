//! The DNS interface: the catalog as records of one domain (Consul "DNS Interface").
//!
//! A packet becomes a [`query`], its name a [`name::Question`], the question rows of one published
//! state ([`lookup`]), the rows records ([`mod@answer`]), the records bytes that fit the client
//! ([`truncate`]). These are pure. Around them: `worker` brings state and randomness, `udp` and
//! `tcp` the packets, [`server`] the sockets and threads, [`recursor`] and [`remote`] the answers of
//! others.
//!
//! INVARIANT: a query that the agent's own state answers never waits: no locks, no I/O, no other
//! thread. Only what recursors, servers or a new view must answer leaves the UDP threads, and only a
//! bounded number at a time.
//!
//! Not here: prepared queries, ingress gateways and virtual IPs, which the catalog does not have
//! yet; DNSSEC; zone transfers.

pub mod answer;
mod clock;
pub mod compare;
mod datagram;
mod direct;
pub mod general;
pub mod lookup;
pub mod name;
pub mod query;
pub mod record;
pub mod recursor;
pub mod remote;
pub mod server;
mod tcp;
pub mod truncate;
mod udp;
mod worker;
pub mod zone;

#[cfg(test)]
mod tests;

pub use remote::{ForwardedQuery, Remote, answer_for};
pub use server::{BindError, Listeners, serve};
pub use worker::Backend;
pub use zone::{Zone, ZoneError};
