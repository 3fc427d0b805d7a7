//! Computes the patch that injects the sidecar into a pod.
//!
//! Pure and idempotent: [`mutate`] does not change a pod that it has returned.
//! The sidecar is a native sidecar and always `initContainers[0]`, so the pod's own init
//! containers already have their upstreams; one that another webhook moved, or stripped of its
//! restart policy, is restored. The pod is changed as JSON, so that fields unknown to this build
//! survive.

use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use lictor_api::contract::{
    ANNOTATIONS_FILE, CONSUL_PREFIX, ENV_POD_UID, ENV_SERVER_NAME, ENV_SERVERS, LICTOR_PREFIX,
    OPERATOR, POD_FILES, POD_METRICS_PORT, ROOTS_CONFIG_MAP, ROOTS_KEY, TOKEN_FILE,
};
use serde_json::{Map, Value, json};

use super::validate::Injection;
use crate::{
    config::Config,
    contract::{INJECT_MANAGED_BY, INJECT_STATUS, INJECTED, SIDECAR, VOLUME},
};

/// Returns the pod with its sidecar.
#[must_use]
pub fn mutate(pod: &Value, injection: &Injection, config: &Config) -> Value {
    let mut pod = pod.clone();
    for (field, name, value) in [
        ("annotations", INJECT_STATUS, INJECTED),
        ("labels", INJECT_STATUS, INJECTED),
        ("labels", INJECT_MANAGED_BY, OPERATOR),
    ] {
        let pairs = object(object(&mut pod, "metadata"), field);
        for prefix in [LICTOR_PREFIX, CONSUL_PREFIX] {
            pairs.insert(format!("{prefix}{name}"), value.into());
        }
    }
    let spec = object(&mut pod, "spec");
    put_first(list(spec, "initContainers"), sidecar(injection, config));
    put_volume(list(spec, "volumes"), volume(config));
    for field in ["initContainers", "containers"] {
        for container in list(spec, field) {
            if container["name"] != SIDECAR {
                add_upstreams(container, injection);
            }
        }
    }
    pod
}

/// Returns the subtrees of `after` that differ from `before`, as a JSON patch; empty if none does.
#[must_use]
pub fn patch(before: &Value, after: &Value) -> Patch {
    let subtrees = [
        ["metadata", "annotations"],
        ["metadata", "labels"],
        ["spec", "initContainers"],
        ["spec", "volumes"],
        ["spec", "containers"],
    ];
    let changed = subtrees.into_iter().filter_map(|[parent, child]| {
        let value = &after[parent][child];
        (before[parent][child] != *value).then(|| {
            let path = PointerBuf::from_tokens([parent, child]);
            PatchOperation::Add(AddOperation { path, value: value.clone() })
        })
    });
    Patch(changed.collect())
}

