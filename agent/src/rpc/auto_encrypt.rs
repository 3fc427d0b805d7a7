//! `lictor.server.v1.AutoEncrypt`: certificates for client agents that have none yet, client and
//! server side.
//!
//! INVARIANT: this is the only method that an agent without a certificate may call ([`SIGN_PATH`];
//! `listener` rejects all others), and its certificate identifies a client agent, never a server.
//! Roots and signing key are replicated, so any server signs by itself.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use lictor_api::server::{
    PROTOCOL_VERSION, v1,
    v1::{auto_encrypt_client::AutoEncryptClient, auto_encrypt_server},
};
use lictor_transport::{
    connections::{ConnectError, Connections},
    servers::Servers,
    tls::auto_encrypt::{Issuer, SignAnswer, SignRequest},
};
use rustls::AlertDescription;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::MAX_CONFIGURATION_BYTES;
use crate::{agent::Agent, ca::CaError};

/// The one method that a client without a certificate may call.
pub const SIGN_PATH: &str = "/lictor.server.v1.AutoEncrypt/Sign";
/// Timeout of one call; a new server waits up to seven seconds for its authority.
const SIGN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait until gossip has discovered a server.
const SERVERS_TIMEOUT: Duration = Duration::from_secs(5);
/// The most DNS names and IP addresses in one request; more than an agent has.
const MAX_NAMES: usize = 64;

/// The service.
pub(super) struct AutoEncrypt {
    agent: Arc<Agent>,
}

impl AutoEncrypt {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }
}

#[tonic::async_trait]
impl auto_encrypt_server::AutoEncrypt for AutoEncrypt {
    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let config = self.agent.config.load_full();
        let enabled = self.agent.authority().filter(|_| config.auto_encrypt.allow_tls);
        let Some(authority) = enabled else {
            return Err(Status::failed_precondition(
                "this server hands out no certificates: auto_encrypt.allow_tls is off",
            ));
        };
        let request = read(request.into_inner())?;
        if request.datacenter != config.datacenter {
            return Err(Status::invalid_argument(format!(
                "this server is of datacenter {:?}, not of {:?}",
                config.datacenter, request.datacenter
            )));
        }
        let signed = authority.sign_agent(&request).await.map_err(|error| status(&error))?;
        tracing::info!(node = request.node, "certificate handed out to a client agent");
        Ok(Response::new(v1::SignResponse {
            chain: signed.chain.into_iter().map(Into::into).collect(),
            not_after: signed.not_after,
        }))
    }
}

fn read(message: v1::SignRequest) -> Result<SignRequest, Status> {
    if message.dns_san.len() + message.ip_san.len() > MAX_NAMES {
        return Err(Status::invalid_argument(format!("more than {MAX_NAMES} names")));
    }
    let address = |text: &String| {
        let parsed = text.parse::<IpAddr>();
        parsed.map_err(|_| Status::invalid_argument(format!("{text:?} is not an IP address")))
    };
    Ok(SignRequest {
        csr: message.csr.to_vec(),
        datacenter: message.datacenter,
        node: message.node,
        dns_san: message.dns_san,
        ip_san: message.ip_san.iter().map(address).collect::<Result<_, _>>()?,
    })
}

fn status(error: &CaError) -> Status {
    let text = error.to_string();
    match error {
        CaError::RateLimited => Status::resource_exhausted(text),
        CaError::Request(_) | CaError::AgentName(_) => Status::invalid_argument(text),
        CaError::NotInitialized | CaError::Server(_) => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

/// Why no server signed. Every error is retried.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Gossip has not discovered a server yet.
    #[error("no server of datacenter {0:?} is known yet")]
    NoServers(String),
    /// A server requires a client certificate.
    #[error(
        "server {0} asks for a certificate and hands none out: set auto_encrypt.allow_tls there"
    )]
    CertificateRequired(SocketAddr),
    /// A server could not be reached.
    #[error("no server was reached")]
    Connect(#[source] ConnectError),
    /// A server rejected the request, or the call failed.
    #[error("server {server} did not sign: {reason}")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// Its error text.
        reason: String,
    },
}

/// The servers in the gossip pool, called in turn without a client certificate: the agent's own may
/// have expired while its machine was suspended.
pub struct SigningServers {
    connections: Arc<Connections>,
    servers: Arc<Servers>,
}

impl SigningServers {
    /// Creates an issuer that calls `servers`.
    pub fn new(connections: Arc<Connections>, servers: Arc<Servers>) -> Self {
        Self { connections, servers }
    }

    async fn request_certificate(
        &self,
        server: SocketAddr,
        request: v1::SignRequest,
    ) -> Result<SignAnswer, SignError> {
        let connected = self.connections.connect_anonymous(server, &request.datacenter).await;
        let connection = connected.map_err(|error| match &error {
            ConnectError::Refused { source, .. } if is_certificate_required(source) => {
                SignError::CertificateRequired(server)
            }
            _ => SignError::Connect(error),
        })?;
        let mut client =
            AutoEncryptClient::new(connection).max_decoding_message_size(MAX_CONFIGURATION_BYTES);
        let refused = |reason: String| SignError::Refused { server, reason };
        match timeout(SIGN_TIMEOUT, client.sign(request)).await {
            Ok(Ok(response)) => {
                let response = response.into_inner();
                let chain = response.chain.iter().map(|certificate| certificate.to_vec()).collect();
                Ok(SignAnswer { chain, not_after: response.not_after })
            }
            Ok(Err(status)) => Err(refused(status.message().to_owned())),
            Err(_) => Err(refused("no answer in time".to_owned())),
        }
    }
}

impl Issuer for SigningServers {
    type Error = SignError;

    async fn sign(&self, request: SignRequest) -> Result<SignAnswer, SignError> {
        let mut last = SignError::NoServers(request.datacenter.clone());
        let mut known = self.servers.changes();
        let is_known = known.wait_for(|servers| {
            servers.iter().any(|server| server.datacenter == request.datacenter)
        });
        if timeout(SERVERS_TIMEOUT, is_known).await.is_err() {
            return Err(last);
        }
        let message = v1::SignRequest {
            protocol_version: PROTOCOL_VERSION,
            csr: request.csr.into(),
            datacenter: request.datacenter,
            node: request.node,
            dns_san: request.dns_san,
            ip_san: request.ip_san.iter().map(ToString::to_string).collect(),
        };
        for server in self.servers.to_try(&message.datacenter) {
            match self.request_certificate(server.address, message.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn is_certificate_required(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)))
}

#[cfg(test)]
mod tests;
