//! The seed tutorials, row by row, on the real binary with real dig, curl, socat and nc.
//!
//! A test is named after its row: `s3_5_...` is row s3-5 of the acceptance list. One agent runs per
//! test, on ports of its own; where a tutorial says 8500 or 8600, the test says the agent's port.
//! Rows that need several agents belong to the suite that starts several.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod s0_install;
mod s1_kv;
mod s2_chain;
mod s3_connect;
mod s4_docker;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use harness::{Process, binary::binary, eventually, ports, tools, wait::pause};

/// A web server that can be stopped and started: the demo's application.
struct Web {
    port: u16,
    prefix: String,
    log: PathBuf,
    process: Process,
}

impl Web {
    fn start(dir: &Path, prefix: &str, upstreams: &[String]) -> Self {
        Self::start_on(ports::free(), dir, prefix, upstreams)
    }

    fn start_on(port: u16, dir: &Path, prefix: &str, upstreams: &[String]) -> Self {
        let log = dir.join(format!("web-{port}.log"));
        let mut command = Command::new(binary("lictor"));
        command.args(["demo", "app", "-listen", &format!("127.0.0.1:{port}"), "-prefix", prefix]);
        for upstream in upstreams {
            command.args(["-upstream", upstream]);
        }
        let process = Process::start(&mut command, &log);
        let web = Self { port, prefix: prefix.to_owned(), log, process };
        web.wait();
        web
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    fn wait(&self) {
        eventually("the web server to listen", || {
            tools::run("curl", &["-s", "-o", "/dev/null", &format!("{}healthz", self.url())])
                .status
                .success()
                .then_some(())
        });
    }

    fn stop(&mut self) {
        self.process.kill();
    }

    fn restart(&mut self) {
        let mut command = Command::new(binary("lictor"));
        command.args(["demo", "app", "-listen", &format!("127.0.0.1:{}", self.port)]);
        self.process = Process::start(command.args(["-prefix", &self.prefix]), &self.log);
        self.wait();
    }
}

/// Asserts a condition that holds soon, within the two seconds that the tutorials allow a change.
fn soon(what: &str, mut probe: impl FnMut() -> bool) {
    harness::within(Duration::from_secs(5), what, || probe().then_some(()));
}

/// Asserts that something stays as it is for a moment.
fn stays(what: &str, mut probe: impl FnMut() -> bool) {
    for _ in 0..10 {
        assert!(probe(), "{what}");
        pause(Duration::from_millis(50));
    }
}

/// Runs the binary in a directory that holds nothing else but `/dev`, as a container runtime runs an
/// image FROM scratch: process 1 of its namespace. `None` where the kernel does not let us.
fn in_scratch(dir: &Path, arguments: &[&str]) -> Option<Command> {
    let allowed = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "user namespaces are needed in CI");
        return None;
    }
    std::fs::copy(binary("lictor"), dir.join("consul")).expect("the test's directory is writable");
    std::fs::create_dir(dir.join("dev")).expect("the test's directory is writable");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args([
        "sh",
        "-c",
        "mount --rbind /dev \"$0/dev\" && exec chroot \"$0\" /consul \"$@\"",
    ]);
    command.arg(dir).args(arguments);
    // PATH is for the programs around it; inside there is nothing that it could lead to.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Some(command)
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
