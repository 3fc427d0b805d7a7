//! Listeners and connections: HTTP/1.1 and HTTP/2 over TCP, TLS and Unix sockets.
//!
//! INVARIANT: everything a client can make us hold is bounded: connections per address, time for
//! handshakes and headers, bytes of a body. At shutdown blocking queries end at once, other
//! requests finish, and after [`GRACE`] the rest is dropped.
//!
//! A request whose content type is `application/grpc` goes to the gRPC services.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, header::CONTENT_TYPE, request::Parts};
use http_body_util::{BodyExt, Either, Full};
use hyper::{body::Incoming, rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use lictor_api::types::kv::MAX_VALUE_BYTES;
use lictor_transport::tls::TlsConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
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
/// How long to wait after `accept` failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
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

/// Serves until `shutdown`, then drains. `grpc` answers requests for gRPC services, if there are
/// any.
pub async fn serve(
    agent: Arc<Agent>,
    listeners: Vec<Listener>,
    grpc: Option<Routes>,
    shutdown: CancellationToken,
) {
    let server = Arc::new(Server {
        agent,
        grpc,
        connections: Mutex::default(),
        large: Semaphore::new(1),
        tasks: TaskTracker::new(),
        shutdown: shutdown.clone(),
        kill: CancellationToken::new(),
    });
    for listener in listeners {
        server.tasks.spawn(server.clone().accept(listener));
    }
    server.tasks.close();
    shutdown.cancelled().await;
    if timeout(GRACE, server.tasks.wait()).await.is_err() {
        server.kill.cancel();
        server.tasks.wait().await;
    }
}

struct Server {
    agent: Arc<Agent>,
    grpc: Option<Routes>,
    connections: Mutex<HashMap<IpAddr, usize>>,
    /// Held by the one request whose body may be as large as an archive.
    large: Semaphore,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Ends what the grace period did not.
    kill: CancellationToken,
}

impl Server {
    async fn accept(self: Arc<Self>, listener: Listener) {
        loop {
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => return,
                accepted = self.accept_one(&listener) => accepted,
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "cannot accept HTTP connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    async fn accept_one(self: &Arc<Self>, listener: &Listener) -> io::Result<()> {
        match listener {
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                self.tasks.spawn(self.clone().serve_connection(stream, Peer::Unix));
            }
            Listener::Tcp(socket) | Listener::Tls(socket, _) => {
                let (stream, address) = socket.accept().await?;
                stream.set_nodelay(true)?;
                let Some(slot) = self.take_slot(address.ip().to_canonical()) else {
                    self.tasks.spawn(refuse(stream));
                    return Ok(());
                };
                let (server, peer) = (self.clone(), Peer::Tcp(address));
                if let Listener::Tls(_, tls) = listener {
                    let tls = tls.load_full();
                    self.tasks.spawn(async move {
                        if let Some(stream) = server.handshake(tls, stream).await {
                            server.serve_connection(stream, peer).await;
                        }
                        drop(slot);
                    });
                } else {
                    self.tasks.spawn(async move {
                        server.serve_connection(stream, peer).await;
                        drop(slot);
                    });
                }
            }
        }
        Ok(())
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

    async fn serve_connection<S>(self: Arc<Self>, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = auto::Builder::new(Tracked(self.tasks.clone()));
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
                tokio::select! {
                    ended = connection => ended,
                    () = self.kill.cancelled() => return,
                }
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
            (limit, limit as u64 * 4)
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

    /// Counts a connection, unless its address has too many.
    fn take_slot(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let limit = self.agent.config.load().limits.http_max_conns_per_client;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(address).or_default();
        // 0 is no bound, as for server RPC.
        if limit > 0 && *count >= limit {
            return None;
        }
        *count += 1;
        Some(Slot { server: self.clone(), address })
    }
}

/// One counted connection.
struct Slot {
    server: Arc<Server>,
    address: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut connections =
            self.server.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.address);
            }
        }
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

/// Runs the tasks of HTTP/2 streams where shutdown waits for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
