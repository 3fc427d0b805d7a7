//! Manifests as values: the objects of a render, and the pods in them.

use serde::Deserialize;
use serde_yaml::Value;

use crate::{VALUE_SETS, helm, root, run};

/// The objects of a YAML stream.
pub(crate) fn objects(yaml: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(yaml)
        .map(|document| Value::deserialize(document).expect("manifests are YAML"))
        .filter(|object| !object.is_null())
        .collect()
}

/// Every manifest that the project ships: all value sets and the example. `None` without helm.
pub(crate) fn shipped() -> Option<Vec<(String, Value)>> {
    let helm = helm()?;
    let mut all = Vec::new();
    for (name, arguments) in VALUE_SETS {
        let rendered = run(&helm, "template", arguments).expect("the value set is valid");
        all.extend(
            objects(&rendered)
                .into_iter()
                .map(|object| (format!("{name}: {}", title(&object)), object)),
        );
    }
    let example = root().join("deploy/examples/hashicorp-japan.yaml");
    let example = std::fs::read_to_string(example).expect("the example exists");
    all.extend(
        objects(&example)
            .into_iter()
            .map(|object| (format!("example: {}", title(&object)), object)),
    );
    Some(all)
}

/// `kind/name`.
pub(crate) fn title(object: &Value) -> String {
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// A string, or nothing.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The pod that an object makes: its `metadata` and `spec`.
pub(crate) fn pod(object: &Value) -> Option<&Value> {
    match text(&object["kind"]) {
        "Pod" => Some(object),
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => Some(&object["spec"]["template"]),
        _ => None,
    }
}

/// All containers of a pod, init containers first.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| pod["spec"][list].as_sequence().into_iter().flatten())
}
