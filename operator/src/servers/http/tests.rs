//! The requests that the servers receive, over TLS and with a token.

use std::collections::VecDeque;

use http_body_util::BodyExt as _;
use hyper::{Request, body::Incoming};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    net::{self, Handler},
    webhook::certs::{Authorities, ServedLeaf},
};

/// Responds to each request with the next of `responses` and records the request.
#[derive(Default)]
struct Script {
    responses: Mutex<VecDeque<(u16, Value)>>,
    requests: Mutex<Vec<(String, Value)>>,
}

impl Handler for Script {
    async fn respond(&self, request: Request<Incoming>) -> net::HttpResponse {
        let token = request.headers()["authorization"].to_str().unwrap().to_owned();
        assert_eq!(token, "Bearer t0ken");
        let line = format!("{} {}", request.method(), request.uri());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        self.requests.lock().unwrap().push((line, body));
        let (status, response) = self.responses.lock().unwrap().pop_front().unwrap();
        net::text(StatusCode::from_u16(status).unwrap(), response.to_string())
    }
}

struct Scene {
    servers: HttpServers,
    script: Arc<Script>,
    _roots: watch::Sender<Option<String>>,
    stop: tokio_util::sync::DropGuard,
    _token: tempfile::TempDir,
}

/// Starts one server with the mesh's certificate, listed after an address without a listener.
async fn scene(responses: &[(u16, Value)]) -> Scene {
    let authorities = Authorities::generate().unwrap();
    let leaf = Arc::new(ServedLeaf::default());
    leaf.set(authorities.leaf(&["server.dc1.consul".to_owned()]).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let script = Arc::new(Script::default());
    script.responses.lock().unwrap().extend(responses.iter().cloned());
    let stop = CancellationToken::new();
    let handler = Arc::clone(&script);
    tokio::spawn(net::serve(
        listener,
        Some(leaf.acceptor()),
        handler,
        lictor_runtime::Tasks::until(stop.clone()),
    ));
    let token = tempfile::tempdir().unwrap();
    std::fs::write(token.path().join("token"), "t0ken\n").unwrap();
    let config = Config {
        servers: vec![unused.to_string(), address],
        token_file: token.path().join("token"),
        ..Config::for_tests()
    };
    let (sender, roots) = watch::channel(Some(authorities.bundle()));
    let servers = HttpServers::new(Arc::new(config), roots);
    Scene { servers, script, _roots: sender, stop: stop.drop_guard(), _token: token }
}

fn web(uid: &str) -> Value {
    json!({"ID": "web-0-web", "Service": "web", "Meta": {
        "pod-uid": uid, "managed-by": "lictor-operator", "k8s-cluster": "east",
    }})
}

fn removal(uid: &str) -> Removal {
    Removal { node: "k0-virtual".into(), service_id: "web-0-web".into(), pod_uid: uid.to_owned() }
}

#[tokio::test]
async fn the_catalog_is_read_by_virtual_node() {
    let node = |name: &str, cluster: &str| {
        json!({"Node": name, "Address": "192.0.2.1", "Meta": {
            "synthetic-node": "true", "k8s-cluster": cluster,
        }})
    };
    let scene = scene(&[
        (200, json!([node("k0-virtual", "east"), node("k1-virtual", "west")])),
        (
            200,
            json!([{"CheckID": "shop/web-0-web", "ServiceID": "web-0-web", "Status": "passing"}]),
        ),
        (200, json!({"Node": {}, "Services": [web("u1"), {"ID": "other", "Service": "other"}]})),
    ])
    .await;
    let actual = scene.servers.actual("east").await.unwrap();
    assert_eq!(actual.instances.len(), 1);
    let instance = actual.instances.values().next().unwrap();
    assert_eq!((instance.pod_uid(), &*instance.check.check_id), ("u1", "shop/web-0-web"));
    assert!(actual.nodes.is_empty(), "another owner has an instance there");
    assert_eq!(actual.foreign_nodes, ["k1-virtual".into()].into());
    drop(scene.stop);
}

#[tokio::test]
async fn a_removal_compares_the_pod_first() {
    let found = json!({"Node": {}, "Services": [web("new")]});
    let scene = scene(&[(200, found.clone()), (200, found), (200, json!(true))]).await;
    let refused = scene.servers.deregister(&removal("old")).await;
    assert!(matches!(refused, Err(ServersError::Changed(_))), "{refused:?}");
    scene.servers.deregister(&removal("new")).await.unwrap();
    let requests = scene.script.requests.lock().unwrap();
    let (last, body) = requests.last().unwrap();
    assert_eq!((requests.len(), last.as_str()), (3, "PUT /v1/catalog/deregister"));
    assert_eq!((&body["Node"], &body["ServiceID"]), (&json!("k0-virtual"), &json!("web-0-web")));
}

#[tokio::test]
async fn refusals_carry_the_servers_words() {
    let scene = scene(&[(403, json!("Permission denied")), (404, json!("none"))]).await;
    let error = scene.servers.all_intentions().await.unwrap_err().to_string();
    assert!(error.contains("403") && error.contains("Permission denied"), "{error}");
    assert_eq!(scene.servers.intentions("web").await.unwrap(), None);
}

#[tokio::test]
async fn nothing_is_sent_before_the_roots_are_known() {
    let (_sender, roots) = watch::channel(None);
    let servers = HttpServers::new(Arc::new(Config::for_tests()), roots);
    let error = servers.intentions("web").await.unwrap_err();
    assert!(matches!(error, ServersError::Unreachable { .. }));
}
