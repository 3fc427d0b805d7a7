//! What other agents can make this one hold, over real sockets.

use std::time::SystemTime;

use tokio::{io::AsyncReadExt, net::TcpListener};

use super::*;
use crate::tls::testing::{Ca, DAY};

const DEADLINE: Duration = Duration::from_secs(20);

async fn listen(tls: InternalRpc, bounds: Bounds) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving =
        serve(listener, Arc::new(tls), Routes::default(), bounds, Tasks::until(shutdown.clone()));
    tokio::spawn(serving);
    (address, shutdown)
}

/// Whether the other side says something, and does not close.
async fn is_heard(stream: &mut TcpStream) -> bool {
    let read = timeout(DEADLINE, stream.read(&mut [0; 1])).await.expect("an answer or an end");
    read.is_ok_and(|bytes| bytes > 0)
}

#[tokio::test]
async fn an_address_has_as_many_connections_as_configured() {
    for limit in [2, 0] {
        let bounds = Bounds { connections: limit, handshake: DEADLINE, open_path: "" };
        let (address, shutdown) = listen(InternalRpc::default(), bounds).await;
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert!(is_heard(&mut stream).await, "HTTP/2 begins with the server's settings");
            open.push(stream);
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        assert_eq!(is_heard(&mut third).await, limit == 0);
        shutdown.cancel();
    }
}

#[tokio::test]
async fn who_does_not_shake_hands_in_time_is_dropped() {
    let ca = Ca::new();
    ca.issue("server", &["server.dc1.consul"], SystemTime::now() + DAY);
    let tls = InternalRpc::load(&ca.config("server", true, |_| {})).unwrap();
    let handshake = Duration::from_millis(20);
    let bounds = Bounds { connections: 0, handshake, open_path: "" };
    let (address, shutdown) = listen(tls, bounds).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert!(!is_heard(&mut silent).await);
    shutdown.cancel();
}
