//! The server RPC port: accepts agents' connections and hands their calls to the services.
//!
//! INVARIANT: who is on the other end is established here, from the certificate of its TLS
//! connection, before any service sees a call ([`Caller`] in the request's extensions). An agent
//! without a certificate, where one is asked for, is let in only where certificates are handed out
//! (`auto_encrypt.allow_tls`), reaches only [`Bounds::open_path`], and not for long. What a client can make us
//! hold is bounded: connections per address, time for handshakes, streams and bytes per connection.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use lictor_config::RuntimeConfig;
use lictor_runtime::{
    Tasks,
    accept::{Accepted, Connections, Slots},
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, codegen::Service, service::Routes};

use crate::{
    connections::{CONNECTION_WINDOW_BYTES, MAX_STREAMS, STREAM_WINDOW_BYTES},
    network::{Listener, Stream},
    tls::{InternalRpc, Role, is_tls},
};

/// How long an agent without a certificate may stay, and its streams: it asks one thing.
const ANONYMOUS_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_ANONYMOUS_STREAMS: u32 = 4;
/// How often a silent peer is asked for a sign of life, and how long it may take.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long calls may go on after shutdown began.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Who calls, as its connection tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its address.
    pub address: SocketAddr,
    /// What its certificate says it is; without TLS every agent may be a server.
    pub role: Role,
}

impl Caller {
    /// Who makes a call.
    ///
    /// # Errors
    /// INTERNAL: the call did not come over a connection of [`serve`].
    pub fn of<T>(request: &Request<T>) -> Result<&Self, Status> {
        let caller = request.extensions().get();
        caller.ok_or_else(|| Status::internal("a call without a connection"))
    }

    /// Refuses all but servers of `datacenter`.
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub fn require_server(&self, datacenter: &str) -> Result<(), Status> {
        if self.role.is_server_of(datacenter) {
            return Ok(());
        }
        tracing::warn!(address = %self.address, "server call from an agent without a server's certificate refused");
        Err(Status::permission_denied(format!("a certificate for server.{datacenter} is required")))
    }
}

/// What other agents can make this one hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections of one address; 0 is no bound (`limits.rpc_max_conns_per_client`).
    pub connections: usize,
    /// Time for a TLS handshake (`limits.rpc_handshake_timeout`).
    pub handshake: Duration,
    /// The one method that an agent without a certificate may call.
    pub open_path: &'static str,
}

impl Bounds {
    /// Returns those of a configuration.
    pub fn new(config: &RuntimeConfig, open_path: &'static str) -> Self {
        let limits = &config.limits;
        Self {
            connections: limits.rpc_max_conns_per_client,
            handshake: limits.rpc_handshake_timeout,
            open_path,
        }
    }
}

/// Serves until shutdown of `tasks`, then waits until calls under way have ended, for 2 s at most.
pub async fn serve(
    listener: impl Into<Listener>,
    tls: Arc<InternalRpc>,
    routes: Routes,
    bounds: Bounds,
    tasks: Tasks,
) {
    let (shutdown, slots) = (tasks.shutdown().clone(), Slots::per_address(bounds.connections));
    let connections = Connections::new(&tasks, "rpc.connection");
    let streams = Streams(connections.clone());
    let server = Arc::new(Server { tls, routes, bounds, streams, shutdown: shutdown.clone() });
    let listener = listener.into();
    let serve = |accepted| Arc::clone(&server).serve_one(accepted);
    shutdown.run_until_cancelled(connections.accept(&listener, &slots, serve)).await;
    connections.drain(SHUTDOWN_TIMEOUT).await;
}

/// Runs the tasks of HTTP/2 streams where shutdown waits for them and a panic is noticed.
#[derive(Debug, Clone)]
pub struct Streams(pub Connections);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

struct Server {
    tls: Arc<InternalRpc>,
    routes: Routes,
    bounds: Bounds,
    streams: Streams,
    shutdown: CancellationToken,
}

impl Server {
    async fn serve_one(self: Arc<Self>, accepted: Accepted<(Stream, SocketAddr)>) {
        let Accepted { stream: (stream, address), slot, .. } = accepted;
        let Some(slot) = slot else {
            tracing::warn!(%address, limit = self.bounds.connections, "too many server RPC connections");
            return;
        };
        match stream {
            Stream::Tcp(stream) => self.serve_tcp(stream, address).await,
            Stream::Other(stream) => {
                self.serve_connection(stream, Caller { address, role: Role::Open }).await;
            }
        }
        drop(slot);
    }

    async fn serve_tcp(&self, stream: TcpStream, address: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection ended early");
        }
        match self.acceptor(&stream).await {
            Err(error) => tracing::debug!(%address, %error, "connection ended early"),
            Ok(None) => self.serve_connection(stream, Caller { address, role: Role::Open }).await,
            Ok(Some(config)) => {
                let accepted = tokio_rustls::TlsAcceptor::from(config).accept(stream);
                match timeout(self.bounds.handshake, accepted).await {
                    Ok(Ok(stream)) => {
                        let certificates = stream.get_ref().1.peer_certificates();
                        let role = self.tls.role(certificates.unwrap_or_default());
                        if role.is_agent() || self.tls.hands_out() {
                            self.serve_connection(stream, Caller { address, role }).await;
                        } else {
                            tracing::warn!(%address, "agent without an agent's certificate refused");
                        }
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(%address, %error, "server RPC handshake failed");
                    }
                    Err(_) => tracing::debug!(%address, "server RPC handshake took too long"),
                }
            }
        }
    }

    /// How to shake hands; `None` for a connection in plain text where that is accepted.
    async fn acceptor(&self, stream: &TcpStream) -> io::Result<Option<Arc<ServerConfig>>> {
        let Some(config) = self.tls.acceptor() else { return Ok(None) };
        if self.tls.accepts_plain_text() {
            let first = timeout(self.bounds.handshake, is_tls(stream)).await;
            if !first.map_err(|_| io::ErrorKind::TimedOut)?? {
                return Ok(None);
            }
        }
        Ok(Some(config))
    }

    async fn serve_connection<S>(&self, stream: S, caller: Caller)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(self.streams.clone());
        builder.timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE_INTERVAL);
        let is_known = caller.role.is_agent();
        if is_known {
            builder
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .max_concurrent_streams(MAX_STREAMS);
        } else {
            builder.max_concurrent_streams(MAX_ANONYMOUS_STREAMS);
        }
        let service = service_fn(|mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(caller.clone());
            let mut routes = self.routes.clone();
            let may_call = is_known || request.uri().path() == self.bounds.open_path;
            if !may_call {
                tracing::warn!(
                    address = %caller.address,
                    path = request.uri().path(),
                    "call of an agent without a certificate refused"
                );
            }
            async move {
                match may_call {
                    true => routes.call(request).await,
                    false => Ok(Status::permission_denied("a certificate is required").into_http()),
                }
            }
        });
        let overstayed = async {
            match is_known {
                true => std::future::pending::<()>().await,
                false => tokio::time::sleep(ANONYMOUS_TIMEOUT).await,
            }
        };
        let mut connection =
            std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = overstayed => return,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(address = %caller.address, %error, "server RPC connection ended early");
        }
    }
}

#[cfg(test)]
mod tests;
