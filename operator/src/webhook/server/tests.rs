//! Reviews as the API server sends them, the last one over TLS.

use json_patch::Patch;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{net, webhook::certs};

fn request(annotations: Value) -> Value {
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "u-1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop", "operation": "CREATE", "userInfo": {},
            "object": {
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"generateName": "web-", "annotations": annotations},
                "spec": {"containers": [{"name": "app", "image": "x"}]},
            },
            "oldObject": null,
        },
    })
}

fn respond(request: &Value) -> AdmissionResponse {
    let body = serde_json::to_vec(request).unwrap();
    review(&body, &Config::for_tests()).response.unwrap()
}

#[test]
fn an_opted_in_pod_is_patched() {
    let request = request(json!({"lictor.dev/connect-inject": "true"}));
    let response = respond(&request);
    assert!(response.allowed);
    assert_eq!(response.uid, "u-1");
    let patch: Patch = serde_json::from_slice(&response.patch.unwrap()).unwrap();
    let mut pod = request["request"]["object"].clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "lictor-sidecar");
}

#[test]
fn a_bad_annotation_is_a_400_that_names_it() {
    let response = respond(&request(json!({"lictor.dev/connect-inject": "yes"})));
    assert!(!response.allowed);
    assert_eq!(response.result.code, 400);
    assert_eq!(response.result.message, "lictor: connect-inject: \"yes\" is not a boolean");
}

#[test]
fn pods_that_did_not_ask_or_may_not_are_left_alone() {
    assert_eq!(respond(&request(json!({}))).patch, None);
    let mut excluded = request(json!({"lictor.dev/connect-inject": "true"}));
    excluded["request"]["namespace"] = "kube-system".into();
    let response = respond(&excluded);
    assert!(response.allowed && response.patch.is_none());
}

#[test]
fn both_prefixes_are_a_warning() {
    let response = respond(&request(json!({
        "lictor.dev/connect-inject": "true", "consul.hashicorp.com/connect-inject": "false",
    })));
    assert_eq!(response.warnings.unwrap().len(), 1);
}

#[test]
fn what_is_no_review_is_not_allowed() {
    assert!(!review(b"{}", &Config::for_tests()).response.unwrap().allowed);
    assert!(!review(b"not json", &Config::for_tests()).response.unwrap().allowed);
}

#[tokio::test]
async fn reviews_are_answered_over_tls_with_the_own_authority() {
    let authorities = certs::Authorities::generate().unwrap();
    let names = ["lictor-webhook.lictor.svc".to_owned()];
    let leaf = Arc::new(certs::ServedLeaf::default());
    leaf.set(authorities.leaf(&names).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let webhook = Arc::new(Webhook { config: Arc::new(Config::for_tests()) });
    let server = tokio::spawn(net::serve(
        listener,
        Some(leaf.acceptor()),
        webhook,
        lictor_runtime::Tasks::until(stop.clone()),
    ));

    let connector = certs::tests::connector(&authorities.bundle());
    let name = "lictor-webhook.lictor.svc".try_into().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let body = request(json!({"lictor.dev/connect-inject": "true"})).to_string();
    let head = format!(
        "POST /mutate?timeout=5s HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("\"patchType\":\"JSONPatch\""), "{response}");
    stop.cancel();
    server.await.unwrap();
}
