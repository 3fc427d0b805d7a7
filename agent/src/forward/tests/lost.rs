//! Calls whose connection breaks, and connections that fail.

use tokio::{io::copy_bidirectional, net::TcpStream, sync::Notify};

use super::*;

/// Returns an address whose connections lead to `server` and can be cut.
async fn wire(server: SocketAddr) -> (SocketAddr, Arc<Notify>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (address, cut) = (listener.local_addr().unwrap(), Arc::new(Notify::new()));
    let cuts = cut.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let cut = cuts.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(server).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    () = cut.notified() => {}
                }
            });
        }
    });
    (address, cut)
}

#[tokio::test]
async fn a_blocking_query_is_retried_when_its_connection_breaks() {
    let mut pair = Pair::start().await;
    let (address, cut) = wire(pair.known.address).await;
    pair.known.address = address;
    let index = header(&pair.send("GET /v1/kv/a").await, "x-consul-index").unwrap().to_owned();
    let head = ::http::Request::get(format!("/v1/kv/a?raw&index={index}&wait=10m"));
    let (head, ()) = head.body(()).unwrap().into_parts();
    let blocked = Request::new(head, Bytes::new(), Peer::Unix).unwrap();
    let client = pair.client.agent().clone();
    let call = tokio::spawn(async move { api::answer(&client, blocked).await });
    let calls = &pair.server.agent().calls;
    pair.until(async || calls.len() == 1).await;
    cut.notify_waiters();
    pair.until(async || calls.is_empty()).await;
    pair.until(async || calls.len() == 1).await;
    assert_eq!(send(&pair.server, "PUT /v1/kv/a", &[], "new").await.status, 200);
    let answer = call.await.unwrap();
    assert_eq!((answer.status.as_u16(), text(&answer)), (200, "new"));
    pair.stop().await;
}

#[tokio::test]
async fn callers_that_wait_for_a_connection_share_a_failed_attempt() {
    // Nobody accepts, so the third connection gets no answer to its SYN.
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let address = silent.local_addr().unwrap().as_socket().unwrap();
    let _full = TcpStream::connect(address).await.unwrap();
    let connections = Connections::new(Arc::default());
    let attempts = (0..20).map(|_| connections.connect(address, "dc1"));
    // One attempt after the other would take a second each.
    let all = timeout(Duration::from_secs(10), futures_util::future::join_all(attempts)).await;
    assert!(all.unwrap().iter().all(Result::is_err));
}
