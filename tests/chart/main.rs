//! The Helm chart, rendered by a real `helm` and without a cluster.
//!
//! Invariant: a render depends on the values alone. What a render holds is kept in
//! `tests/golden/chart` (`UPDATE_GOLDEN=1` writes it again); that Kubernetes accepts and runs it
//! is for the suite in `tests/kubernetes`. Without `helm` every test is skipped with a message,
//! except where `CI` is set: there it fails.

#![expect(clippy::print_stdout, reason = "a skipped test says so")]

mod consistency;
mod goldens;
mod objects;
mod pod_security;
mod schema;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The value sets whose renders are kept and checked: name, and arguments for helm.
const VALUE_SETS: [(&str, &[&str]); 3] = [
    ("default", &[]),
    ("three-servers", &["--set=server.replicas=3"]),
    (
        "everything",
        &[
            "--set=global.name=mesh,global.datacenter=tokyo,global.domain=mesh.example",
            "--set=global.image.registry=registry.example/lictor,global.image.tag=1.2.3",
            "--set=global.image.pullPolicy=Always,global.image.pullSecrets={registry}",
            "--set=server.storage.size=20Gi,server.storage.storageClass=fast,server.storage.whenDeleted=Retain",
            "--set=server.replicas=5,server.networkPolicy=false,server.keysSecret=own-keys",
            "--set=server.extraConfig.log_level=debug",
            "--set=operator.replicas=2",
            "--set=connectInject.default=true,connectInject.excludedNamespaces={ci},connectInject.audience=mesh",
            "--set=connectInject.cluster=tokyo-1,mesh.defaultIntention=allow",
            "--set=dns.clusterIP=10.96.0.53,dns.coredns.manage=true,crds.keep=true",
        ],
    ),
];

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the member lies in the workspace")
}

/// `helm` from PATH, else from the cache that `tests/kubernetes/tools.sh` fills.
fn helm() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    let cached = std::fs::read_dir(cache.join("lictor"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let found = std::env::split_paths(&path)
        .chain(cached)
        .map(|dir| dir.join("helm"))
        .find(|helm| helm.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "helm is not in PATH, and CI must check the chart"
        );
        println!("skipped: helm is not in PATH (tests/kubernetes/tools.sh makes one)");
    }
    found
}

/// Runs `helm ARGS` on the chart and gives its output, or what it complained about.
fn run(helm: &Path, verb: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(helm);
    command.arg(verb);
    if verb == "template" {
        command.args(["lictor", "--namespace=mesh-system", "--kube-version=1.33.0"]);
    }
    let output = command
        .arg(root().join("charts/lictor"))
        .args(arguments)
        .output()
        .expect("helm can be started");
    let text = |bytes| String::from_utf8(bytes).expect("helm writes UTF-8");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn helm_lint_has_nothing_to_say() {
    let Some(helm) = helm() else { return };
    for (name, arguments) in VALUE_SETS {
        let arguments = [&["--strict", "--quiet"], arguments].concat();
        let output = run(&helm, "lint", &arguments);
        assert!(output.is_ok(), "{name}: {output:?}");
    }
}
