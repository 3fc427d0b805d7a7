//! Sidecars under test, each a task of the test's runtime.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use lictor_api::upstream::Upstream;
use lictor_sidecar::{
    Config, Handle, Sidecar,
    config::{Credential, Limits, Servers, Source, Subject, Upstreams},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{TEST_TIMEOUT, server::Server};

/// A running sidecar; dropping it begins its drain.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), lictor_sidecar::Error>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Returns the configuration that most tests begin with: `service` and nothing else.
pub(crate) fn config(server: SocketAddr, service: &str) -> Config {
    Config {
        source: Source::Servers(Servers {
            uris: vec![format!("http://{server}").parse().unwrap()],
            tls: None,
            credential: Credential::Anonymous,
            subject: Subject::Service(service.to_owned()),
        }),
        upstreams: Upstreams::Fixed(vec![]),
        public_listener: None,
        local_app: None,
        admin: None,
        metrics: None,
        limits: Limits { drain: Duration::from_secs(10), ..Limits::default() },
    }
}

/// Starts a sidecar; it need not be ready yet.
pub(crate) fn start(config: Config) -> Running {
    let (sidecar, handle) = Sidecar::new(config);
    let stop = CancellationToken::new();
    let task = tokio::spawn(sidecar.run(stop.clone()));
    Running { handle, stop, task }
}

/// Waits until a sidecar is ready.
pub(crate) async fn ready(running: &Running) {
    let ready = tokio::time::timeout(TEST_TIMEOUT, running.handle.ready()).await;
    assert!(ready.is_ok(), "not ready: {:?}", running.handle.check());
}

/// Starts the sidecar of `service` in front of the application at `app`.
pub(crate) async fn destination(server: &Server, service: &str, app: SocketAddr) -> Running {
    let running = start(Config {
        public_listener: Some((Ipv4Addr::LOCALHOST, 0).into()),
        local_app: Some(app),
        ..config(server.address, service)
    });
    ready(&running).await;
    running
}

/// Returns the configuration of client `name`, which reaches `service` at `bind`.
pub(crate) fn source(server: &Server, name: &str, service: &str, bind: SocketAddr) -> Config {
    Config {
        upstreams: Upstreams::Fixed(vec![own_upstream(service, bind)]),
        ..config(server.address, name)
    }
}

/// Returns an upstream as flags would give it.
pub(crate) fn own_upstream(service: &str, bind: SocketAddr) -> Upstream {
    format!("{service}:{}:local_bind_address={}", bind.port(), bind.ip()).parse().unwrap()
}
