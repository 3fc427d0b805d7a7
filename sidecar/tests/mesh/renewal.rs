//! Certificates and roots change under traffic.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::{Pair, Server, TEST_TIMEOUT, echo, round_trip};

#[tokio::test]
async fn a_renewed_certificate_interrupts_no_connection() {
    let server = Server::start(Duration::from_secs(3));
    let mut signed = server.mesh.signed();
    let pair = Pair::start(server, "web", "echo", echo().await, |_| ()).await;
    let first = pair.source.handle.certificate().unwrap();

    let mut open = pair.connect().await;
    let renewals = signed.wait_for(|count| *count >= 6);
    let traffic = async {
        loop {
            assert!(pair.echoes().await, "a new connection");
            round_trip(&mut open, b"the old connection").await;
        }
    };
    tokio::select! {
        renewed = timeout(TEST_TIMEOUT, renewals) => assert!(renewed.is_ok(), "not renewed in time"),
        () = traffic => {}
    }
    assert_ne!(pair.source.handle.certificate().unwrap(), first);
}

#[tokio::test]
async fn new_roots_are_trusted_at_once_and_certificates_follow() {
    let server = Server::start(Duration::from_secs(10));
    let mut signed = server.mesh.signed();
    let pair = Pair::start(server, "web", "echo", echo().await, |_| ()).await;
    assert_eq!(*signed.borrow_and_update(), 2);
    pair.server.mesh.rotate();
    let renewed = timeout(TEST_TIMEOUT, signed.wait_for(|count| *count == 4));
    let traffic = async {
        loop {
            assert!(pair.echoes().await);
        }
    };
    tokio::select! {
        renewed = renewed => assert!(renewed.is_ok(), "not renewed in time"),
        () = traffic => {}
    }
    assert!(pair.echoes().await);
}
