//! The step that each namespace needs, and steps that fail.

use std::sync::Mutex;

use serde_json::json;

use super::*;
use crate::{controllers::api_server, metrics};

fn namespace(name: &str) -> Arc<Namespace> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name}})).unwrap())
}

fn copy(namespace: &str, roots: &str, manager: &str) -> Arc<ConfigMap> {
    let copy = json!({
        "metadata": {
            "name": ROOTS_CONFIG_MAP, "namespace": namespace,
            "labels": {MANAGED_BY_LABEL: manager},
        },
        "data": {ROOTS_KEY: roots},
    });
    Arc::new(serde_json::from_value(copy).unwrap())
}

#[test]
fn every_namespace_gets_the_current_roots_and_excluded_ones_lose_them() {
    let config = Config { excluded_namespaces: vec!["ci".into()], ..Config::for_tests() };
    let namespaces =
        ["lictor", "kube-system", "new", "stale", "fresh", "ci"].map(namespace).to_vec();
    let copies = [
        copy("lictor", "R2", "lictor"),
        copy("stale", "R1", OPERATOR),
        copy("fresh", "R2", OPERATOR),
        copy("ci", "R2", OPERATOR),
        copy("kube-system", "x", "another"),
    ];
    let write = || Step::Write("R2".to_owned());
    let expect = [
        ("ci".to_owned(), Step::Remove),
        ("new".to_owned(), write()),
        ("stale".to_owned(), write()),
    ];
    assert_eq!(plan(&config, &namespaces, &copies), expect.into());
}

#[test]
fn nothing_happens_before_the_servers_wrote_roots() {
    let namespaces = [namespace("lictor"), namespace("shop")];
    let empty = [copy("lictor", "", "lictor"), copy("shop", "R1", OPERATOR)];
    assert_eq!(plan(&Config::for_tests(), &namespaces, &empty), BTreeMap::new());
}

#[test]
fn a_namespace_that_is_going_away_is_left_alone() {
    let mut going = Namespace::clone(&namespace("shop"));
    going.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let copies = [copy("lictor", "R1", "lictor")];
    assert_eq!(plan(&Config::for_tests(), &[Arc::new(going)], &copies), BTreeMap::new());
}

#[test]
fn a_pass_that_fails_for_a_namespace_tries_the_others_and_is_counted_once() {
    let moved = metrics::moved_by(async {
        let paths = Arc::new(Mutex::new(Vec::new()));
        let requested = Arc::clone(&paths);
        let (context, _stop) = api_server::context(move |request| {
            requested.lock().unwrap().push(request.uri().path().to_owned());
            (500, json!({}))
        })
        .await;
        let namespaces = ["lictor", "bank", "shop"].map(namespace);
        assert!(!pass(&context, &namespaces, &[copy("lictor", "R1", "lictor")]).await);
        let path = |namespace| format!("/api/v1/namespaces/{namespace}/configmaps/lictor-roots");
        assert_eq!(*paths.lock().unwrap(), ["bank", "shop"].map(path));
    });
    let expect = "lictor_operator_controller_failures_total{controller=\"roots\"} 1";
    assert!(moved.contains(expect), "{moved}");
}
