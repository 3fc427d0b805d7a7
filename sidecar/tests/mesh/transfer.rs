//! Bytes arrive complete and in order, and each direction ends by itself.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use crate::support::{HOUR, Pair, TEST_TIMEOUT};

#[tokio::test]
async fn an_echo_passes_through_two_sidecars() {
    let pair = Pair::of("web", "echo").await;
    assert_eq!(pair.exchange(b"hello!").await.unwrap(), b"hello!");
    assert_eq!(pair.source.handle.upstream_address("echo"), Some(pair.bind));
    let leaf = pair.source.handle.certificate().unwrap();
    assert_eq!(leaf.spiffe_id, pair.server.mesh.ca.id("web"));
    let lifetime = leaf.not_after.duration_since(leaf.not_before).unwrap();
    assert!(lifetime.as_secs() + 2 >= HOUR.as_secs(), "{lifetime:?}");
}

/// Returns bytes in which any reordering or loss shows.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    let byte = |i: usize| (i.wrapping_mul(31) ^ (i >> 8) ^ (i >> 16)) as u8 ^ seed;
    (0..length).map(byte).collect()
}

#[tokio::test]
async fn half_closed_transfers_are_exact_in_both_directions() {
    const BODY_BYTES: usize = 8 * 1024 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    // Reads the request to its end of stream, then sends a long response, then closes.
    let application = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        stream.read_to_end(&mut request).await.unwrap();
        stream.write_all(&pattern(BODY_BYTES, 7)).await.unwrap();
        stream.shutdown().await.unwrap();
        request
    });
    let pair = Pair::serving("web", "bulk", app).await;

    let response = pair.exchange(&pattern(BODY_BYTES, 3)).await.unwrap();
    assert!(response == pattern(BODY_BYTES, 7), "{} bytes came back", response.len());
    let request = timeout(TEST_TIMEOUT, application).await.unwrap().unwrap();
    assert!(request == pattern(BODY_BYTES, 3), "{} bytes arrived", request.len());
}

#[tokio::test]
async fn a_client_may_send_after_the_application_has_closed_its_side() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    let application = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"greeting").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        rest
    });
    let pair = Pair::serving("web", "greeter", app).await;

    let mut stream = pair.connect().await;
    let mut greeting = Vec::new();
    timeout(TEST_TIMEOUT, stream.read_to_end(&mut greeting)).await.unwrap().unwrap();
    assert_eq!(greeting, b"greeting");
    stream.write_all(b"thank you").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(TEST_TIMEOUT, application).await.unwrap().unwrap(), b"thank you");
}

#[tokio::test]
async fn an_abort_never_looks_like_the_end_of_the_data() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"half of the ans").await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        stream.set_zero_linger().unwrap();
    });
    let pair = Pair::serving("web", "breaker", app).await;

    let mut stream = pair.connect().await;
    stream.read_exact(&mut [0; 15]).await.unwrap();
    stream.write_all(b"more").await.unwrap();
    let end = timeout(TEST_TIMEOUT, stream.read(&mut [0; 1])).await.unwrap();
    assert!(end.is_err(), "read {end:?}");
}
