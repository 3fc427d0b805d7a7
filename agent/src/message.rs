//! The values of the HTTP API: a request and a response without their connections.
//!
//! They travel through the whole agent: the HTTP server makes them, handlers answer them, other
//! agents get them forwarded, and an agent's own registrations are requests too. What is Consul's
//! in them (parameters, errors, JSON) is `http`'s.

pub mod request;
pub mod response;

pub use request::{MalformedRequest, Peer, Request, TO_LEADER};
pub use response::Response;
