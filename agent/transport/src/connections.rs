//! Connections to servers: one per address, HTTP/2, shared by all calls to it.
//!
//! INVARIANT: [`Connections::connect`] fails before anything was sent, so that the caller may try
//! another server; a request on a connection that breaks may or may not have been carried out. A
//! connection that no longer answers is [dropped](Connections::forget), never waited for: after a
//! partition its TCP retransmissions would be far apart.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{
    HeaderValue,
    uri::{Authority, Scheme, Uri},
};
use hyper::{body::Incoming, client::conn::http2, rt::Executor};
use hyper_util::rt::{TokioIo, TokioTimer};
use lictor_runtime::Tasks;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite},
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tonic::{body::Body, codegen::Service};

use crate::{
    network::{self, Dialer, Network, Stream},
    tls::InternalRpc,
};

/// Time for TCP, TLS and the HTTP/2 preface together. Less than a second, after which a lost SYN
/// would be sent again: a new attempt is sooner.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(900);
/// Interval of HTTP/2 pings to a silent peer, and how long their answer may take.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes in flight on one stream and on one connection.
pub(super) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Streams on one connection; each forwarded blocking query is one.
pub(super) const MAX_STREAMS: u32 = 16_384;

/// Why a server was not reached. Nothing was sent; another server can be tried.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The connection was not established in time.
    #[error("connecting to {0}: no answer within {CONNECT_TIMEOUT:?}")]
    Timeout(SocketAddr),
    /// TCP, TLS or HTTP/2 failed.
    #[error("connecting to {address}: {source}")]
    Refused {
        /// Address of the server.
        address: SocketAddr,
        /// Error of the failed layer.
        source: Arc<io::Error>,
    },
}

/// The connection that the generated gRPC clients call.
#[derive(Debug, Clone)]
pub struct Connection {
    sender: http2::SendRequest<Body>,
    /// Authority that HTTP/2 requires in every request; servers ignore it.
    authority: Authority,
    /// The ID of the server that calls are for, where it matters.
    addressee: Option<HeaderValue>,
}

/// Header with the ID of the server that a call is for.
pub const ADDRESSEE: &str = "lictor-server-id";

impl Connection {
    /// Returns the same connection for calls that only this server may carry out.
    pub fn addressed_to(mut self, id: HeaderValue) -> Self {
        self.addressee = Some(id);
        self
    }
}

/// All connections to servers.
pub struct Connections {
    tls: Arc<InternalRpc>,
    dialer: Dialer,
    tasks: Tasks,
    open: Mutex<HashMap<SocketAddr, Arc<Slot>>>,
}

/// One address. The lock is held while connecting, so that one attempt serves all waiting callers,
/// also when it fails.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<Attempt>);

/// Result of the last attempt.
#[derive(Default)]
struct Attempt {
    open: Option<Connection>,
    failed: Option<(Instant, ConnectError)>,
}

impl Connections {
    /// Returns an empty set of connections.
    pub fn new(tls: Arc<InternalRpc>) -> Self {
        Self { tls, dialer: Dialer::default(), tasks: Tasks::new(), open: Mutex::default() }
    }

    /// Returns an empty set of connections that are made over `network` instead of TCP, in plain
    /// text.
    pub fn over(network: Arc<dyn Network>) -> Self {
        Self { dialer: Dialer::Other(network), ..Self::new(Arc::default()) }
    }

    /// Returns the connection to a server of a datacenter, opening one if there is none.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing was sent.
    pub async fn connect(
        &self,
        address: SocketAddr,
        datacenter: &str,
    ) -> Result<Connection, ConnectError> {
        let (slot, asked) = (self.slot(address), Instant::now());
        let mut last = slot.0.lock().await;
        if let Some(open) = last.open.as_ref().filter(|open| !open.sender.is_closed()) {
            return Ok(open.clone());
        }
        if let Some((_, error)) = last.failed.as_ref().filter(|(when, _)| *when >= asked) {
            return Err(error.clone());
        }
        let attempt = timeout(CONNECT_TIMEOUT, self.open(address, datacenter)).await;
        let result = match attempt {
            Ok(opened) => {
                opened.map_err(|source| ConnectError::Refused { address, source: Arc::new(source) })
            }
            Err(_) => Err(ConnectError::Timeout(address)),
        };
        *last = Attempt {
            open: result.clone().ok(),
            failed: result.clone().err().map(|error| (Instant::now(), error)),
        };
        result
    }

    /// Opens a separate connection to a server of a datacenter without a client certificate; the
    /// server accepts only a request for one on it (`auto_encrypt`).
    ///
    /// # Errors
    /// [`ConnectError`]; nothing was sent.
    pub async fn connect_anonymous(
        &self,
        address: SocketAddr,
        datacenter: &str,
    ) -> Result<Connection, ConnectError> {
        match timeout(CONNECT_TIMEOUT, self.open_anonymous(address, datacenter)).await {
            Ok(opened) => {
                opened.map_err(|source| ConnectError::Refused { address, source: Arc::new(source) })
            }
            Err(_) => Err(ConnectError::Timeout(address)),
        }
    }

    /// Makes the next [`Connections::connect`] open a new connection. Calls on the old one continue
    /// until it ends.
    pub fn forget(&self, address: SocketAddr) {
        self.lock().remove(&address);
    }

    fn slot(&self, address: SocketAddr) -> Arc<Slot> {
        self.lock().entry(address).or_default().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Arc<Slot>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open_anonymous(
        &self,
        address: SocketAddr,
        datacenter: &str,
    ) -> io::Result<Connection> {
        let Some((config, name)) = self.tls.anonymous_connector(datacenter) else {
            return Err(io::Error::other("server RPC is in plain text"));
        };
        let authority = address.to_string().parse().map_err(io::Error::other)?;
        let stream = network::connect(address).await?;
        let mut stream = TlsConnector::from(config).connect(name, stream).await?;
        // With TLS 1.3 a server rejects a missing certificate only after the handshake. One that
        // accepts it sends first as well: HTTP/2 begins with the settings.
        stream.fill_buf().await?;
        handshake(&self.tasks, stream, authority).await
    }

    async fn open(&self, address: SocketAddr, datacenter: &str) -> io::Result<Connection> {
        if self.tls.awaits_certificate() {
            return Err(io::Error::other("no certificate from a server yet (auto_encrypt.tls)"));
        }
        let authority = address.to_string().parse().map_err(io::Error::other)?;
        match self.dialer.connect(address).await? {
            Stream::Tcp(stream) => match self.tls.connector(datacenter) {
                None => handshake(&self.tasks, stream, authority).await,
                Some((config, name)) => {
                    let stream = TlsConnector::from(config).connect(name, stream).await?;
                    handshake(&self.tasks, stream, authority).await
                }
            },
            Stream::Other(stream) => handshake(&self.tasks, stream, authority).await,
        }
    }
}

async fn handshake<S>(tasks: &Tasks, stream: S, authority: Authority) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(Streams(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_INTERVAL)
        .keep_alive_while_idle(true);
    let (sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tasks.spawn_transient("rpc.client", async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "server connection ended");
        }
    });
    Ok(Connection { sender, authority, addressee: None })
}

/// Runs what hyper does for one stream, such as to send its body.
#[derive(Clone)]
struct Streams(Tasks);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn_transient("rpc.client_stream", task);
    }
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        // Scheme, authority and the client's path are always a URI.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        if let Some(addressee) = &self.addressee {
            request.headers_mut().insert(ADDRESSEE, addressee.clone());
        }
        let mut sender = self.sender.clone();
        Box::pin(async move { sender.send_request(request).await })
    }
}
