//! Requests that another agent answers: a client agent's to the servers, and those that name
//! another datacenter.
//!
//! A request of the HTTP API travels whole and is answered as if it had arrived there, so that
//! every endpoint works from every agent without knowing about it. Servers are tried in turn; what
//! surely was not carried out is tried elsewhere until the hold timeout, reads too when their server
//! is gone; a write that may have been carried out is not.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use lictor_api::server::{PROTOCOL_VERSION, v1, v1::forward_client::ForwardClient};
use lictor_config::runtime::Rate;
use lictor_runtime::backoff::MAX_EXTENSION;
use lictor_transport::{
    MAX_REQUEST_BYTES,
    connections::{Connection, Connections},
    servers::{KnownServer, Servers},
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use crate::{
    message::{Request, Response},
    rate::Bucket,
    telemetry::metrics,
};

/// What a response takes beside the wait of a blocking query: an election, and a proposal that is
/// given up.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(40);
/// How long a DNS question may take at a server.
const DNS_TIMEOUT: Duration = Duration::from_secs(3);
/// What a request has beside its body, at most.
const MAX_HEAD_BYTES: usize = 1 << 20;
/// Between two rounds over all servers.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Why a request was not forwarded, or not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ForwardError {
    /// Gossip names no server of this agent's own datacenter. Nothing was sent.
    #[error("no known servers")]
    NoServers,
    /// Gossip names no server of that datacenter. Nothing was sent.
    #[error("no path to datacenter {0:?}")]
    NoPath(String),
    /// The server failed while it had the request; it may have been carried out.
    #[error("rpc error making call: {0}")]
    Call(String),
    /// Snapshots, mostly: a request is passed on in one piece.
    #[error(
        "the {0} is larger than the {MAX_REQUEST_BYTES} bytes that agents pass on; ask a server itself"
    )]
    TooLarge(&'static str),
    /// No server could be reached for the hold timeout. Nothing was carried out.
    #[error("no server could be reached: {0}")]
    Unreachable(String),
}

/// Hands requests to servers.
pub struct Forwarder {
    connections: Arc<Connections>,
    servers: Arc<Servers>,
    datacenter: String,
    node_name: String,
    hold_timeout: Duration,
    rate: Bucket,
}

impl Forwarder {
    /// Makes the forwarder of the agent `node_name` of `datacenter`. It waits up to `hold_timeout`
    /// for a server that takes a request.
    pub fn new(
        connections: Arc<Connections>,
        servers: Arc<Servers>,
        datacenter: String,
        node_name: String,
        hold_timeout: Duration,
    ) -> Self {
        let rate = Bucket::default();
        Self { connections, servers, datacenter, node_name, hold_timeout, rate }
    }

    /// Returns the servers it knows.
    pub fn servers(&self) -> &Arc<Servers> {
        &self.servers
    }

    /// Returns whether another request may be forwarded now; `None` is no limit.
    pub fn admits(&self, rate: Option<Rate>) -> bool {
        rate.is_none_or(|rate| self.rate.take(rate.per_second, rate.burst))
    }

