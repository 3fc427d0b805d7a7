//! Listeners and connections: HTTP/1.1 and HTTP/2 over TCP, TLS and Unix sockets.
//!
//! INVARIANT: everything a client can make us hold is bounded: connections per address, time for
//! handshakes and headers, bytes of a body. At shutdown blocking queries end at once, other
//! requests finish, and after [`GRACE`] the rest is dropped.
//!
//! A request whose content type is `application/grpc` goes to the gRPC services.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use http::{Method, StatusCode, header::CONTENT_TYPE, request::Parts};
use http_body_util::{BodyExt, Either, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use lictor_api::types::kv::MAX_VALUE_BYTES;
use lictor_runtime::{
    Tasks,
    accept::{self, Accepted, Connections, Slot, Slots},
};
use lictor_transport::{listener::Streams, tls::TlsConfig};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{codegen::Service, service::Routes};

use super::{
    Context, HttpError, Peer, Request, Response,
    routes::{self, Found},
    snapshot,
};
use crate::{agent::Agent, archive::MAX_ARCHIVE_BYTES};

/// Time for a request's head, and how long an idle connection is kept. Longer than Go clients keep
/// theirs (90 s), so that none of them reuses a connection that is being closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long requests may go on after shutdown began.
const GRACE: Duration = Duration::from_secs(5);
/// How long a body may make no progress.
const BODY_PAUSE: Duration = Duration::from_secs(30);
/// HTTP/2: how often a silent peer is asked for a sign of life, and how long it may take.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

type Body = Either<Full<Bytes>, tonic::body::Body>;

/// A bound socket.
pub enum Listener {
    /// Plain HTTP.
    Tcp(TcpListener),
    /// HTTPS.
    Tls(TcpListener, TlsConfig),
    /// Plain HTTP on a Unix socket.
    Unix(UnixListener),
}

/// Serves until shutdown of `tasks`, then drains. `grpc` answers requests for gRPC services, if
/// there are any.
pub async fn serve(
    agent: Arc<Agent>,
    listeners: Vec<Listener>,
    grpc: Option<Routes>,
    tasks: Tasks,
) {
    let (shutdown, connections) = (tasks.shutdown().clone(), Connections::new(&tasks, "http"));
    let server = Arc::new(Server {
        agent,
        grpc,
        large: Semaphore::new(1),
        streams: Streams(connections.clone()),
        shutdown: shutdown.clone(),
    });
    let slots = Slots::per_address(0);
    let limited: Vec<_> = listeners
        .into_iter()
        .map(|listener| LimitedListener {
            listener,
            agent: server.agent.clone(),
            slots: slots.clone(),
        })
        .collect();
    let accepting = limited.iter().map(|listener| {
        connections.accept(listener, &slots, |accepted| server.clone().serve_one(accepted))
    });
    shutdown.run_until_cancelled(join_all(accepting)).await;
    // An agent may have no listener.
    shutdown.cancelled().await;
    connections.drain(GRACE).await;
}

/// A listener whose connections are bounded as the configuration in force says.
struct LimitedListener {
    listener: Listener,
    agent: Arc<Agent>,
    slots: Arc<Slots>,
}

/// A connection as a listener accepts it.
enum Stream {
    Tcp(TcpStream, SocketAddr),
    Tls(TcpStream, SocketAddr, Option<Arc<rustls::ServerConfig>>),
    Unix(UnixStream),
}

impl accept::Listener for LimitedListener {
    type Stream = Stream;

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let accepted = match &self.listener {
            Listener::Unix(socket) => (Stream::Unix(socket.accept().await?.0), None),
            Listener::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                (Stream::Tcp(stream, address), Some(address))
            }
            Listener::Tls(socket, tls) => {
                let (stream, address) = socket.accept().await?;
                (Stream::Tls(stream, address, tls.load_full()), Some(address))
            }
        };
        // Before the connection is counted; 0 is no bound, as for server RPC.
        self.slots.set_max_per_address(self.agent.config.load().limits.http_max_conns_per_client);
        Ok(accepted)
    }
}

struct Server {
    agent: Arc<Agent>,
    grpc: Option<Routes>,
    /// Held by the one request whose body may be as large as an archive.
    large: Semaphore,
    streams: Streams,
    shutdown: CancellationToken,
}

impl Server {
    async fn serve_one(self: Arc<Self>, accepted: Accepted<Stream>) {
        let Accepted { stream, slot, .. } = accepted;
        if let Stream::Tcp(stream, _) | Stream::Tls(stream, ..) = &stream
            && let Err(error) = stream.set_nodelay(true)
        {
            tracing::debug!(%error, "HTTP connection ended early");
        }
        match stream {
            Stream::Unix(stream) => self.serve_connection(stream, Peer::Unix, slot).await,
            Stream::Tcp(stream, _) | Stream::Tls(stream, ..) if slot.is_none() => {
                refuse(stream).await;
            }
            Stream::Tcp(stream, address) => {
                self.serve_connection(stream, Peer::Tcp(address), slot).await;
            }
            Stream::Tls(stream, address, tls) => {
                if let Some(stream) = self.handshake(tls, stream).await {
                    self.serve_connection(stream, Peer::Tcp(address), slot).await;
                }
            }
        }
    }

