//! Every annotation, valid and invalid.

use serde_json::{Value, json};

use super::*;

fn pod(annotations: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"annotations": annotations},
        "spec": {"containers": [{
            "name": "app",
            "ports": [{"name": "http", "containerPort": 8080}],
        }]},
    }))
    .unwrap()
}

fn inject(name: &str, value: &str) -> Result<Verdict, Refusal> {
    let mut annotations = json!({"consul.hashicorp.com/connect-inject": "true"});
    annotations[format!("lictor.dev/{name}")] = value.into();
    validate(&pod(annotations), false)
}

fn refused(name: &str, value: &str, expect: &str) {
    let refusal = inject(name, value).expect_err(value).to_string();
    assert!(refusal.contains(expect), "{refusal:?} should contain {expect:?}");
}

fn accepted(name: &str, value: &str) -> Injection {
    match inject(name, value) {
        Ok(Verdict::Inject(injection)) => injection,
        other => panic!("{name}={value}: {other:?}"),
    }
}

#[test]
fn only_opted_in_pods_are_injected() {
    assert_eq!(validate(&pod(json!({})), false), Ok(Verdict::Skip));
    assert!(matches!(validate(&pod(json!({})), true), Ok(Verdict::Inject(_))));
    let off = pod(json!({"lictor.dev/connect-inject": "f"}));
    assert_eq!(validate(&off, true), Ok(Verdict::Skip));
    refused("connect-inject", "yes", "connect-inject: \"yes\"");
}

#[test]
fn service_and_port_are_checked() {
    accepted("connect-service", "web");
    accepted("connect-service-port", "http");
    accepted("connect-service-port", "9090");
    refused("connect-service", "", "connect-service: \"\"");
    refused("connect-service", "a b", "\"a b\"");
    refused("connect-service", "a,b", "several services");
    refused("connect-service-port", "grpc", "connect-service-port: \"grpc\"");
    refused("connect-service-port", "http,nope", "\"nope\"");
    refused("connect-service-port", "0", "\"0\"");
}

#[test]
fn upstreams_are_read_whole_or_the_item_is_named() {
    let upstreams = accepted("connect-service-upstreams", "corp-app:5001,hashi-app:5000").upstreams;
    assert_eq!(upstreams.len(), 2);
    refused("connect-service-upstreams", "a:1,b:x", "\"b:x\"");
    refused("connect-service-upstreams", "a:5000,b:5000", "a:5000");
    refused("connect-service-upstreams", "a:8080", "container \"app\"");
    refused("connect-service-upstreams", "a:20000", "the sidecar itself");
}

#[test]
fn meta_of_the_operator_cannot_be_forged() {
    accepted("service-meta-team", "x");
    refused("service-meta-pod-uid", "x", "service-meta-pod-uid");
    refused("service-meta-k8s-namespace", "x", "set by the operator");
    refused("service-meta-a.b", "x", "service-meta-a.b");
}

#[test]
fn resources_are_quantities() {
    let injection = accepted("sidecar-proxy-memory-limit", "128Mi");
    assert_eq!(injection.limits["memory"], "128Mi");
    refused("sidecar-proxy-cpu-request", "10 m", "sidecar-proxy-cpu-request: \"10 m\"");
    refused("sidecar-proxy-cpu-request", "many", "not a quantity");
}

#[test]
fn different_values_under_both_prefixes_are_a_warning() {
    let both = pod(json!({
        "lictor.dev/connect-inject": "true",
        "consul.hashicorp.com/connect-inject": "false",
    }));
    let Ok(Verdict::Inject(injection)) = validate(&both, false) else { panic!("own prefix wins") };
    assert_eq!(injection.warnings.len(), 1);
}

#[test]
fn shapes_that_cannot_work_are_refused() {
    let mut object = pod(json!({"lictor.dev/connect-inject": "true"}));
    object.spec.as_mut().unwrap().host_network = Some(true);
    assert_eq!(validate(&object, false), Err(Refusal::HostNetwork));

    let mut object = serde_json::to_value(pod(json!({"lictor.dev/connect-inject": "1"}))).unwrap();
    object["spec"]["volumes"] = json!([{"name": "lictor", "emptyDir": {}}]);
    let object: Pod = serde_json::from_value(object).unwrap();
    assert_eq!(validate(&object, false), Err(Refusal::Volume));

    let mut object = serde_json::to_value(pod(json!({"lictor.dev/connect-inject": "1"}))).unwrap();
    object["spec"]["containers"][0]["ports"][0]["containerPort"] = 20000.into();
    let object: Pod = serde_json::from_value(object).unwrap();
    assert!(matches!(validate(&object, false), Err(Refusal::PortTaken { port: 20000, .. })));
}

#[test]
fn quantities_are_kubernetes_own() {
    for valid in ["1", "0.5", ".5", "250m", "64Mi", "1Ei", "1E", "1e3", "128E2", "1e-3", "+1"] {
        assert!(is_quantity(valid), "{valid}");
    }
    for invalid in ["", "m", ".", "-1", "1ki", "1 Mi", "1e", "1e1.5", "many", "++1"] {
        assert!(!is_quantity(invalid), "{invalid}");
    }
}
