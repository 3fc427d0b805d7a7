//! A machine of a test's network: a namespace, a directory, an agent on the usual ports.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use http::Method;
use lictor_api::client::{Answer, Client, Config};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::{
    local::Local,
    network::{Namespace, enter},
    process::Process,
    wait::within,
};

/// How long an agent may take until its HTTP API answers, on a machine busy with other agents.
const START: Duration = Duration::from_secs(30);

/// One machine. Its agent ends with it.
pub struct Machine {
    /// The agent, while one runs.
    pub agent: Option<Process>,
    name: String,
    address: Ipv4Addr,
    dir: PathBuf,
    path: String,
    arguments: Vec<String>,
    starts: usize,
    probe: UdpSocket,
    runtime: Option<Runtime>,
    client: Client,
    namespace: Namespace,
}

// === impl Machine ===

impl Machine {
    pub(crate) fn new(
        name: &str,
        address: Ipv4Addr,
        namespace: Namespace,
        dir: PathBuf,
        bin: &Path,
    ) -> Self {
        for directory in ["consul.d", "data"] {
            fs::create_dir_all(dir.join(directory)).expect("the test's directory is writable");
        }
        let inside = namespace.path();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || enter(&inside))
            .build()
            .expect("a runtime can be made");
        let config = Config { address: "127.0.0.1:8500".to_owned(), ..Config::default() };
        let client = Client::new(config).expect("the address is valid");
        let probe = bind_probe(&namespace, address);
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        Self {
            agent: None,
            name: name.to_owned(),
            address,
            dir,
            path,
            arguments: Vec::new(),
            starts: 0,
            probe,
            runtime: Some(runtime),
            client,
            namespace,
        }
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its socket for proofs of network faults, on UDP port 9.
    pub fn probe(&self) -> &UdpSocket {
        &self.probe
    }

    /// Its directory; `consul.d` and `data` lie in it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory for `-data-dir`.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Writes a file of the configuration directory.
    ///
    /// # Panics
    /// When the directory is not writable.
    pub fn write_config(&self, name: &str, config: &Value) {
        fs::write(self.dir.join("consul.d").join(name), config.to_string())
            .expect("the test's directory is writable");
    }

