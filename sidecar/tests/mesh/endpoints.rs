//! The choice of an instance as instances are added, are removed and fail.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::support::{Pair, TEST_TIMEOUT, eventually, unused};

/// How long an endpoint is set aside after its first failure.
const MIN_PAUSE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_dead_endpoint_is_tried_once_and_no_connection_is_lost() {
    let pair = Pair::of("web", "half-dead").await;
    let dead = pair.server.mesh.endpoint("half-dead", unused());
    pair.list(&[dead, pair.endpoint()]);
    let failures = || pair.count("lictor_sidecar_endpoint_failures_total{service=\"half-dead\"}");

    // Half the connections try the dead endpoint first, once the list has arrived.
    let tried = async {
        loop {
            let before = Instant::now();
            assert!(pair.echoes().await);
            if failures().await > 0.0 {
                return before;
            }
        }
    };
    let before = timeout(TEST_TIMEOUT, tried).await.expect("the dead endpoint is tried");
    for _ in 0..20 {
        assert!(pair.echoes().await);
        let failures = failures().await;
        assert!(failures == 1.0 || before.elapsed() >= MIN_PAUSE, "{failures} within the pause");
    }
}

#[tokio::test]
async fn an_upstream_without_instances_is_refused_until_one_appears() {
    let pair = Pair::of("web", "absent").await;
    pair.list(&[]);
    eventually("connections are refused for want of instances", || async {
        !pair.echoes().await && pair.closed("outbound", "no_endpoints").await > 0.0
    })
    .await;
    pair.list(&[pair.endpoint()]);
    eventually("the new instance is used", || pair.echoes()).await;
}
