//! The name order and the claim rules, as a table of pods.

use serde_json::{Value, json};

use super::*;

fn pod(extra: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": "web-7d4b9-x", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"serviceAccountName": "runner", "containers": [
            {"name": "app", "ports": [{"name": "http", "containerPort": 8080}]},
        ]},
    });
    json_patch::merge(&mut pod, &extra);
    serde_json::from_value(pod).unwrap()
}

fn service(name: &str, extra: Value) -> Service {
    let mut service = json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    json_patch::merge(&mut service, &extra);
    serde_json::from_value(service).unwrap()
}

fn named(pod: &Pod, services: &[Service]) -> Name {
    name(pod, &selecting(pod, services.iter()))
}

#[test]
fn name_order_is_annotation_service_label_workload_pod() {
    let web = [service("web", json!({}))];
    let annotated =
        |key: &str, value: &str| pod(json!({"metadata": {"annotations": {key: value}}}));
    let check = |pod: &Pod, services: &[Service], expect: &str| {
        assert_eq!(named(pod, services).service, expect);
    };
    check(&annotated("lictor.dev/connect-service", "pay"), &web, "pay");
    check(&annotated("consul.hashicorp.com/kubernetes-service", "other"), &web, "other");
    check(&pod(json!({})), &web, "web");
    check(&pod(json!({"metadata": {"labels": {"app.kubernetes.io/name": "label"}}})), &[], "label");
    let owner = json!({"apiVersion": "apps/v1", "uid": "u", "controller": true});
    let owned = |kind: &str, name: &str| {
        let mut owner = owner.clone();
        json_patch::merge(&mut owner, &json!({"kind": kind, "name": name}));
        pod(json!({"metadata": {
            "ownerReferences": [owner], "labels": {"pod-template-hash": "7d4b9"},
        }}))
    };
    check(&owned("ReplicaSet", "web-deploy-7d4b9"), &[], "web-deploy");
    check(&owned("StatefulSet", "db"), &[], "db");
    check(&pod(json!({})), &[], "web-7d4b9-x");
}

#[test]
fn ignored_and_foreign_services_do_not_count() {
    for extra in [
        json!({"metadata": {"labels": {"consul.hashicorp.com/service-ignore": "true"}}}),
        json!({"metadata": {"namespace": "other"}}),
        json!({"spec": {"selector": {"tier": "front"}}}),
        json!({"spec": {"selector": null}}),
    ] {
        let services = [service("web", extra.clone())];
        assert_eq!(named(&pod(json!({})), &services).kubernetes_service, None, "{extra}");
    }
}

#[test]
fn of_several_services_the_annotated_port_decides_then_the_name() {
    let services = [
        service("zeta", json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}]}})),
        service("alpha", json!({"spec": {"ports": [{"port": 81, "targetPort": 9000}]}})),
    ];
    let plain = named(&pod(json!({})), &services);
    assert_eq!((plain.service.as_str(), plain.ambiguous.len()), ("alpha", 2));
    let annotations =
        json!({"metadata": {"annotations": {"lictor.dev/connect-service-port": "http"}}});
    assert_eq!(named(&pod(annotations), &services).service, "zeta");
}

fn claimed(pod: &Pod, services: &[Service], owners: &Owners) -> Result<(), ClaimError> {
    let selecting = selecting(pod, services.iter());
    claim(pod, &name(pod, &selecting), &selecting, owners)
}

fn owned_by(namespace: &str) -> Owners {
    Owners::from([("web".to_owned(), BTreeSet::from([namespace.to_owned()]))])
}

#[test]
fn a_service_account_of_that_name_is_enough() {
    let pod = pod(json!({
        "metadata": {"annotations": {"lictor.dev/connect-service": "web"}},
        "spec": {"serviceAccountName": "web"},
    }));
    assert_eq!(claimed(&pod, &[], &Owners::new()), Ok(()));
}

#[test]
fn a_selecting_service_is_enough_unless_another_namespace_was_first() {
    let services = [service("web", json!({}))];
    assert_eq!(claimed(&pod(json!({})), &services, &Owners::new()), Ok(()));
    assert_eq!(claimed(&pod(json!({})), &services, &owned_by("shop")), Ok(()));
    let refused = claimed(&pod(json!({})), &services, &owned_by("bank")).unwrap_err();
    assert_eq!(refused.to_string(), "service name \"web\" belongs to namespace \"bank\"");
}

#[test]
fn a_name_from_an_annotation_alone_is_refused() {
    let stranger =
        pod(json!({"metadata": {"annotations": {"lictor.dev/connect-service": "payments"}}}));
    let services = [service("web", json!({}))];
    let refused = claimed(&stranger, &services, &Owners::new()).unwrap_err();
    for part in ["\"payments\"", "\"runner\"", "\"shop\""] {
        assert!(refused.to_string().contains(part), "{refused}");
    }
}

#[test]
fn a_name_outlives_its_pods() {
    let start = Instant::now();
    let mut ownership = Ownership::default();
    ownership.record("web", "shop", start);
    let services = [Arc::new(service("web", json!({})))];
    let later = start + OWNERSHIP_TTL * 100;
    assert_eq!(ownership.owners(&services, later), owned_by("shop"), "the Service is still there");
    ownership.record("web", "shop", later);
    assert_eq!(ownership.owners(&[], later + OWNERSHIP_TTL / 2), owned_by("shop"));
    assert_eq!(ownership.owners(&[], later + OWNERSHIP_TTL), Owners::new());
}