fn sidecar(injection: &Injection, config: &Config) -> Value {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let probe = json!({"command": ["/lictor-sidecar", "probe"]});
    let mut requests = json!({"cpu": "10m", "memory": "16Mi"});
    let mut limits = json!({"memory": "64Mi"});
    for (target, given) in [(&mut requests, &injection.requests), (&mut limits, &injection.limits)]
    {
        for (resource, quantity) in given {
            target[*resource] = quantity.as_str().into();
        }
    }
    let mut container = json!({
        "name": SIDECAR,
        "image": config.sidecar_image,
        "restartPolicy": "Always",
        "env": [
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field(ENV_POD_UID, "metadata.uid"),
            field("POD_IP", "status.podIP"),
            field("NODE_NAME", "spec.nodeName"),
            {"name": ENV_SERVERS, "value": config.server_grpc},
            {"name": ENV_SERVER_NAME, "value": config.server_name},
        ],
        "ports": [{"name": "prometheus", "containerPort": POD_METRICS_PORT, "protocol": "TCP"}],
        "startupProbe": {"exec": probe, "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {"exec": probe, "periodSeconds": 5},
        "volumeMounts": [{"name": VOLUME, "mountPath": POD_FILES, "readOnly": true}],
        "resources": {"requests": requests, "limits": limits},
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    });
    if !config.sidecar_pull_policy.is_empty() {
        container["imagePullPolicy"] = config.sidecar_pull_policy.as_str().into();
    }
    container
}

fn volume(config: &Config) -> Value {
    let field = |path: &str, field: &str| json!({"path": path, "fieldRef": {"fieldPath": field}});
    // 0444: without an fsGroup of the pod, the sidecar's user could not read its token otherwise.
    json!({"name": VOLUME, "projected": {"defaultMode": 0o444, "sources": [
        {"serviceAccountToken": {
            "audience": config.audience, "expirationSeconds": 3600, "path": TOKEN_FILE,
        }},
        {"configMap": {
            "name": ROOTS_CONFIG_MAP, "items": [{"key": ROOTS_KEY, "path": ROOTS_KEY}],
        }},
        {"downwardAPI": {"items": [
            field(ANNOTATIONS_FILE, "metadata.annotations"), field("labels", "metadata.labels"),
        ]}},
    ]}})
}

/// Makes `container` the first of the list. If the list has one with its name, the fields that we
/// do not set are preserved: another webhook may have added them.
fn put_first(containers: &mut Vec<Value>, container: Value) {
    let position = containers.iter().position(|other| other["name"] == SIDECAR);
    let mut merged = position.map_or_else(|| json!({}), |position| containers.remove(position));
    containers.retain(|other| other["name"] != SIDECAR);
    overlay(&mut merged, container);
    containers.insert(0, merged);
}

fn put_volume(volumes: &mut Vec<Value>, volume: Value) {
    match volumes.iter_mut().find(|other| other["name"] == VOLUME) {
        Some(other) => *other = volume,
        None => volumes.push(volume),
    }
}

fn overlay(target: &mut Value, fields: Value) {
    if let (Value::Object(target), Value::Object(fields)) = (target, fields) {
        target.extend(fields);
    }
}

/// Adds `<NAME>_CONNECT_SERVICE_{HOST,PORT,ADDR}`; a variable that the container sets itself is not
/// changed.
fn add_upstreams(container: &mut Value, injection: &Injection) {
    let variables = injection.upstreams.iter().flat_map(|upstream| {
        let name = upstream.env_name();
        let (host, port) = (upstream.bind_address.to_string(), upstream.bind_port.to_string());
        let address = upstream.bind().to_string();
        [("HOST", host), ("PORT", port), ("ADDR", address)]
            .map(|(part, value)| (format!("{name}_CONNECT_SERVICE_{part}"), value))
    });
    let variables: Vec<(String, String)> = variables.collect();
    if variables.is_empty() {
        return;
    }
    let Value::Object(container) = container else { return };
    let env = list(container, "env");
    for (name, value) in variables {
        if !env.iter().any(|variable| variable["name"] == name.as_str()) {
            env.push(json!({"name": name, "value": value}));
        }
    }
}

// === access to JSON that the API server has already found to be a pod ===

trait Fields {
    fn fields(&mut self) -> &mut Map<String, Value>;
}

impl Fields for Map<String, Value> {
    fn fields(&mut self) -> &mut Map<String, Value> {
        self
    }
}

impl Fields for Value {
    fn fields(&mut self) -> &mut Map<String, Value> {
        if !self.is_object() {
            *self = json!({});
        }
        self.as_object_mut().expect("it was just made an object")
    }
}

fn object<'a>(parent: &'a mut impl Fields, field: &str) -> &'a mut Map<String, Value> {
    parent.fields().entry(field).or_insert_with(|| json!({})).fields()
}

fn list<'a>(parent: &'a mut impl Fields, field: &str) -> &'a mut Vec<Value> {
    let value = parent.fields().entry(field).or_insert_with(|| json!([]));
    if !value.is_array() {
        *value = json!([]);
    }
    value.as_array_mut().expect("it was just made a list")
}

#[cfg(test)]
mod tests;
