//! What a client can make the server hold, at the bound and one beyond; and the way it ends.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const MAX: usize = lictor_api::types::kv::MAX_VALUE_BYTES;

#[tokio::test]
async fn a_value_may_be_as_long_as_the_limit() {
    let agent = TestAgent::start().await;
    let put = |length: usize| agent.send("PUT /v1/kv/big", vec![b'x'; length]);
    assert_eq!(put(MAX).await.text(), "true");
    let text = |length: usize| {
        format!(
            "Request body({length} bytes) too large, max size: 524288 bytes. See https://developer.hashicorp.com/docs/agent/config/config-files#kv_max_value_size."
        )
    };
    for length in [MAX + 1, MAX * 4] {
        let refused = put(length).await;
        assert_eq!((refused.status, refused.text()), (413, &*text(length)));
    }
    assert_eq!(agent.get("/v1/kv/big?raw").await.body.len(), MAX);
    let mut stream = TcpStream::connect(agent.address).await.unwrap();
    let head = "PUT /v1/kv/big HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with(&text(1_000_000_000)), "{answer}");
    agent.stop().await;
    let agent = TestAgent::start_with(|config| config.limits.kv_max_value_bytes = 3).await;
    assert_eq!(agent.send("PUT /v1/kv/a", "abc").await.text(), "true");
    assert_eq!(agent.send("PUT /v1/kv/a", "abcd").await.status, 413);
    agent.stop().await;
}

#[tokio::test]
async fn an_address_may_have_as_many_connections_as_the_limit() {
    let agent = TestAgent::start_with(|config| config.limits.http_max_conns_per_client = 2).await;
    let mut first = TcpStream::connect(agent.address).await.unwrap();
    first.write_all(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answered = [0; 12];
    first.read_exact(&mut answered).await.unwrap();
    assert_eq!(&answered, b"HTTP/1.1 200");
    assert_eq!(agent.get("/v1/status/leader").await.status, 200);
    let second = TcpStream::connect(agent.address).await.unwrap();
    let mut third = TcpStream::connect(agent.address).await.unwrap();
    let mut refusal = String::new();
    third.read_to_string(&mut refusal).await.unwrap();
    assert!(refusal.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{refusal}");
    assert!(refusal.ends_with(
        "\r\n\r\nYour IP is issuing too many concurrent connections, please rate limit your calls\n"
    ));
    drop((first, second));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let mut again = TcpStream::connect(agent.address).await.unwrap();
        let request = b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        again.write_all(request).await.unwrap();
        let mut answer = String::new();
        again.read_to_string(&mut answer).await.unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "slots are not given back");
    }
    agent.stop().await;
}

#[tokio::test]
async fn zero_is_no_limit_of_connections() {
    let agent = TestAgent::start_with(|config| config.limits.http_max_conns_per_client = 0).await;
    assert_eq!(agent.get("/v1/status/leader").await.status, 200);
    agent.stop().await;
}

#[tokio::test]
async fn a_stop_ends_blocking_queries_at_once() {
    let agent = TestAgent::start().await;
    let index = agent.get("/v1/kv/a").await.index();
    let path = format!("/v1/kv/a?index={index}&wait=10m");
    let blocked = agent.get(&path);
    let stop = async {
        agent.until_someone_blocks().await;
        agent.shutdown.cancel();
    };
    let (answer, ()) =
        tokio::time::timeout(Duration::from_secs(4), async { tokio::join!(blocked, stop) })
            .await
            .expect("the query ends before the grace period does");
    assert_eq!((answer.status, answer.text()), (500, "shutting down"));
    agent.stop().await;
}

#[tokio::test]
async fn http2_needs_no_upgrade() {
    let agent = TestAgent::start().await;
    let stream = TcpStream::connect(agent.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://lictor/v1/status/leader");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    drop((client, answer));
    connection.await.unwrap().unwrap();
    agent.stop().await;
}

#[tokio::test]
async fn the_configured_times_bound_every_blocking_read() {
    let agent = TestAgent::start_with(|config| {
        let wait = Duration::from_millis(10);
        config.queries = lictor_config::runtime::Queries { default_wait: wait, max_wait: wait };
    })
    .await;
    assert_eq!(agent.send("PUT /v1/agent/service/register", r#"{"Name":"web"}"#).await.status, 200);
    let service = agent.get("/v1/agent/service/web").await;
    let hash = service.header("x-consul-contenthash").unwrap();
    let leaf = agent.get("/v1/agent/connect/ca/leaf/web").await.index();
    let events = agent.get("/v1/event/list").await.index();
    let kv = agent.get("/v1/kv/a").await.index();
    for blocking in [
        format!("/v1/agent/service/web?hash={hash}"),
        format!("/v1/agent/service/web?hash={hash}&wait=10m"),
        format!("/v1/agent/connect/ca/leaf/web?index={leaf}"),
        format!("/v1/agent/connect/ca/leaf/web?index={leaf}&wait=10m"),
        format!("/v1/event/list?index={events}"),
        format!("/v1/event/list?index={events}&wait=10m"),
        format!("/v1/kv/a?index={kv}&wait=10m"),
    ] {
        let answer = tokio::time::timeout(Duration::from_secs(20), agent.get(&blocking)).await;
        assert!(answer.is_ok(), "{blocking}");
    }
    agent.stop().await;
}
