//! A leader whose task panics releases the lease and ends.

use std::sync::Mutex;

use http::Method;
use lictor_runtime::Tasks;
use serde_json::json;

use super::*;
use crate::controllers::api_server;

#[tokio::test]
async fn a_pod_controller_that_panics_gives_up_the_lease_and_ends_the_operator() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (leases, config) = (Arc::clone(&requests), Config::for_tests());
    let identity = config.pod_name.clone();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": config.lease_name(), "resourceVersion": "1" },
        "spec": { "holderIdentity": identity, "leaseDurationSeconds": 15 },
    });
    let none = json!({ "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404 });
    let (context, _stop) = api_server::context(move |request| {
        if !request.uri().path().contains("/leases") {
            let list = json!({ "metadata": { "resourceVersion": "1" }, "items": [] });
            return (200, list);
        }
        let mut leases = leases.lock().unwrap();
        leases.push(request.method().clone());
        if leases.len() == 1 { (404, none.clone()) } else { (200, lease.clone()) }
    })
    .await;
    context.servers.state().broken.insert("panic".to_owned());
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let begin = |term: &Tasks| pods::start(term, &context);
    let led = lead(&context.client, &context.config, &tasks, &stop, begin).await;
    let failed = led.unwrap_err();
    assert_eq!(failed.to_string(), "task \"controllers.pods\" panicked: planted");
    let requests = requests.lock().unwrap().clone();
    assert_eq!(requests[..2], [Method::GET, Method::POST], "the lease is acquired");
    assert_eq!(requests[requests.len() - 1], Method::PUT, "and released");
    assert!(!stop.is_cancelled(), "no signal requested the end");
    assert!(tasks.stop(Duration::from_secs(5)).await.is_empty());
}
