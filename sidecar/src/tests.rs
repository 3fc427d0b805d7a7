//! Bounds the memory of one proxied connection: the size of the future that lives as long.
//!
//! Ten thousand connections per listener are allowed, so each kilobyte here is ten megabytes of a
//! busy sidecar. Work that ends before bytes are copied (handshakes, lookups) is boxed and freed.

use std::{mem::size_of_val, net::Ipv4Addr, sync::Arc};

use tokio::net::{TcpListener, TcpStream};

use crate::{
    config::Limits, drain::Drain, inbound::Inbound, listener::Accepted, outbound::Outbound,
    state::State,
};

// Measured 2,336 and 1,808, most of it the TLS session's own state; 4,240 inbound while the lookup
// of the application's name was awaited in place.
const MAX_INBOUND_BYTES: usize = 2_560;
const MAX_OUTBOUND_BYTES: usize = 2_048;

async fn accepted() -> Accepted {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    client.unwrap();
    let (stream, peer) = accepted.unwrap();
    Accepted { stream, peer, slot: None }
}

#[tokio::test]
async fn the_future_of_an_inbound_connection_stays_small() {
    let inbound = Arc::new(Inbound {
        state: Arc::new(State::new(Vec::new())),
        limits: Limits::default(),
        drain: Drain::default(),
        local_app: None,
    });
    let bytes = size_of_val(&inbound.serve(accepted().await));
    assert!(bytes <= MAX_INBOUND_BYTES, "{bytes} bytes");
}

#[tokio::test]
async fn the_future_of_an_outbound_connection_stays_small() {
    let state = Arc::new(State::new(Vec::new()));
    let outbound = Arc::new(Outbound::new("web", state, Limits::default(), Drain::default()));
    let bytes = size_of_val(&outbound.serve(accepted().await));
    assert!(bytes <= MAX_OUTBOUND_BYTES, "{bytes} bytes");
}