    /// Gives it another address in place of the one it has; what runs there loses its connections.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn change_address(&mut self, address: Ipv4Addr) {
        self.namespace.ip(&["addr", "flush", "dev", "eth0"]);
        self.namespace.ip(&["addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        self.probe = bind_probe(&self.namespace, address);
        self.address = address;
    }

    /// Writes its `/etc/hosts` anew, in place, so that agents that run see it.
    ///
    /// # Panics
    /// When `/etc` is not writable.
    pub fn write_hosts<'a>(&self, hosts: impl IntoIterator<Item = (Ipv4Addr, &'a str)>) {
        let mut text = "127.0.0.1 localhost\n".to_owned();
        for (address, name) in hosts {
            text.push_str(&format!("{address} {name}\n"));
        }
        fs::write(self.namespace.etc().join("hosts"), text).expect("/etc is writable for root");
    }

    /// Adds a line to its `/etc/hosts`.
    ///
    /// # Panics
    /// When `/etc` is not writable.
    pub fn add_host(&self, address: Ipv4Addr, name: &str) {
        let path = self.namespace.etc().join("hosts");
        let text = fs::read_to_string(&path).expect("the machine has a hosts file");
        fs::write(path, format!("{text}{address} {name}\n")).expect("/etc is writable for root");
    }

    /// A command on this machine, where `consul` is the binary under test.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.namespace.command("unshare");
        // A host name of its own, for agents that are not given a node name.
        command.args(["--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\"", &self.name, program]);
        command.env("PATH", &self.path).current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    /// Runs a shell command to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn sh(&self, command: &str) -> Output {
        self.command("sh").args(["-c", command]).output().expect("sh is there")
    }

    /// What a shell command printed on stdout, without the last line's end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn stdout(&self, command: &str) -> String {
        String::from_utf8_lossy(&self.sh(command).stdout).trim_end().to_owned()
    }

    /// Starts `consul agent` with the machine's directories and `arguments`; waits for its HTTP API.
    ///
    /// # Panics
    /// When the API does not answer in time.
    pub fn start(&mut self, arguments: &[&str]) {
        self.launch(arguments);
        self.wait_for_http();
    }

    /// Starts `consul agent` with the machine's directories and `arguments`; waits for nothing.
    ///
    /// # Panics
    /// When one runs already.
    pub fn launch(&mut self, arguments: &[&str]) {
        self.prepare(arguments);
        self.relaunch();
    }

    /// Notes what [`Machine::launch`] would start, for [`Machine::restart`].
    pub fn prepare(&mut self, arguments: &[&str]) {
        let data = self.data().display().to_string();
        let all = ["agent", "-config-dir", "consul.d", "-data-dir", &data];
        let all = all.iter().chain(arguments);
        self.arguments = all.map(|argument| (*argument).to_owned()).collect();
    }

    /// Starts `consul agent` with nothing but `arguments`; waits for nothing.
    ///
    /// # Panics
    /// When one runs already.
    pub fn launch_exactly(&mut self, arguments: &[&str]) {
        let arguments = ["agent"].iter().chain(arguments);
        self.arguments = arguments.map(|argument| (*argument).to_owned()).collect();
        self.relaunch();
    }

    /// Starts the agent with the last arguments again and waits for nothing.
    ///
    /// # Panics
    /// When one runs already.
    pub fn relaunch(&mut self) {
        assert!(!self.is_running(), "an agent runs on {}", self.name);
        self.starts += 1;
        let log = self.log_path(self.starts);
        self.agent = Some(Process::start(self.command("consul").args(&self.arguments), &log));
    }

    /// Starts the agent with the last arguments again and waits for its HTTP API.
    ///
    /// # Panics
    /// When the API does not answer in time.
    pub fn restart(&mut self) {
        self.relaunch();
        self.wait_for_http();
    }

    /// Waits until the agent's HTTP API answers.
    ///
    /// # Panics
    /// When it does not in time, or the agent ended.
    pub fn wait_for_http(&mut self) {
        let name = self.name.clone();
        within(START, &format!("{name}'s HTTP API"), || {
            assert!(self.is_running(), "the agent on {name} ended:\n{}", self.log());
            self.get("/v1/agent/self").is_ok_and(|answer| answer.status.is_success()).then_some(())
        });
    }

    /// Whether its agent runs.
    pub fn is_running(&mut self) -> bool {
        self.agent.as_mut().is_some_and(Process::is_running)
    }

    /// kill -9.
    ///
    /// # Panics
    /// When no agent runs.
    pub fn kill(&mut self) {
        self.agent.take().expect("an agent runs").kill();
    }

    /// Sends a signal to the agent.
    ///
    /// # Panics
    /// When no agent runs.
    pub fn signal(&self, signal: Signal) {
        self.agent.as_ref().expect("an agent runs").signal(signal);
    }

    /// Sends a signal that ends the agent: its exit code.
    ///
    /// # Panics
    /// When the agent has not ended after twenty seconds.
    pub fn end(&mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.agent.take().expect("an agent runs").wait(Duration::from_secs(20)).code()
    }

    /// Forgets everything the agent kept; it must not run.
    ///
    /// # Panics
    /// When an agent runs.
    pub fn wipe(&mut self) {
        assert!(!self.is_running(), "an agent runs on {}", self.name);
        for entry in fs::read_dir(self.data()).into_iter().flatten().flatten() {
            let path = entry.path();
            let removed =
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.expect("the data directory is ours");
        }
    }

    /// What the agent has printed since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path(self.starts)).unwrap_or_default()
    }

    /// What the machine's agents have printed since the machine was made.
    pub fn logs(&self) -> String {
        (1..=self.starts)
            .map(|start| fs::read_to_string(self.log_path(start)).unwrap_or_default())
            .collect()
    }

    fn log_path(&self, start: usize) -> PathBuf {
        self.dir.join(format!("agent-{start}.log"))
    }

    /// A client on this machine.
    pub fn local(&self) -> Local {
        let handle = self.runtime.as_ref().expect("it ends in drop").handle().clone();
        Local::new(handle, self.client.clone())
    }

    /// GET on this machine, `path` with its query.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn get(&self, path: &str) -> Result<Answer, String> {
        self.local().request(Method::GET, path, "")
    }

    /// GET on this machine: the body as JSON, null when there is no such answer.
    pub fn get_json(&self, path: &str) -> Value {
        let answer = self.get(path).ok().filter(|answer| answer.status.is_success());
        answer.and_then(|answer| answer.json().ok()).unwrap_or(Value::Null)
    }

    /// The agent's own id, null while it does not answer.
    pub fn node_id(&self) -> Value {
        self.get_json("/v1/agent/self")["Config"]["NodeID"].clone()
    }

    /// PUT on this machine: the body of the answer, or why there is none.
    pub fn put(&self, path: &str, body: &str) -> String {
        let answer = self.local().request(Method::PUT, path, body);
        answer.map_or_else(|reason| reason, |answer| answer.text())
    }
}

/// The socket for proofs of network faults.
fn bind_probe(namespace: &Namespace, address: Ipv4Addr) -> UdpSocket {
    let probe = namespace.inside(|| UdpSocket::bind((address, 9)).expect("the port is free"));
    probe.set_nonblocking(true).expect("a socket can be set");
    probe
}

impl Drop for Machine {
    /// `LICTOR_KEEP` names a directory that a failed test copies the logs of its machines to.
    fn drop(&mut self) {
        if let Some(kept) = std::env::var_os("LICTOR_KEEP").filter(|_| std::thread::panicking()) {
            let kept = Path::new(&kept).join(&self.name);
            fs::create_dir_all(&kept).ok();
            for start in 1..=self.starts {
                fs::copy(self.log_path(start), kept.join(format!("agent-{start}.log"))).ok();
            }
        }
        // Requests that still wait are of no interest to anybody.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
