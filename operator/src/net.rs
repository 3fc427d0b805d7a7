//! The accept loop of both of the operator's listeners: the webhook (TLS) and probes (plain).
//!
//! HTTP/1.1 only, which the API server, kubelet and Prometheus all use. Connections are bounded in
//! number, handshakes and headers in time; at shutdown, requests in flight are completed.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use lictor_runtime::{
    Tasks,
    accept::{Accepted, Connections, Slots, WhenFull},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

const MAX_CONNECTIONS: usize = 256;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A response with its whole body.
pub type HttpResponse = Response<Full<Bytes>>;

/// Handles requests.
pub trait Handler: Send + Sync + 'static {
    /// Returns the response to one request.
    fn respond(&self, request: Request<Incoming>) -> impl Future<Output = HttpResponse> + Send;
}

/// Serves `listener` until shutdown of `tasks`, then waits up to [`DRAIN_TIMEOUT`] for requests in
/// flight.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handler: Arc<H>,
    tasks: Tasks,
) {
    let (stop, connections) = (tasks.shutdown().clone(), Connections::new(&tasks, "connection"));
    let slots = Slots::new(MAX_CONNECTIONS, WhenFull::Wait);
    let serve = |accepted: Accepted<TcpStream>| {
        let (tls, handler, stop) = (tls.clone(), Arc::clone(&handler), stop.clone());
        async move {
            let Accepted { stream, slot, .. } = accepted;
            let result = match tls {
                Some(tls) => serve_tls(stream, &tls, handler, stop).await,
                None => serve_http(stream, handler, stop).await,
            };
            if let Err(error) = result {
                let error: &dyn std::error::Error = &*error;
                tracing::debug!(error, "connection ended early");
            }
            drop(slot);
        }
    };
    stop.run_until_cancelled(connections.accept(&listener, &slots, serve)).await;
    connections.drain(DRAIN_TIMEOUT).await;
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn serve_tls<H: Handler>(
    stream: TcpStream,
    tls: &TlsAcceptor,
    handler: Arc<H>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let stream = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??;
    serve_http(stream, handler, stop).await
}

async fn serve_http<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    handler: Arc<H>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.respond(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return Ok(result?),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// Returns a plain-text response.
pub fn text(status: http::StatusCode, body: impl Into<Bytes>) -> HttpResponse {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}
