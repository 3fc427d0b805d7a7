//! The HTTP API: Consul's `/v1/` endpoints, answered from the published state.
//!
//! INVARIANT: answering is a function of the agent and a [`Request`]; no handler touches a socket.
//! [`server`] turns connections into requests, and a request that another server forwarded is
//! answered the same way. [`routes::ROUTES`] is the one table of endpoints.
//!
//! Source: Consul "HTTP API Structure", "Blocking Queries", "Consistency Modes".

mod agent;
mod cached;
mod catalog;
mod config_entry;
mod connect;
mod coordinate;
mod dispatch;
pub mod error;
mod event;
pub mod filter;
mod health;
mod keyring;
mod kv;
mod metrics;
mod near;
mod operator;
pub mod query;
mod ready;
pub mod request;
pub mod response;
pub mod routes;
pub mod server;
mod session;
mod snapshot;
mod status;
mod translate;
mod txn;

pub use dispatch::answer;
pub use error::HttpError;
pub use request::Context;

pub use crate::message::{Peer, Request, Response, TO_LEADER};

#[cfg(test)]
mod tests;
