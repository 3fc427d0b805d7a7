//! What holds of the tree itself: which member may depend on which, and who may name an engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the member lies in the workspace")
}

#[test]
fn members_depend_on_each_other_in_one_direction_only() {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut arrows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let ours = dependencies
            .filter(|dependency| dependency["path"].is_string())
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        arrows.insert(package["name"].as_str().unwrap().to_owned(), ours.collect());
    }
    let allowed: [(&str, &[&str]); 7] = [
        ("lictor", &["lictor-api", "lictor-runtime", "lictor-sidecar"]),
        ("lictor-api", &[]),
        ("lictor-operator", &["lictor-api", "lictor-runtime"]),
        ("lictor-runtime", &["lictor-api"]),
        ("lictor-sidecar", &["lictor-api", "lictor-runtime"]),
        ("base2histogram", &[]),
        ("lictor-tests", &["lictor", "lictor-api", "lictor-operator", "lictor-sidecar"]),
    ];
    assert_eq!(
        arrows.len(),
        allowed.len(),
        "a new member comes with its reason in ARCHITECTURE.md"
    );
    for (member, dependencies) in &arrows {
        let (_, allowed) = allowed.iter().find(|(name, _)| name == member).expect("a known member");
        let foreign: Vec<_> =
            dependencies.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(foreign.is_empty(), "{member} must not depend on {foreign:?}");
    }
}

#[test]
fn an_engine_is_named_in_its_own_module_only() {
    for (engine, home) in [
        ("openraft", "agent/src/raft"),
        ("redb", "agent/src/raft"),
        ("kube::", "agent/src/kubernetes"),
    ] {
        for file in sources(&root().join("agent/src")) {
            let path = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&file).unwrap();
            let named = text.lines().any(|line| {
                line.contains(&format!("use {engine}"))
                    || (line.contains(&format!(" {engine}::"))
                        && !line.trim_start().starts_with("//"))
            });
            assert!(
                !named || path.starts_with(home),
                "{path} names {engine}, which belongs to {home}"
            );
        }
    }
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