    async fn handshake(
        &self,
        config: Option<Arc<rustls::ServerConfig>>,
        stream: TcpStream,
    ) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
        let acceptor = tokio_rustls::TlsAcceptor::from(config?);
        let patience = self.agent.config.load().limits.https_handshake_timeout;
        match timeout(patience, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                None
            }
            Err(_) => None,
        }
    }

    /// Serves a connection, which counts in its `slot` until it ends.
    async fn serve_connection<S>(self: Arc<Self>, stream: S, peer: Peer, _slot: Option<Slot>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = auto::Builder::new(self.streams.clone());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE);
        let heard = AtomicBool::new(false);
        let service = service_fn(|request| {
            heard.store(true, Ordering::Relaxed);
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.respond(request, peer).await) }
        });
        let mut connection =
            std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        // Until the first bytes tell which version of HTTP it is, no timer of hyper's runs.
        let silent = async {
            tokio::time::sleep(HEADER_TIMEOUT).await;
            if heard.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = silent => return,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "HTTP connection ended early");
        }
    }

    async fn respond(
        &self,
        mut request: http::Request<Incoming>,
        peer: Peer,
    ) -> http::Response<Body> {
        let is_grpc = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if is_grpc && let Some(grpc) = &self.grpc {
            request.extensions_mut().insert(peer);
            return match grpc.clone().call(request).await {
                Ok(response) => response.map(Either::Right),
                Err(never) => match never {},
            };
        }
        let started = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = match self.receive(request, peer).await {
            Ok((request, large)) => {
                let response = self.answer(request).await;
                drop(large);
                response
            }
            Err(error) => error.into_response(),
        };
        let latency_us = started.elapsed().as_micros() as u64;
        tracing::debug!(%method, path, status = response.status.as_u16(), latency_us, "http request");
        let mut out = http::Response::new(Either::Left(Full::new(response.body)));
        *out.status_mut() = response.status;
        *out.headers_mut() = response.headers;
        out
    }

    /// Answers; a blocking query ends when the server stops.
    async fn answer(&self, request: Request) -> Response {
        let blocks = request.has("index") || request.has("hash");
        let answer = Box::pin(super::answer(&self.agent, request));
        if !blocks {
            return answer.await;
        }
        tokio::select! {
            response = answer => response,
            () = self.shutdown.cancelled() => {
                HttpError::Server(crate::server::ServerError::ShuttingDown).into_response()
            }
        }
    }

    /// Receives the body within its bound; with what must be held while a large one is in memory.
    async fn receive(
        &self,
        request: http::Request<Incoming>,
        peer: Peer,
    ) -> Result<(Request, Option<SemaphorePermit<'_>>), HttpError> {
        let (head, mut incoming) = request.into_parts();
        let may_be_large = self.may_be_large(&head, peer).await?;
        let large = if may_be_large { self.large.acquire().await.ok() } else { None };
        // A body somewhat too large is received and dropped, so that the client reads the answer
        // instead of a reset.
        let (limit, tolerated) = if large.is_some() {
            (MAX_ARCHIVE_BYTES, MAX_ARCHIVE_BYTES as u64)
        } else {
            let limit = self.agent.config.load().limits.kv_max_value_bytes.max(MAX_VALUE_BYTES);
            (limit, (limit as u64).saturating_mul(4))
        };
        let declared = hyper::body::Body::size_hint(&incoming).exact();
        if let Some(bytes) = declared.filter(|bytes| *bytes > tolerated) {
            return Err(HttpError::BodyTooLarge { bytes, limit });
        }
        let (mut body, mut received) = (BytesMut::new(), 0u64);
        while let Some(frame) =
            timeout(BODY_PAUSE, incoming.frame()).await.map_err(|_| HttpError::Body)?
        {
            let Ok(chunk) = frame.map_err(|_| HttpError::Body)?.into_data() else { continue };
            received += chunk.len() as u64;
            if received > tolerated {
                return Err(HttpError::BodyTooLarge { bytes: received, limit });
            }
            if received <= limit as u64 {
                body.extend_from_slice(&chunk);
            }
        }
        if received > limit as u64 {
            return Err(HttpError::BodyTooLarge { bytes: received, limit });
        }
        Ok((Request::new(head, body.freeze(), peer)?, large))
    }

    /// Whether a request brings an archive and comes from somebody who may put it in force.
    async fn may_be_large(&self, head: &Parts, peer: Peer) -> Result<bool, HttpError> {
        let takes_archive = match routes::find(head.uri.path()) {
            Found::Route(route) => route.takes_archive,
            _ => false,
        };
        if head.method != Method::PUT || !takes_archive {
            return Ok(false);
        }
        let request = Request::new(head.clone(), Bytes::new(), peer)?;
        let context = Context::identify(&self.agent, &request).await;
        Ok(context.authorize(&snapshot::ACCESS).is_ok())
    }
}

/// Tells a client that it has too many connections.
async fn refuse(mut stream: TcpStream) {
    const TEXT: &str =
        "Your IP is issuing too many concurrent connections, please rate limit your calls\n";
    let answer = format!(
        "HTTP/1.1 {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{TEXT}",
        StatusCode::TOO_MANY_REQUESTS,
        TEXT.len(),
    );
    // What the client has sent is read first: closing with unread bytes would reset the answer.
    let exchange = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        stream.read(&mut [0; 4096]).await
    };
    if let Ok(Err(error)) = timeout(Duration::from_secs(1), exchange).await {
        tracing::debug!(%error, "HTTP connection ended early");
    }
}
