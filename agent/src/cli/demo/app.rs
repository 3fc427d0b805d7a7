//! `lictor demo app`: the workshop's application, a tiny HTTP server that responds with its prefix
//! followed by the responses of its upstreams.
//!
//! It opens a new connection for every request to an upstream, so that each is balanced on its own.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header::HOST};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use lictor_runtime::{
    Tasks,
    accept::{Accepted, Connections, Slots, WhenFull},
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use crate::cli::{Verb, output};

/// Time for the response of one upstream.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest response of an upstream that is forwarded.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// More clients than the demo has.
const MAX_CONNECTIONS: usize = 256;

/// Flags of `demo app`.
#[derive(Debug, clap::Args)]
pub struct AppVerb {
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// What the response begins with
    #[arg(long, default_value = "")]
    prefix: String,
    /// URL whose response is appended; may be given several times
    #[arg(long)]
    upstream: Vec<Uri>,
}

impl Verb for AppVerb {
    const PATH: &'static str = "demo app";
    const ABOUT: &'static str = "Run one application of the demo";
    const DETAILS: &'static str = "\
Example:
  lictor demo app -prefix='Corp ' -upstream=http://127.0.0.1:5000";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("listening on {}", self.listen))?;
        output::line(format!("listening on {}", self.listen));
        let tasks = Tasks::new();
        let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for signals")?;
        let app = App { prefix: self.prefix, upstreams: self.upstream };
        tokio::select! {
            () = serve(app, listener, tasks) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One application.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) prefix: String,
    pub(super) upstreams: Vec<Uri>,
}

/// Serves until shutdown of `tasks`, then waits for open connections to end.
pub(super) async fn serve(app: App, listener: TcpListener, tasks: Tasks) {
    let (app, connections) = (Arc::new(app), Connections::new(&tasks, "demo.connection"));
    let (slots, shutdown) = (Slots::new(MAX_CONNECTIONS, WhenFull::Wait), tasks.shutdown().clone());
    let serve = |accepted: Accepted<TcpStream>| {
        let (app, until) = (app.clone(), shutdown.clone());
        async move {
            let Accepted { stream, slot, .. } = accepted;
            let service = service_fn(move |request| {
                let app = app.clone();
                async move { Ok::<_, std::convert::Infallible>(app.answer(request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(60))
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = until.cancelled() => {}
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                },
            }
            drop(slot);
        }
    };
    shutdown.run_until_cancelled(connections.accept(&listener, &slots, serve)).await;
    connections.drain(Duration::from_secs(1)).await;
}

impl App {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, text) = match request.uri().path() {
            "/healthz" => (StatusCode::OK, "ok".to_owned()),
            "/" => match self.collect().await {
                Ok(text) => (StatusCode::OK, text),
                Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}\n")),
            },
            _ => (StatusCode::NOT_FOUND, "not found\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    }

    async fn collect(&self) -> anyhow::Result<String> {
        let mut text = self.prefix.clone();
        for upstream in &self.upstreams {
            let (status, body) = fetch(upstream).await?;
            if !status.is_success() {
                bail!("{upstream} answered {}: {}", status.as_u16(), body.trim_end());
            }
            text.push_str(&body);
        }
        Ok(text)
    }
}

/// Sends a GET over a new connection and returns status and body.
///
/// # Errors
/// No connection, no response within [`UPSTREAM_TIMEOUT`], or more than [`MAX_RESPONSE_BYTES`].
pub(super) async fn fetch(uri: &Uri) -> anyhow::Result<(StatusCode, String)> {
    let fetched = timeout(UPSTREAM_TIMEOUT, fetch_now(uri)).await;
    fetched
        .unwrap_or_else(|_| bail!("no answer within {UPSTREAM_TIMEOUT:?}"))
        .with_context(|| format!("asking {uri}"))
}

async fn fetch_now(uri: &Uri) -> anyhow::Result<(StatusCode, String)> {
    let authority = uri.authority().context("the URL has no host")?.as_str();
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(uri.path()).header(HOST, authority).body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    // The exchange reports a broken connection itself; the connection only has to be driven.
    let driven = async {
        drop(connection.await);
        std::future::pending().await
    };
    tokio::select! {
        result = exchange => result,
        never = driven => never,
    }
}
