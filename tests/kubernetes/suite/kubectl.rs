//! A cluster as the suite sees it: kubectl and helm, run against one kubeconfig.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Namespace of the release.
pub(crate) const SYSTEM: &str = "lictor";
/// Namespace of the workloads.
pub(crate) const DEMO: &str = "lictor-demo";

/// A cluster, and where its images come from.
pub(crate) struct Cluster {
    /// Registry of the three images.
    pub(crate) registry: String,
    /// Image of client pods.
    pub(crate) tools: String,
    keep: bool,
}

impl Cluster {
    /// The cluster that `KUBECONFIG` names, if `run.sh` says so: a developer's shell often has a
    /// cluster set that no `cargo test` should install anything into.
    pub(crate) fn from_environment() -> Option<Self> {
        for name in ["LICTOR_TEST_CLUSTER", "KUBECONFIG"] {
            std::env::var_os(name).filter(|value| !value.is_empty())?;
        }
        let text =
            |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        Some(Self {
            registry: text("LICTOR_REGISTRY", "localhost"),
            tools: text("LICTOR_TOOLS_IMAGE", "localhost/lictor-test-tools:1"),
            keep: std::env::var_os("LICTOR_KEEP").is_some(),
        })
    }

    /// Runs `program`; gives its output, or what it wrote to standard error.
    pub(crate) fn run(
        &self,
        program: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, String> {
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start {program}: {error}"))?;
        let written =
            child.stdin.take().expect("standard input is piped").write_all(input.as_bytes());
        let output =
            child.wait_with_output().map_err(|error| format!("wait for {program}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() && written.is_ok() {
            Ok(text)
        } else {
            Err(format!(
                "{program} {}: {text}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            ))
        }
    }

    /// kubectl that has to succeed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// kubectl that may fail.
    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.run("kubectl", arguments, "")
    }

    /// Applies manifests to the workloads' namespace.
    pub(crate) fn apply(&self, yaml: &str) -> Result<String, String> {
        self.run("kubectl", &["-n", DEMO, "apply", "-f", "-"], yaml)
    }

    /// Runs a shell line in the client pod; gives its output whatever its exit code.
    pub(crate) fn client(&self, line: &str) -> String {
        let line = format!("{{ {line}\n}} 2>&1 || true");
        self.kubectl(&["-n", DEMO, "exec", "client", "--", "sh", "-c", &line])
    }

    /// Addresses of the running pods that have the label `app`, sorted.
    pub(crate) fn addresses(&self, app: &str) -> Vec<String> {
        let ready = "jsonpath={range .items[?(@.status.phase==\"Running\")]}{.metadata.deletionTimestamp} {.status.podIP}{\"\\n\"}{end}";
        let pods =
            self.kubectl(&["-n", DEMO, "get", "pods", "-l", &format!("app={app}"), "-o", ready]);
        let alive = pods
            .lines()
            .filter_map(|line| line.strip_prefix(' ').or(Some(line).filter(|l| !l.contains(' '))));
        let mut addresses: Vec<_> = alive.map(str::to_owned).collect();
        addresses.sort();
        addresses
    }

    /// What the cluster knows when a step fails.
    fn describe(&self) -> String {
        let mut text = String::new();
        let mut show = |arguments: &[&str]| {
            let output = self.try_kubectl(arguments).unwrap_or_else(|error| error);
            let tail: Vec<_> = output.lines().rev().take(60).collect();
            let _: std::fmt::Result = writeln!(text, "--- kubectl {}", arguments.join(" "));
            for line in tail.iter().rev() {
                let _: std::fmt::Result = writeln!(text, "{line}");
            }
        };
        for namespace in [SYSTEM, DEMO] {
            show(&["-n", namespace, "get", "pods,services,serviceintentions", "-o", "wide"]);
            show(&["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"]);
        }
        for component in ["server", "operator", "cleanup"] {
            let label = format!("app.kubernetes.io/component={component}");
            show(&["-n", SYSTEM, "logs", "-l", &label, "--all-containers", "--tail=50"]);
        }
        for app in ["hashicorpjapan-app", "corp-app", "japan-app"] {
            let label = format!("app={app}");
            show(&["-n", DEMO, "logs", "-l", &label, "-c", "lictor-sidecar", "--tail=20"]);
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        println!("{}", self.describe());
        if !self.keep {
            // the outcome is the failed step's, not that of clearing up after it
            drop(self.run(
                "helm",
                &["-n", SYSTEM, "uninstall", "lictor", "--wait", "--timeout=60s"],
                "",
            ));
            drop(self.try_kubectl(&["delete", "namespace", SYSTEM, DEMO, "--wait=false"]));
        }
    }
}

/// Tries until it succeeds, for at most `seconds`; panics with the last reason.
pub(crate) fn eventually<T>(
    what: &str,
    seconds: u64,
    mut attempt: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if Instant::now() >= deadline => {
                panic!("{what}, after {seconds} s: {reason}")
            }
            Err(_) => pause(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one pause between two looks at a condition")]
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}
