//! The values of the HTTP API: a request and a response without their connections.
//!
//! The whole agent uses them: the HTTP server reads them, handlers respond to them, agents forward
//! them to others, and an agent's own registrations are requests too. Consul's conventions for them
//! (parameters, errors, JSON) are in `http`.

pub mod request;
pub mod response;

pub use request::{MalformedRequest, Peer, Request, TO_LEADER};
pub use response::Response;