    /// Forwards a request of the HTTP API to a server of `datacenter`. `longest_wait` is how long
    /// it may block there (`max_query_time`); zero for one that does not block.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub async fn http(
        &self,
        datacenter: &str,
        request: &Request,
        longest_wait: Duration,
    ) -> Result<Response, ForwardError> {
        if request.body.len() > MAX_REQUEST_BYTES - MAX_HEAD_BYTES {
            return Err(ForwardError::TooLarge("request"));
        }
        let message = self.message(request);
        let call = |connection: Connection| {
            let message = message.clone();
            async move {
                let mut client = ForwardClient::new(connection)
                    .max_decoding_message_size(MAX_REQUEST_BYTES)
                    .max_encoding_message_size(MAX_REQUEST_BYTES);
                client.http(message).await
            }
        };
        let is_read = *request.method() == Method::GET;
        Ok(to_response(self.call(datacenter, response_timeout(longest_wait), is_read, call).await?))
    }

    /// Forwards a request of the HTTP API, which does not block, to one server of this datacenter.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub async fn http_at(
        &self,
        address: SocketAddr,
        request: &Request,
    ) -> Result<Response, ForwardError> {
        let connection = self.connections.connect(address, &self.datacenter).await;
        let connection =
            connection.map_err(|error| ForwardError::Unreachable(error.to_string()))?;
        let mut client = ForwardClient::new(connection)
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            .max_encoding_message_size(MAX_REQUEST_BYTES);
        match timeout(RESPONSE_TIMEOUT, client.http(self.message(request))).await {
            Ok(Ok(answer)) => Ok(to_response(answer.into_inner())),
            Ok(Err(status)) => Err(ForwardError::Call(status.message().to_owned())),
            Err(_) => Err(ForwardError::Call("no answer in time".to_owned())),
        }
    }

    /// Forwards a DNS message to a server of `datacenter`; answers have addresses of the WAN if `wan`.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub async fn dns(
        &self,
        datacenter: &str,
        message: Bytes,
        tcp: bool,
        wan: bool,
    ) -> Result<Bytes, ForwardError> {
        let request = v1::DnsRequest { protocol_version: PROTOCOL_VERSION, message, tcp, wan };
        let call = |connection: Connection| {
            let request = request.clone();
            async move { ForwardClient::new(connection).dns(request).await }
        };
        Ok(self.call(datacenter, DNS_TIMEOUT, true, call).await?.message)
    }

    /// Returns a connection to some server of `datacenter`, and where it leads.
    ///
    /// # Errors
    /// [`ForwardError`]; nothing was sent.
    pub async fn connect(
        &self,
        datacenter: &str,
    ) -> Result<(SocketAddr, Connection), ForwardError> {
        let deadline = Instant::now() + self.hold_timeout;
        let mut last = self.unknown(datacenter);
        loop {
            for server in self.servers.to_try(datacenter) {
                match self.connections.connect(server.address, &server.datacenter).await {
                    Ok(connection) => return Ok((server.address, connection)),
                    Err(error) => {
                        self.set_aside(&server);
                        last = ForwardError::Unreachable(error.to_string());
                    }
                }
            }
            // Without any server there is nothing to wait for but gossip.
            let is_known = !matches!(last, ForwardError::NoPath(_) | ForwardError::NoServers);
            if !is_known || Instant::now() >= deadline {
                return Err(last);
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Calls servers in turn until one has the request. One that refuses because it is stopping or
    /// has no leader did not carry it out; a read may be repeated also when its server is gone.
    async fn call<T, F>(
        &self,
        datacenter: &str,
        limit: Duration,
        is_read: bool,
        call: impl Fn(Connection) -> F,
    ) -> Result<T, ForwardError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        // A blocking query may have been with a server for minutes when that leaves.
        let mut refused = None;
        loop {
            let (address, connection) = self.connect(datacenter).await?;
            // Counted once it is known that there is such a datacenter.
            if datacenter == self.datacenter {
                metrics::CLIENT_RPC.increment();
            } else {
                metrics::RPC_CROSS_DC.with(&[datacenter]).increment();
            }
            let status = match timeout(limit, call(connection)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer in time"),
            };
            metrics::CLIENT_RPC_FAILED.increment();
            self.servers.prefer_next(1);
            let deadline = *refused.get_or_insert_with(Instant::now) + self.hold_timeout;
            if status.code() == Code::OutOfRange {
                return Err(ForwardError::TooLarge("answer"));
            }
            let is_refusal = status.code() == Code::FailedPrecondition;
            if !is_refusal {
                self.connections.forget(address);
            }
            let may_repeat = is_refusal || is_read && is_broken(status.code());
            if !may_repeat || Instant::now() >= deadline {
                return Err(ForwardError::Call(status.message().to_owned()));
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    fn unknown(&self, datacenter: &str) -> ForwardError {
        if datacenter == self.datacenter {
            ForwardError::NoServers
        } else {
            ForwardError::NoPath(datacenter.to_owned())
        }
    }

    fn set_aside(&self, server: &KnownServer) {
        tracing::debug!(server = server.name, address = %server.address, "server is not reached");
        // Of many calls that found out together, one turns to the next server.
        let first = self.servers.to_try(&server.datacenter).into_iter().next();
        if first.is_some_and(|first| first.id == server.id) {
            self.servers.prefer_next(1);
        }
    }

    fn message(&self, request: &Request) -> v1::HttpRequest {
        let headers = request.headers().iter().filter(|(name, _)| travels(name));
        v1::HttpRequest {
            protocol_version: PROTOCOL_VERSION,
            method: request.method().to_string(),
            uri: request.uri(),
            headers: headers
                .map(|(name, value)| v1::Header {
                    name: name.to_string(),
                    value: Bytes::copy_from_slice(value.as_bytes()),
                })
                .collect(),
            body: request.body.clone(),
            datacenter: self.datacenter.clone(),
            node: self.node_name.clone(),
        }
    }
}

/// Returns how long a server may take over a request that blocks for up to `longest_wait`.
fn response_timeout(longest_wait: Duration) -> Duration {
    longest_wait + longest_wait.mul_f64(MAX_EXTENSION) + RESPONSE_TIMEOUT
}

/// Returns whether a call ended with its connection and not with an answer.
fn is_broken(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
}

/// Returns whether a header is forwarded: not one that belongs to one connection, or that the agent
/// which answers the client sets again.
fn travels(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "connection" | "content-length" | "host" | "te" | "transfer-encoding" | "accept-encoding"
    )
}

/// Converts the other agent's response.
fn to_response(answer: v1::HttpResponse) -> Response {
    let status = u16::try_from(answer.status).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let mut response = Response::empty(status.unwrap_or(StatusCode::BAD_GATEWAY));
    for header in answer.headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(header.name.as_bytes()), HeaderValue::from_bytes(&header.value))
        {
            response.headers.insert(name, value);
        }
    }
    response.body = answer.body;
    response
}

#[cfg(test)]
pub(crate) mod tests;
