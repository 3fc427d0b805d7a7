//! The two HTTP listeners for operators: readiness on loopback, metrics where Prometheus scrapes.
//!
//! `GET /ready` on the admin listener, `GET /metrics` on the metrics listener, nothing else on
//! either. At most [`MAX_CONNECTIONS`] are open on each, none longer than [`CONNECTION_TIMEOUT`],
//! which bounds what an unauthenticated client can make this process hold.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use lictor_runtime::{
    Tasks,
    accept::{Accepted, Connections, Slots, WhenFull},
};
use tokio::net::{TcpListener, TcpStream};

use crate::{error::Error, listener, metrics::Metrics, readiness::Handle};

const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_CONNECTIONS: usize = 8;

/// The configured listeners.
#[derive(Debug)]
pub(crate) struct Listeners {
    admin: Option<TcpListener>,
    metrics: Option<(TcpListener, Metrics)>,
}

impl Listeners {
    /// Opens the configured listeners.
    ///
    /// # Errors
    /// A port is in use.
    pub(crate) fn open(
        admin: Option<SocketAddr>,
        metrics: Option<(SocketAddr, Metrics)>,
    ) -> Result<Self, Error> {
        let open = |what, address| {
            listener::bind(address).map_err(|source| Error::Listener { what, source })
        };
        let admin = admin.map(|address| open("admin", address)).transpose()?;
        let metrics = metrics
            .map(|(address, metrics)| open("metrics", address).map(|listener| (listener, metrics)))
            .transpose()?;
        Ok(Self { admin, metrics })
    }

    /// Serves both listeners; never returns.
    pub(crate) async fn run(self, handle: Handle) -> Infallible {
        let admin = async {
            match &self.admin {
                Some(listener) => {
                    serve(listener, Arc::new(move |path| readiness(path, &handle))).await
                }
                None => std::future::pending().await,
            }
        };
        let metrics = async {
            match self.metrics {
                Some((listener, metrics)) => {
                    let render =
                        move |path: &str| (path == "/metrics").then(|| ok(metrics.render()));
                    serve(&listener, Arc::new(render)).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            never = admin => never,
            never = metrics => never,
        }
    }
}

/// Maps a path to its page, status and body; `None` if there is none.
type Pages = dyn Fn(&str) -> Option<Page> + Send + Sync;
type Page = (StatusCode, String);

fn ok(body: String) -> Page {
    (StatusCode::OK, body)
}

fn readiness(path: &str, handle: &Handle) -> Option<Page> {
    (path == "/ready").then(|| match handle.check() {
        Ok(()) => ok("ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    })
}

async fn serve(listener: &TcpListener, pages: Arc<Pages>) -> Infallible {
    // Separate from the proxied connections: the drain does not wait for a probe.
    let connections = Connections::new(&Tasks::new(), "admin.connection");
    let slots = Slots::new(MAX_CONNECTIONS, WhenFull::Wait);
    let serve = |accepted| serve_one(accepted, Arc::clone(&pages));
    connections.accept(listener, &slots, serve).await
}

async fn serve_one(accepted: Accepted<TcpStream>, pages: Arc<Pages>) {
    let Accepted { stream, slot: _slot, .. } = accepted;
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(&request, &*pages);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection =
        http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        tracing::debug!(%error, "an admin connection failed");
    }
}

fn respond(request: &Request<Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    let (status, body) = match pages(request.uri().path()) {
        None => (StatusCode::NOT_FOUND, "not found\n".to_owned()),
        Some(_) if request.method() != Method::GET => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned())
        }
        Some(page) => page,
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let text = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
