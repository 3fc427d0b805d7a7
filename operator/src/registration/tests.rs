//! Pods as Kubernetes lists them, and the instances they are registered as.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

fn pod(name: &str, namespace: &str, extra: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("uid-{namespace}-{name}"),
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web"},
            "annotations": {"consul.hashicorp.com/service-tags": "v1,$POD_NAME"},
        },
        "spec": {"nodeName": "k0", "serviceAccountName": "runner", "containers": [
            {"name": "app", "ports": [{"name": "http", "containerPort": 8080}]},
        ]},
        "status": {
            "phase": "Running", "podIP": "10.0.0.7", "hostIP": "192.0.2.1",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    json_patch::merge(&mut pod, &extra);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn service(namespace: &str) -> Arc<Service> {
    let service = json!({
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    Arc::new(serde_json::from_value(service).unwrap())
}

fn run(pods: &[Arc<Pod>], actual: &Actual) -> Desired {
    let services = [service("shop"), service("bank")];
    desired(pods.to_vec(), &services, actual, Owners::new(), "east")
}

fn statuses(desired: &Desired) -> Vec<CheckStatus> {
    desired.instances.values().map(|instance| instance.check.status).collect()
}

#[test]
fn a_pod_becomes_an_instance_and_its_proxy() {
    let desired = run(&[pod("web-0", "shop", json!({}))], &Actual::default());
    let keys: Vec<_> = desired.instances.keys().map(|(n, i)| format!("{n} {i}")).collect();
    assert_eq!(keys, ["k0-virtual web-0-web", "k0-virtual web-0-web-sidecar-proxy"]);
    let [instance, proxy] = &desired.instances.values().cloned().collect::<Vec<_>>()[..] else {
        panic!("two instances")
    };
    assert_eq!(instance.node_address, "192.0.2.1");
    assert_eq!(instance.node_meta["synthetic-node"], "true");
    assert_eq!((&*instance.service.address, instance.service.port), ("10.0.0.7", 8080));
    assert_eq!(instance.service.tags, ["v1", "web-0"]);
    assert_eq!(
        serde_json::to_value(&instance.service.meta).unwrap(),
        json!({
            "k8s-cluster": "east", "k8s-namespace": "shop", "k8s-service-name": "web",
            "managed-by": "lictor-operator", "pod-name": "web-0", "pod-uid": "uid-shop-web-0",
        })
    );
    let check = &instance.check;
    assert_eq!(check.check_id, "shop/web-0-web");
    assert_eq!(check.name, "Kubernetes Readiness Check");
    assert_eq!(
        (&*check.check_type, &*check.output),
        ("kubernetes-readiness", "Kubernetes health checks passing",)
    );
    let target = &proxy.service.proxy;
    assert_eq!((proxy.service.kind, proxy.service.port), (ServiceKind::ConnectProxy, 20000));
    assert_eq!(
        (&*proxy.service.service, &*target.destination_service_id),
        ("web-sidecar-proxy", "web-0-web",)
    );
    assert_eq!((&*target.local_service_address, target.local_service_port), ("127.0.0.1", 8080));
    assert_eq!(proxy.check.check_id, "shop/web-0-web-sidecar-proxy");
}

#[test]
fn readiness_is_health_and_terminating_is_critical() {
    let check = |extra: Value, expect: &[CheckStatus]| {
        let desired = run(&[pod("web-0", "shop", extra.clone())], &Actual::default());
        assert_eq!(statuses(&desired), expect, "{extra}");
    };
    let (passing, critical) = (CheckStatus::Passing, CheckStatus::Critical);
    let ready = |status| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    check(ready("True"), &[passing; 2]);
    check(ready("False"), &[critical; 2]);
    check(ready("Unknown"), &[critical; 2]);
    check(json!({"status": {"conditions": null}}), &[critical; 2]);
    check(json!({"metadata": {"deletionTimestamp": "2026-01-02T00:00:00Z"}}), &[critical; 2]);
    check(json!({"status": {"phase": "Succeeded"}}), &[]);
    check(json!({"status": {"phase": "Failed"}}), &[]);
    check(json!({"status": {"podIP": null}}), &[]);
    check(json!({"spec": {"nodeName": null}}), &[]);
}

#[test]
fn the_first_namespace_keeps_the_name() {
    let first = pod("a", "shop", json!({}));
    let second =
        pod("b", "bank", json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:01Z"}}));
    let both = run(&[Arc::clone(&second), Arc::clone(&first)], &Actual::default());
    assert_eq!(both.instances.len(), 2);
    let [(loser, notice)] = &both.notices[..] else { panic!("one notice") };
    assert_eq!((loser.name_any().as_str(), notice.reason), ("b", "ServiceNameTaken"));
}

#[test]
fn equal_pod_names_on_one_node_do_not_share_an_instance() {
    let account = |namespace| {
        let spec = json!({"spec": {"serviceAccountName": "web"}});
        pod("web-0", namespace, spec)
    };
    let desired = run(&[account("bank"), account("shop")], &Actual::default());
    assert_eq!(desired.instances.len(), 2);
    assert_eq!(desired.notices[0].1.reason, "ServiceNameTaken");
}

#[test]
fn a_node_of_another_cluster_is_left_alone() {
    let actual =
        Actual { foreign_nodes: BTreeSet::from(["k0-virtual".into()]), ..Actual::default() };
    let desired = run(&[pod("web-0", "shop", json!({}))], &actual);
    assert!(desired.instances.keys().all(|(node, _)| *node == "k0-east-virtual"));
}

#[test]
fn meta_annotations_are_added_but_cannot_forge() {
    let annotations = json!({"metadata": {"annotations": {
        "lictor.dev/service-meta-team": "x",
        "lictor.dev/service-meta-self": "$POD_NAME",
        "lictor.dev/service-meta-pod-uid": "another",
        "lictor.dev/connect-service-port": "9999",
    }}});
    let desired = run(&[pod("web-0", "shop", annotations)], &Actual::default());
    let instance = desired.instances.values().next().unwrap();
    let meta = &instance.service.meta;
    assert_eq!((meta["team"].as_str(), meta["self"].as_str()), ("x", "web-0"));
    assert_eq!(meta["pod-uid"], "uid-shop-web-0");
    assert_eq!(instance.service.port, 9999);
}

#[test]
fn a_bad_edit_of_a_live_pod_is_told_and_changes_nothing() {
    let edited = json!({"metadata": {"annotations": {
        "lictor.dev/connect-service-upstreams": "db:x",
    }}});
    let desired = run(&[pod("web-0", "shop", edited)], &Actual::default());
    assert_eq!(desired.instances.len(), 2);
    assert_eq!(desired.notices[0].1.reason, "InvalidAnnotation");
    assert!(desired.notices[0].1.note.contains("\"db:x\""));
}
