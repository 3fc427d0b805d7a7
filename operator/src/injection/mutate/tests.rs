//! The patched pod against a golden file, and invariants of the patch.

use k8s_openapi::api::core::v1::Pod;

use super::*;
use crate::injection::validate::{Verdict, validate};

/// Mutates as the webhook does: validates, computes the patch, and applies it to the original.
fn inject(pod: &Value) -> Value {
    let typed: Pod = serde_json::from_value(pod.clone()).unwrap();
    let Verdict::Inject(injection) = validate(&typed, false).unwrap() else { panic!("skipped") };
    let after = mutate(pod, &injection, &Config::for_tests());
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch(pod, &after)).unwrap();
    assert_eq!(patched, after, "the patch leads to the mutated pod");
    patched
}

fn sample() -> Value {
    serde_yaml::from_str(include_str!("../../../tests/golden/pod.yaml")).unwrap()
}

fn check_golden(name: &str, actual: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expect = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(actual == expect, "{path} differs; UPDATE_GOLDEN=1 rewrites it:\n{actual}");
}

#[test]
fn mutated_pod_is_the_golden_one() {
    check_golden("pod.injected.yaml", &serde_yaml::to_string(&inject(&sample())).unwrap());
}

#[test]
fn a_second_mutation_changes_nothing() {
    let once = inject(&sample());
    assert_eq!(patch(&once, &inject(&once)), Patch(vec![]));
}

#[test]
fn a_misplaced_or_stripped_sidecar_is_repaired() {
    let good = inject(&sample());
    let mut moved = good.clone();
    moved["spec"]["initContainers"].as_array_mut().unwrap().reverse();
    moved["spec"]["initContainers"][1].as_object_mut().unwrap().remove("restartPolicy");
    assert_eq!(inject(&moved), good);
}

#[test]
fn fields_that_others_added_to_the_sidecar_are_kept() {
    let mut added = inject(&sample());
    added["spec"]["initContainers"][0]["terminationMessagePolicy"] = "File".into();
    let again = inject(&added);
    assert_eq!(again["spec"]["initContainers"][0]["terminationMessagePolicy"], "File");
}

#[test]
fn unknown_fields_survive() {
    let mut pod = sample();
    pod["spec"]["fieldOfTheFuture"] = json!({"x": 1});
    assert_eq!(inject(&pod)["spec"]["fieldOfTheFuture"], json!({"x": 1}));
}

#[test]
fn a_bare_pod_gets_everything_it_lacks() {
    let pod = json!({
        "metadata": {"annotations": {"lictor.dev/connect-inject": "true"}},
        "spec": {"containers": [{"name": "app"}]},
    });
    let injected = inject(&pod);
    assert_eq!(injected["spec"]["initContainers"][0]["restartPolicy"], "Always");
    assert_eq!(injected["metadata"]["labels"]["lictor.dev/connect-inject-status"], "injected");
    assert_eq!(injected["spec"]["containers"], pod["spec"]["containers"], "no upstreams, no env");
}

#[test]
fn a_variable_of_the_container_is_left_alone() {
    let mut pod = sample();
    pod["spec"]["containers"][0]["env"] =
        json!([{"name": "CORP_APP_CONNECT_SERVICE_PORT", "value": "9"}]);
    let injected = inject(&pod);
    let env = injected["spec"]["containers"][0]["env"].as_array().unwrap();
    let ports = env.iter().filter(|v| v["name"] == "CORP_APP_CONNECT_SERVICE_PORT");
    assert_eq!(ports.map(|v| &v["value"]).collect::<Vec<_>>(), ["9"]);
}
