//! Writes this agent's registrations to the catalog: through Raft on a server, by forwarding on a
//! client.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use lictor_core::fsm::Command;

use crate::{
    forward::{ForwardError, Forwarder},
    message::{Peer, Request},
    server::{Server, ServerError},
};

/// Why a registration failed; the caller retries.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// This server could not commit it.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// No server could be reached.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A server rejected it.
    #[error("the servers answered {status}: {body}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The response body.
        body: String,
    },
    /// The request cannot be encoded; unexpected.
    #[error("encoding a registration: {0}")]
    Encode(String),
}

/// Writes registrations to the catalog.
pub enum Registrar {
    /// On a server.
    Server(Arc<Server>),
    /// On a client agent, with its datacenter.
    Client(Arc<Forwarder>, String),
}

impl Registrar {
    /// Applies a registration or deregistration to the catalog.
    ///
    /// # Errors
    /// [`RegisterError`]; the command may have been applied, and is idempotent.
    pub async fn apply(&self, command: Command) -> Result<(), RegisterError> {
        match self {
            Self::Server(server) => Ok(server.propose(command).await.map(|_| ())?),
            Self::Client(forwarder, datacenter) => {
                let request = request(&command)?;
                let response = forwarder.http(datacenter, &request, Duration::ZERO).await?;
                if response.status.is_success() {
                    return Ok(());
                }
                let body = String::from_utf8_lossy(&response.body).into_owned();
                Err(RegisterError::Refused { status: response.status, body })
            }
        }
    }
}

/// Encodes a registration as a request of the HTTP API.
fn request(command: &Command) -> Result<Request, RegisterError> {
    let (path, body) = match command {
        Command::Register(request) => ("/v1/catalog/register", serde_json::to_vec(request)),
        Command::Deregister(request) => ("/v1/catalog/deregister", serde_json::to_vec(request)),
        _ => return Err(RegisterError::Encode("not a registration".to_owned())),
    };
    let encode = |error: &dyn std::error::Error| RegisterError::Encode(error.to_string());
    let body = body.map_err(|error| encode(&error))?;
    let head = http::Request::builder().method(Method::PUT).uri(path).body(());
    let (head, ()) = head.map_err(|error| encode(&error))?.into_parts();
    Request::new(head, Bytes::from(body), Peer::Unix).map_err(|error| encode(&error))
}
