//! Every pod that the project ships passes the Pod Security standard "restricted".

use serde_yaml::Value;

use crate::objects::{containers, pod, shipped, text};

/// Volume types that "restricted" knows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

#[test]
fn every_pod_passes_restricted() {
    let Some(shipped) = shipped() else { return };
    let mut pods = 0;
    for (name, object) in &shipped {
        if let Some(pod) = pod(object) {
            assert_eq!(violations(pod), [""; 0], "{name}");
            pods += 1;
        }
    }
    assert!(pods >= 10, "the renders and the example hold pods, but only {pods} were found");
}

#[test]
fn a_privileged_pod_is_found() {
    let pod = serde_yaml::from_str(
        "spec: {hostNetwork: true, volumes: [{name: v, hostPath: {path: /}}], containers: [{name: c, securityContext: {privileged: true}}]}",
    )
    .expect("YAML");
    assert_eq!(violations(&pod).len(), 8);
}

/// What keeps a pod from passing.
fn violations(pod: &Value) -> Vec<&'static str> {
    let spec = &pod["spec"];
    let mut found = Vec::new();
    let mut must = |holds: bool, rule: &'static str| {
        if !holds {
            found.push(rule);
        }
    };
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        must(spec[key].as_bool() != Some(true), "host namespaces");
    }
    for volume in spec["volumes"].as_sequence().into_iter().flatten() {
        must(VOLUMES.iter().any(|kind| !volume[*kind].is_null()), "volume type");
    }
    for container in containers(pod) {
        let own = &container["securityContext"];
        let either =
            |key: &str| if own[key].is_null() { &spec["securityContext"][key] } else { &own[key] };
        must(own["privileged"].as_bool() != Some(true), "privileged");
        must(own["allowPrivilegeEscalation"].as_bool() == Some(false), "allowPrivilegeEscalation");
        must(either("runAsNonRoot").as_bool() == Some(true), "runAsNonRoot");
        must(either("runAsUser").as_u64() != Some(0), "runAsUser");
        must(text(&either("seccompProfile")["type"]) == "RuntimeDefault", "seccompProfile");
        let dropped = own["capabilities"]["drop"].as_sequence();
        must(dropped.is_some_and(|list| list.iter().any(|name| name == "ALL")), "capabilities");
        must(own["capabilities"]["add"].is_null(), "added capabilities");
        must(
            own["readOnlyRootFilesystem"].as_bool() == Some(true),
            "readOnlyRootFilesystem (ours)",
        );
        let ports = container["ports"].as_sequence().into_iter().flatten();
        must(ports.map(|port| &port["hostPort"]).all(Value::is_null), "host ports");
    }
    found
}
