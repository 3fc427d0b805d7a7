//! How a sidecar starts and ends: readiness, drain, rejection by the servers.

use lictor_sidecar::{Config, probe};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    HOUR, Pair, Server, TEST_TIMEOUT, config, eventually, ready, round_trip, start, unused,
};

#[tokio::test]
async fn a_drain_lets_an_open_transfer_finish_and_accepts_nothing_new() {
    let mut pair = Pair::of("web", "echo").await;
    let mut open = pair.connect().await;
    round_trip(&mut open, b"one").await;

    pair.destination.stop.cancel();
    eventually("the public listener is closed", || async {
        TcpStream::connect(pair.public).await.is_err()
    })
    .await;
    open.write_all(b"two").await.unwrap();
    open.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(TEST_TIMEOUT, open.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"two");
    let ended = timeout(TEST_TIMEOUT, &mut pair.destination.task).await;
    assert!(ended.expect("ends once drained").unwrap().is_ok());
}

#[tokio::test]
async fn the_probe_says_what_is_missing_and_then_that_it_is_ready() {
    let mut server = Server::start(HOUR);
    let address = server.address;
    let (admin, orphan_admin) = (unused(), unused());
    let sidecar = start(Config { admin: Some(admin), ..config(address, "web") });
    ready(&sidecar).await;
    assert_eq!(probe::probe(admin).await, Ok("ready".to_owned()));
    server.kill();
    let _orphan = start(Config { admin: Some(orphan_admin), ..config(address, "web") });
    eventually("the probe answers", || async {
        probe::probe(orphan_admin).await == Err("not ready: waiting for a certificate".to_owned())
    })
    .await;
    assert!(probe::probe(unused()).await.is_err());
}

#[tokio::test]
async fn a_final_refusal_ends_the_sidecar_with_the_servers_message() {
    let server = Server::start(HOUR);
    let mut sidecar = start(config(server.address, "forbidden"));
    let ended = timeout(TEST_TIMEOUT, &mut sidecar.task).await.expect("ends").unwrap();
    assert_eq!(
        lictor_api::error::chain(&ended.unwrap_err()),
        "the server refused a certificate: service \"forbidden\" is not yours"
    );
}
