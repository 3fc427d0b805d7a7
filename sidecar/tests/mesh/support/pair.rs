//! Two services of one mesh, the situation of most tests: a client that reaches a destination.

use std::net::SocketAddr;

use lictor_api::mesh::v1;
use lictor_sidecar::Config;
use tokio::net::TcpStream;

use super::{
    HOUR, count, destination, echo, exchange, install, ready, server::Server, sidecar::Running,
    source, start, unused,
};

/// A control plane, the sidecar of a destination and the sidecar of its client.
pub(crate) struct Pair {
    pub(crate) server: Server,
    pub(crate) source: Running,
    pub(crate) destination: Running,
    /// The destination sidecar's public listener.
    pub(crate) public: SocketAddr,
    /// The client's local port for the destination.
    pub(crate) bind: SocketAddr,
    client: &'static str,
    service: &'static str,
    metrics: SocketAddr,
}

impl Pair {
    /// Starts a pair whose destination is an echo.
    pub(crate) async fn of(client: &'static str, service: &'static str) -> Self {
        Self::serving(client, service, echo().await).await
    }

    /// Starts a pair whose destination is the application at `app`.
    pub(crate) async fn serving(
        client: &'static str,
        service: &'static str,
        app: SocketAddr,
    ) -> Self {
        Self::start(Server::start(HOUR), client, service, app, |_| ()).await
    }

    /// Starts a pair on `server`, with the client's configuration as `adjust` leaves it.
    pub(crate) async fn start(
        server: Server,
        client: &'static str,
        service: &'static str,
        app: SocketAddr,
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let destination = destination(&server, service, app).await;
        let public = destination.handle.public_address().unwrap();
        let (bind, metrics) = (unused(), unused());
        let endpoint = server.mesh.endpoint(service, public);
        server.mesh.upstream(client, service, bind, &[endpoint]);
        let mut config = source(&server, client, service, bind);
        config.metrics = Some((metrics, install()));
        adjust(&mut config);
        let source = start(config);
        ready(&source).await;
        Self { server, source, destination, public, bind, client, service, metrics }
    }

    /// Returns the destination's endpoint.
    pub(crate) fn endpoint(&self) -> v1::Endpoint {
        self.server.mesh.endpoint(self.service, self.public)
    }

    /// Publishes exactly these endpoints of the destination.
    pub(crate) fn list(&self, endpoints: &[v1::Endpoint]) {
        self.server.mesh.upstream(self.client, self.service, self.bind, endpoints);
    }

    /// Opens a connection to the client's local port.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.bind).await.unwrap()
    }

    /// Sends `request` on a new connection and returns the response.
    pub(crate) async fn exchange(&self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        exchange(self.bind, request).await
    }

    /// Returns whether the destination echoes a request.
    pub(crate) async fn echoes(&self) -> bool {
        self.exchange(b"hello!").await.is_ok_and(|response| response == b"hello!")
    }

    /// Returns the value of the metrics that begin with `prefix`, 0 if none is there yet.
    pub(crate) async fn count(&self, prefix: &str) -> f64 {
        count(self.metrics, prefix).await.unwrap_or_default()
    }

    /// Returns how many connections ended with `result` on `side`, over all pairs with this
    /// destination in the process.
    pub(crate) async fn closed(&self, side: &str, result: &str) -> f64 {
        let service = self.service;
        self.count(&format!(
            "lictor_sidecar_connections_closed_total{{side=\"{side}\",service=\"{service}\",result=\"{result}\"}}"
        ))
        .await
    }
}
