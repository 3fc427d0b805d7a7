//! Metrics count every connection by how it ended.

use crate::support::{Pair, eventually, unused};

#[tokio::test]
async fn every_end_of_a_connection_is_counted_by_its_result() {
    let pair = Pair::of("web", "counted").await;
    pair.exchange(b"hello!").await.unwrap();
    for (metric, value) in [
        (r#"connections_closed_total{side="outbound",service="counted",result="ok"}"#, 1.0),
        (r#"connections_closed_total{side="inbound",service="counted",result="ok"}"#, 1.0),
        (r#"sent_bytes_total{side="outbound",service="counted"}"#, 6.0),
        (r#"received_bytes_total{side="outbound",service="counted"}"#, 6.0),
    ] {
        let metric = format!("lictor_sidecar_{metric}");
        eventually(&metric, || async { pair.count(&metric).await == value }).await;
    }
    assert!(pair.count("lictor_sidecar_certificate_expiry_timestamp_seconds ").await > 0.0);

    // A change takes a moment to be received, so connections are made until one ends that way.
    let ends = |side: &'static str, result: &'static str| {
        let pair = &pair;
        async move {
            eventually(result, || async {
                drop(pair.exchange(b"x").await);
                pair.closed(side, result).await > 0.0
            })
            .await;
        }
    };
    pair.list(&[pair.server.mesh.endpoint("counted", unused())]);
    ends("outbound", "connect_failed").await;
    let failures = "lictor_sidecar_endpoint_failures_total{service=\"counted\"}";
    assert!(pair.count(failures).await > 0.0);
    pair.list(&[]);
    ends("outbound", "no_endpoints").await;
    pair.list(&[pair.endpoint()]);
    pair.server.mesh.set_intentions("counted", false, &[]);
    ends("inbound", "denied").await;
}
