//! One accept loop for both of the operator's listeners: the webhook (TLS) and probes (plain).
//!
//! HTTP/1.1 only, which the API server, kubelet and Prometheus all speak. Connections, headers and
//! handshakes are bounded; at shutdown, requests under way are answered.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const MAX_CONNECTIONS: usize = 256;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A response with its whole body.
pub type Answer = Response<Full<Bytes>>;

/// Handles requests.
pub trait Handler: Send + Sync + 'static {
    /// Returns the response to one request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// Serves `listener` until `stop`, then waits for requests under way.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handler: Arc<H>,
    stop: CancellationToken,
) {
    let (tracker, permits) = (TaskTracker::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let (permit, stream) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, handler, stop) = (tls.clone(), Arc::clone(&handler), stop.clone());
        tracker.spawn(async move {
            let result = match tls {
                Some(tls) => secure(stream, &tls, handler, stop).await,
                None => converse(stream, handler, stop).await,
            };
            if let Err(error) = result {
                let error: &dyn std::error::Error = &*error;
                tracing::debug!(error, "connection ended early");
            }
            drop(permit);
        });
    }
    tracker.close();
    if timeout(DRAIN_TIMEOUT, tracker.wait()).await.is_err() {
        tracing::warn!("connections still open at shutdown");
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(tokio::sync::OwnedSemaphorePermit, TcpStream)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((permit, stream))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn secure<H: Handler>(
    stream: TcpStream,
    tls: &TlsAcceptor,
    handler: Arc<H>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let stream = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??;
    converse(stream, handler, stop).await
}

async fn converse<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    handler: Arc<H>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
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
pub fn text(status: http::StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    answer
}
