//! The local ports: in use, capped, and open before the application behind them.

use lictor_sidecar::{Config, config::Upstreams};
use tokio::net::TcpListener;

use crate::support::{
    HOUR, Pair, Server, config, destination, echo, eventually, exchange, own_upstream, ready,
    round_trip, start, unused,
};

#[tokio::test]
async fn a_port_in_use_is_named_while_the_other_upstream_serves() {
    let server = Server::start(HOUR);
    let sidecar = destination(&server, "echo", echo().await).await;
    let public = sidecar.handle.public_address().unwrap();
    let (taken, free) = (unused(), unused());
    let owner = TcpListener::bind(taken).await.unwrap();
    server.mesh.upstream("web", "echo", free, &[server.mesh.endpoint("echo", public)]);
    let web = start(Config {
        upstreams: Upstreams::Fixed(vec![own_upstream("late", taken), own_upstream("echo", free)]),
        ..config(server.address, "web")
    });
    eventually("the other upstream serves", || async {
        exchange(free, b"x").await.is_ok_and(|response| response == b"x")
    })
    .await;
    assert_eq!(web.handle.check(), Err(format!("{taken} is already in use")));

    drop(owner);
    ready(&web).await;
    assert_eq!(web.handle.upstream_address("late"), Some(taken));
}

#[tokio::test]
async fn an_application_that_starts_late_is_found_without_a_restart() {
    let app = unused();
    let pair = Pair::serving("web", "late", app).await;
    assert!(!pair.echoes().await);

    let listener = TcpListener::bind(app).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    assert!(pair.echoes().await);
}

#[tokio::test]
async fn connections_beyond_the_cap_are_refused_and_the_others_stay() {
    let server = Server::start(HOUR);
    let pair = Pair::start(server, "web", "capped", echo().await, |config| {
        config.limits.max_connections = 1;
    })
    .await;
    let mut open = pair.connect().await;
    round_trip(&mut open, b"one").await;
    assert!(!pair.echoes().await);
    eventually("the refusal is counted", || async {
        pair.closed("outbound", "too_many_connections").await == 1.0
    })
    .await;
    round_trip(&mut open, b"two").await;
}
