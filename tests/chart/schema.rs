//! values.schema.json knows every value, and refuses what is unknown or of the wrong type by its key.

use std::fs;

use serde_yaml::Value;

use crate::{helm, root, run};

/// The chart's values.yaml.
fn values() -> Value {
    let text =
        fs::read_to_string(root().join("charts/lictor/values.yaml")).expect("the chart has values");
    serde_yaml::from_str(&text).expect("values are YAML")
}

/// Paths of all values (`a.b.c`), split into objects and leaves.
fn paths(value: &Value, at: &str, objects: &mut Vec<String>, leaves: &mut Vec<String>) {
    let free_form = ["requests", "limits", "extraConfig"].iter().any(|key| at.ends_with(key));
    let Some(mapping) = value.as_mapping().filter(|_| !free_form) else {
        return leaves.push(at.to_owned());
    };
    objects.push(at.to_owned());
    for (key, value) in mapping {
        let key = key.as_str().expect("keys are strings");
        paths(
            value,
            &if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") },
            objects,
            leaves,
        );
    }
}

/// The refusal that a wrong value meets.
fn refusal(helm: &std::path::Path, setting: &str) -> String {
    run(helm, "template", &[&format!("--set-json={setting}")]).expect_err(setting)
}

#[test]
fn unknown_keys_are_refused_by_name_wherever_they_are() {
    let Some(helm) = helm() else { return };
    let (mut objects, mut leaves) = (Vec::new(), Vec::new());
    paths(&values(), "", &mut objects, &mut leaves);
    for object in objects {
        let dot = if object.is_empty() { "" } else { "." };
        let refusal = refusal(&helm, &format!("{object}{dot}surprise=1"));
        assert!(refusal.contains("'surprise' not allowed"), "{object}: {refusal}");
    }
}

#[test]
fn values_of_a_wrong_type_are_refused_by_key() {
    let Some(helm) = helm() else { return };
    let (mut objects, mut leaves) = (Vec::new(), Vec::new());
    paths(&values(), "", &mut objects, &mut leaves);
    assert!(leaves.len() > 20, "the values are walked: {leaves:?}");
    for key in leaves.iter().chain(&objects).filter(|key| !key.is_empty()) {
        for wrong in ["[[]]", "1.5"] {
            let refusal = refusal(&helm, &format!("{key}={wrong}"));
            assert!(refusal.contains(&key.replace('.', "/")), "{key}={wrong}: {refusal}");
        }
    }
}

#[test]
fn values_outside_their_range_are_refused_by_key() {
    let Some(helm) = helm() else { return };
    for (key, wrong) in [
        ("global.name", "\"Mesh_1\""),
        ("global.datacenter", "\"\""),
        ("global.domain", "\".consul\""),
        ("global.image.pullPolicy", "\"Sometimes\""),
        ("server.storage.size", "\"big\""),
        ("server.storage.whenDeleted", "\"Maybe\""),
        ("server.replicas", "2"),
        ("server.keysSecret", "\"My Keys\""),
        ("operator.replicas", "0"),
        ("connectInject.audience", "\"\""),
        ("connectInject.excludedNamespaces", "[\"Not A Namespace\"]"),
        ("mesh.defaultIntention", "\"ask\""),
        ("dns.clusterIP", "\"any\""),
    ] {
        let refusal = refusal(&helm, &format!("{key}={wrong}"));
        assert!(refusal.contains(&key.replace('.', "/")), "{key}={wrong}: {refusal}");
    }
}
