//! One real agent.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    binary::binary,
    ports,
    process::Process,
    tools,
    wait::{eventually, within},
};

/// The ports an agent listens on.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// HTTP.
    pub http: u16,
    /// DNS.
    pub dns: u16,
    /// gRPC.
    pub grpc: u16,
    /// gRPC over TLS.
    pub grpc_tls: u16,
    /// Server RPC.
    pub server: u16,
    /// First port of sidecars.
    pub sidecars: u16,
}

/// A running agent with a directory of its own.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub ports: Ports,
    arguments: Vec<String>,
    log: PathBuf,
    dir: TempDir,
}

impl Agent {
    /// `lictor agent -dev`, with `config` as an extra configuration file.
    ///
    /// # Panics
    /// When it is not ready within ten seconds.
    pub fn dev(config: Value) -> Self {
        Self::start(&["-dev"], config)
    }

    /// `lictor agent -server -bootstrap-expect 1` with a data directory.
    ///
    /// # Panics
    /// When it is not ready within ten seconds.
    pub fn server(config: Value) -> Self {
        Self::start(&["-server", "-bootstrap-expect=1", "-bind", "127.0.0.1"], config)
    }

    fn start(flags: &[&str], config: Value) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let sidecars = [ports::free(), ports::free(), ports::free(), ports::free(), ports::free()];
        let ports = Ports {
            http: ports::free(),
            dns: ports::free(),
            grpc: ports::free(),
            grpc_tls: ports::free(),
            server: ports::free(),
            sidecars: sidecars[0],
        };
        fs::create_dir(dir.path().join("consul.d")).expect("the test's directory is writable");
        let base = json!({
            "node_name": "node1",
            "ports": {
                "http": ports.http, "dns": ports.dns, "grpc": ports.grpc, "grpc_tls": ports.grpc_tls,
                "server": ports.server, "serf_lan": ports::free(), "serf_wan": ports::free(),
                "sidecar_min_port": ports.sidecars, "sidecar_max_port": ports.sidecars + 4,
            },
        });
        let write = |name: &str, value: &Value| {
            let path = dir.path().join("consul.d").join(name);
            fs::write(&path, value.to_string()).expect("the test's directory is writable");
        };
        write("00-base.json", &base);
        write("01-test.json", &config);
        let mut arguments = vec!["agent".to_owned()];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        arguments.push(format!("-config-dir={}", dir.path().join("consul.d").display()));
        if !flags.contains(&"-dev") {
            arguments.push(format!("-data-dir={}", dir.path().join("data").display()));
        }
        let log = dir.path().join("agent.log");
        let process = Process::start(Command::new(binary("lictor")).args(&arguments), &log);
        let mut agent = Self { process, ports, arguments, log, dir };
        agent.wait_until_ready();
        agent
    }

    /// Starts the same agent again after its process ended.
    ///
    /// # Panics
    /// When it is not ready within ten seconds.
    pub fn restart(&mut self) {
        self.process =
            Process::start(Command::new(binary("lictor")).args(&self.arguments), &self.log);
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let url = self.url("/v1/agent/ready");
        let process = &mut self.process;
        within(Duration::from_secs(10), "the agent to be ready", || {
            assert!(process.is_running(), "the agent ended:\n{}", process.log());
            (tools::stdout("curl", &["-s", &url]) == "ready").then_some(())
        });
    }

    /// A URL of its HTTP API.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.http)
    }

    /// A GET by curl: the body.
    pub fn get(&self, path: &str) -> String {
        tools::stdout("curl", &["-s", &self.url(path)])
    }

    /// A GET by curl: the body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn get_json(&self, path: &str) -> Value {
        let text = self.get(path);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("GET {path}: {error}: {text:?}"))
    }

    /// A PUT by curl: the body of the answer.
    pub fn put(&self, path: &str, body: &str) -> String {
        tools::stdout("curl", &["-s", "-X", "PUT", "-d", body, &self.url(path)])
    }

    /// dig against its DNS port, with the given arguments.
    pub fn dig(&self, arguments: &[&str]) -> String {
        let port = self.ports.dns.to_string();
        let mut all = vec!["@127.0.0.1", "-p", &port, "+tries=1", "+time=3"];
        all.extend_from_slice(arguments);
        tools::stdout("dig", &all)
    }

    /// The CLI against this agent.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        Command::new(binary("lictor"))
            .args(arguments)
            .env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", self.ports.http))
            .output()
            .expect("the binary under test runs")
    }

    /// What a CLI verb printed.
    ///
    /// # Panics
    /// When it failed.
    pub fn cli_stdout(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        assert!(
            output.status.success(),
            "lictor {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Writes a file into its configuration directory.
    ///
    /// # Panics
    /// When the directory is not writable.
    pub fn write_config(&self, name: &str, config: &Value) {
        let path = self.dir.path().join("consul.d").join(name);
        fs::write(path, config.to_string()).expect("the test's directory is writable");
    }

    /// Its directory, for files of the test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until a service's checks all pass (or do not).
    ///
    /// # Panics
    /// After ten seconds.
    pub fn wait_for_passing(&self, service: &str, count: usize) {
        eventually(&format!("{count} passing instances of {service}"), || {
            let rows = self.get_json(&format!("/v1/health/service/{service}?passing"));
            (rows.as_array().map_or(0, Vec::len) == count).then_some(())
        });
    }

    /// SIGTERM, and its exit code.
    ///
    /// # Panics
    /// When it has not ended after ten seconds.
    pub fn stop(&mut self) -> Option<i32> {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(Duration::from_secs(10)).code()
    }
}
