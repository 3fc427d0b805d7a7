//! Which member may depend on which, and on which engine; and that nothing is listed in vain.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde_json::Value;

use super::{imports::files, root};

/// The members, and the members that each may depend on.
const MEMBERS: [(&str, &[&str]); 14] = [
    ("base2histogram", &[]),
    (
        "lictor",
        &[
            "lictor-api",
            "lictor-config",
            "lictor-consensus",
            "lictor-core",
            "lictor-membership",
            "lictor-runtime",
            "lictor-sidecar",
            "lictor-store",
            "lictor-transport",
        ],
    ),
    ("lictor-api", &[]),
    ("lictor-config", &["lictor-api"]),
    (
        "lictor-consensus",
        &["lictor-api", "lictor-core", "lictor-runtime", "lictor-store", "lictor-transport"],
    ),
    ("lictor-core", &["lictor-api"]),
    (
        "lictor-fuzz",
        &[
            "lictor",
            "lictor-api",
            "lictor-config",
            "lictor-consensus",
            "lictor-core",
            "lictor-operator",
            "lictor-sidecar",
        ],
    ),
    ("lictor-membership", &["lictor-api", "lictor-runtime"]),
    ("lictor-operator", &["lictor-api", "lictor-runtime"]),
    ("lictor-runtime", &["lictor-api"]),
    ("lictor-sidecar", &["lictor-api", "lictor-runtime"]),
    ("lictor-store", &["lictor-core"]),
    ("lictor-tests", &["lictor", "lictor-api", "lictor-operator", "lictor-sidecar"]),
    (
        "lictor-transport",
        &["lictor-api", "lictor-config", "lictor-core", "lictor-runtime", "lictor-store"],
    ),
];

/// Engines, and the one member that may depend on each.
const ENGINES: [(&str, &str); 4] = [
    ("openraft", "lictor-consensus"),
    ("redb", "lictor-consensus"),
    ("serf", "lictor-membership"),
    ("memberlist", "lictor-membership"),
];

/// What the core may not depend on, so that the compiler holds the wall.
const NOT_IN_CORE: [&str; 7] =
    ["tokio", "tokio-util", "futures-util", "hyper", "rand", "arc-swap", "tracing"];

/// Listed for their features or version (see the workspace's manifest), or named by generated code
/// only.
const UNNAMED: [&str; 7] = [
    "bolero-generator-derive",
    "fastrand",
    "indexmap",
    "num-traits",
    "prost",
    "rustix",
    "tonic-prost",
];

fn cargo(arguments: &[&str]) -> String {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}: {stderr}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

fn packages() -> Vec<Value> {
    let text = cargo(&["metadata", "--no-deps", "--format-version=1", "--offline"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    package["dependencies"].as_array().unwrap().iter()
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap()
}

#[test]
fn members_depend_on_each_other_in_one_direction_only() {
    let packages = packages();
    let members: BTreeMap<&str, &[&str]> = MEMBERS.into_iter().collect();
    for package in &packages {
        let member = name(package);
        let allowed = members.get(member).unwrap_or_else(|| {
            panic!("{member}: a new member comes with its reason in ARCHITECTURE.md")
        });
        let ours = dependencies(package).filter(|it| it["path"].is_string()).map(name);
        let foreign: Vec<_> = ours.filter(|it| !allowed.contains(it)).collect();
        assert!(foreign.is_empty(), "{member} must not depend on {foreign:?}");
    }
    assert_eq!(packages.len(), MEMBERS.len());
}

#[test]
fn an_engine_is_a_dependency_of_its_own_member_only() {
    for package in packages() {
        for (engine, home) in ENGINES {
            let has_it = dependencies(&package).any(|it| name(it) == engine);
            assert!(!has_it || name(&package) == home, "{engine} is {home}'s alone");
        }
        if name(&package) == "lictor-core" {
            let normal = dependencies(&package).filter(|it| it["kind"].is_null());
            let impure: Vec<_> = normal.map(name).filter(|it| NOT_IN_CORE.contains(it)).collect();
            assert!(impure.is_empty(), "the core must not depend on {impure:?}");
        }
    }
}

#[test]
fn every_dependency_is_named_by_a_source_of_its_member() {
    let packages = packages();
    let homes: BTreeSet<&Path> = packages.iter().map(home).collect();
    let mut idle = Vec::new();
    for package in &packages {
        let mut text = String::new();
        for file in files(home(package)) {
            // A member below this one is another member's.
            let nearest = file.ancestors().find(|dir| homes.contains(dir));
            if nearest == Some(home(package)) {
                text.push_str(&fs::read_to_string(file).unwrap());
            }
        }
        for dependency in dependencies(package) {
            let crate_name = match name(dependency) {
                "rustls-webpki" => "webpki".to_owned(),
                name => name.replace('-', "_"),
            };
            let is_named = UNNAMED.contains(&name(dependency))
                || [
                    format!("{crate_name}::"),
                    format!("use {crate_name}"),
                    format!("{crate_name} ="),
                ]
                .iter()
                .any(|it| text.contains(it.as_str()));
            if !is_named {
                idle.push(format!("{} does not use {}", name(package), name(dependency)));
            }
        }
    }
    assert_eq!(idle, Vec::<String>::new());
}

fn home(package: &Value) -> &Path {
    Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap()
}

#[test]
fn the_two_commands_of_the_readme_share_what_they_compile() {
    let tree = |packages: &[&str], edges: &str| -> BTreeSet<String> {
        let fixed = ["tree", "--offline", "--prefix=none", "--format={p} {f}", "--edges", edges];
        let text = cargo(&[&fixed[..], packages].concat());
        text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
    };
    let run = tree(&["--package=lictor"], "normal,build");
    let test = tree(&["--workspace"], "normal,build,dev");
    let anew: Vec<_> = run.difference(&test).collect();
    assert!(
        anew.is_empty(),
        "`cargo test --workspace` compiles these with other features: {anew:#?}"
    );
}

#[test]
fn the_replaced_crate_is_the_one_that_is_used() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    assert!(!lock.contains("[[patch.unused]]"), "base2histogram is asked for in another version");
    let entry = lock.split("[[package]]").find(|it| it.contains("name = \"base2histogram\""));
    let entry = entry.expect("openraft needs base2histogram; else remove the replacement");
    assert!(!entry.contains("source ="), "the published base2histogram is linked");
}
