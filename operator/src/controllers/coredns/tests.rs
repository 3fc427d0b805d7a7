//! The managed block against an API server that fails.

use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::{controllers::api_server, metrics};

fn corefile() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {KEY: ".:53 {\n}\n"},
    })
}

async fn pass_where_fails(method: Method) -> CorednsError {
    let (context, _stop) = api_server::context(move |request| {
        if request.method() == method { (500, json!({})) } else { (200, corefile()) }
    })
    .await;
    pass(&context, Some("10.96.0.53".to_owned())).await.unwrap_err()
}

#[tokio::test]
async fn a_failure_says_whether_reading_or_replacing_failed() {
    let text = pass_where_fails(Method::GET).await.to_string();
    assert_eq!(text, "configmap kube-system/coredns not read");
    let text = pass_where_fails(Method::PUT).await.to_string();
    assert_eq!(text, "configmap kube-system/coredns not replaced");
}

#[test]
fn a_failed_pass_is_counted() {
    let moved = metrics::moved_by(async {
        pass_where_fails(Method::GET).await;
        pass_where_fails(Method::PUT).await;
    });
    let expect = "lictor_operator_controller_failures_total{controller=\"coredns\"} 2";
    assert!(moved.contains(expect), "{moved}");
}

#[test]
fn without_an_address_nothing_is_requested_and_nothing_fails() {
    let moved = metrics::moved_by(async {
        let (context, _stop) = api_server::context(|request| panic!("{}", request.uri())).await;
        pass(&context, None).await.unwrap();
    });
    assert!(!moved.contains("failures_total"), "{moved}");
}
