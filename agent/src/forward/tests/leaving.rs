//! What a server that leaves does with the calls of others.

use tonic::Code;

use super::*;

async fn connect(pair: &Pair) -> ForwardClient<Connection> {
    let (_, connection) = pair.client.agent().forwarder.connect("dc1").await.unwrap();
    ForwardClient::new(connection)
}

fn message(method: &str, uri: &str) -> v1::HttpRequest {
    v1::HttpRequest {
        protocol_version: PROTOCOL_VERSION,
        method: method.to_owned(),
        uri: uri.to_owned(),
        ..v1::HttpRequest::default()
    }
}

#[tokio::test]
async fn a_leaving_server_refuses_new_calls_and_blocked_reads() {
    let pair = Pair::start().await;
    let index = header(&pair.send("GET /v1/kv/a").await, "x-consul-index").unwrap().to_owned();
    let blocked = message("GET", &format!("/v1/kv/a?index={index}&wait=10m"));
    let mut client = connect(&pair).await;
    let call = tokio::spawn({
        let mut client = client.clone();
        async move { client.http(blocked).await }
    });
    let calls = &pair.server.agent().calls;
    pair.until(async || calls.len() == 1).await;
    pair.server.agent().leaving.cancel();
    let refused = call.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    for new in [message("GET", "/v1/kv/a"), message("PUT", "/v1/kv/a")] {
        let refused = client.http(new).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    }
    assert_eq!(calls.len(), 0);
    pair.stop().await;
}

#[tokio::test]
async fn a_leaving_server_waits_for_calls_in_flight_until_leave_drain_time() {
    for (in_flight, drain_time) in [(false, 3600 * 1000), (true, 20)] {
        let config = agent("server-one", |config| {
            config.performance.leave_drain_time = Duration::from_millis(drain_time);
        });
        let server = Running::start(config).await.unwrap();
        let call = in_flight.then(|| server.agent().calls.token());
        timeout(DEADLINE, server.leave(None)).await.expect("it leaves in time");
        drop(call);
    }
}
