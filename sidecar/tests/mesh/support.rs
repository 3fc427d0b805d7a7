//! The setup of the tests: a control plane, sidecars, applications and clients, all in-process.

mod applications;
mod ca;
mod control_plane;
mod metrics;
mod pair;
mod server;
mod sidecar;
mod tls_client;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

pub(crate) use self::{
    applications::{counted, echo, exchange, round_trip},
    ca::Ca,
    metrics::{count, install},
    pair::Pair,
    server::Server,
    sidecar::{config, destination, own_upstream, ready, source, start},
    tls_client::greet,
};

pub(crate) const TRUST_DOMAIN: &str = "11111111-2222-3333-4444-555555555555.consul";
/// Timeout of every step of a test.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Returns an address that no other test uses: the loopback network is large.
pub(crate) fn unused() -> SocketAddr {
    let [a, b, c, ..] = rand::random::<[u8; 16]>();
    let ip = IpAddr::V4(Ipv4Addr::new(127, a.clamp(1, 254), b, c.clamp(1, 254)));
    let listener = std::net::TcpListener::bind((ip, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Polls until `condition` holds; panics with `what` after [`TEST_TIMEOUT`].
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(TEST_TIMEOUT, holds).await.is_ok(), "{what} never came true");
}
