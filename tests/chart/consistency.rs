//! What one object says of another holds: selectors, port names, images, roles, settings.

use std::{collections::BTreeSet, fs};

use serde_yaml::Value;

use crate::{
    objects::{containers, pod, shipped, text, title},
    root,
};

#[test]
fn every_service_selects_a_pod_that_has_its_ports() {
    let Some(shipped) = shipped() else { return };
    for (name, service) in shipped.iter().filter(|(_, object)| text(&object["kind"]) == "Service") {
        let set = name.split(':').next();
        let selected = shipped
            .iter()
            .filter(|(other, _)| other.split(':').next() == set)
            .filter_map(|(_, o)| pod(o));
        let selected: Vec<_> =
            selected.filter(|pod| selects(&service["spec"]["selector"], pod)).collect();
        assert_eq!(selected.len(), 1, "{name} selects one kind of pod");
        let ports: Vec<_> = containers(selected[0])
            .flat_map(|container| container["ports"].as_sequence().into_iter().flatten())
            .map(|port| text(&port["name"]))
            .collect();
        for port in service["spec"]["ports"].as_sequence().expect("services have ports") {
            let target = text(&port["targetPort"]);
            assert!(ports.contains(&target), "{name}: no container port is called {target:?}");
        }
    }
}

/// Whether a pod has the labels that a selector names.
fn selects(selector: &Value, pod: &Value) -> bool {
    let wanted = selector.as_mapping().expect("selectors are mappings");
    wanted.iter().all(|(key, value)| pod["metadata"]["labels"].get(key) == Some(value))
}

#[test]
fn images_and_chart_have_the_version_of_the_workspace() {
    let Some(shipped) = shipped() else { return };
    let version = env!("CARGO_PKG_VERSION");
    let images: BTreeSet<_> = shipped
        .iter()
        .filter(|(name, _)| !name.starts_with("everything"))
        .filter_map(|(_, object)| pod(object))
        .flat_map(containers)
        .map(|container| text(&container["image"]).to_owned())
        .collect();
    let wanted = ["lictor", "lictor-operator"].map(|name| format!("localhost/{name}:{version}"));
    assert_eq!(images, wanted.into());
    let chart =
        fs::read_to_string(root().join("charts/lictor/Chart.yaml")).expect("the chart is there");
    for line in [format!("\nversion: {version}\n"), format!("\nappVersion: {version}\n")] {
        assert!(chart.contains(&line), "Chart.yaml says {line:?}");
    }
    assert_eq!(
        chart.matches(&format!(":{version}\n")).count(),
        3,
        "Chart.yaml names the three images"
    );
}

#[test]
fn every_role_is_bound_and_no_role_has_wildcards() {
    let Some(shipped) = shipped() else { return };
    let titles: BTreeSet<_> = shipped.iter().map(|(name, _)| name.as_str()).collect();
    for (name, object) in &shipped {
        let set = name.split(':').next().unwrap_or_default();
        match text(&object["kind"]) {
            "Role" | "ClusterRole" => {
                let binding =
                    format!("{set}: {}", title(object).replacen("Role/", "RoleBinding/", 1));
                assert!(titles.contains(binding.as_str()), "{name} has no {binding}");
                let rules = serde_yaml::to_string(&object["rules"]).expect("YAML");
                assert!(!rules.contains('*'), "{name}: {rules}");
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let role = format!(
                    "{set}: {}/{}",
                    text(&object["roleRef"]["kind"]),
                    text(&object["roleRef"]["name"])
                );
                assert!(
                    titles.contains(role.as_str()),
                    "{name} binds {role}, which does not exist"
                );
                let subject =
                    format!("{set}: ServiceAccount/{}", text(&object["subjects"][0]["name"]));
                assert!(
                    titles.contains(subject.as_str()),
                    "{name} names {subject}, which does not exist"
                );
            }
            _ => {}
        }
    }
}

#[test]
fn the_chart_sets_every_setting_of_the_operator_and_no_other() {
    let Some(shipped) = shipped() else { return };
    let config = fs::read_to_string(root().join("operator/src/config.rs"))
        .expect("the operator has settings");
    let known: BTreeSet<_> =
        config.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for (name, object) in
        shipped.iter().filter(|(name, _)| name.contains("Deployment/") && name.contains("operator"))
    {
        let pod = pod(object).expect("a Deployment makes pods");
        let container = containers(pod).next().expect("pods have containers");
        let set: BTreeSet<_> = container["env"]
            .as_sequence()
            .expect("settings")
            .iter()
            .map(|variable| text(&variable["name"]))
            .collect();
        assert_eq!(set, known, "{name}");
    }
}
