//! s3: getting started: members, services from files, DNS, and an echo service behind two proxies.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::Command,
    time::Duration,
};

use harness::{Agent, Process, binary::binary, ports, tools};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{soon, stays, text};

#[test]
fn s3_1_the_dev_agent_shows_itself_and_ends_on_interrupt() {
    let mut agent = Agent::dev(json!({}));
    let members = agent.cli_stdout(&["members"]);
    let header: Vec<&str> = members.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        header,
        ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Partition", "Segment"]
    );
    let row: Vec<&str> = members.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[2], row[3], row[6]), ("node1", "alive", "server", "dc1"), "{members}");
    assert!(agent.cli_stdout(&["members", "-detailed"]).lines().next().unwrap().ends_with("Tags"));
    let node = &agent.get_json("/v1/catalog/nodes")[0];
    assert_eq!(
        (&node["TaggedAddresses"]["lan"], &node["TaggedAddresses"]["wan"]),
        (&json!("127.0.0.1"), &json!("127.0.0.1"))
    );
    agent.process.signal(Signal::SIGINT);
    let status = agent.process.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(1), "a server does not leave on interrupt, it exits with 1");
}

fn web(agent: &Agent) {
    agent.write_config(
        "web.json",
        &json!({"service": {"name": "web", "tags": ["rails"], "port": 80}}),
    );
    agent.cli_stdout(&["reload"]);
    agent.wait_for_passing("web", 1);
}

/// Everything that row s3-3 asks of a service `web` with tag `rails` on port 80.
fn web_is_answered(agent: &Agent) {
    for name in ["web.service.consul", "rails.web.service.consul"] {
        assert_eq!(agent.dig(&["+short", name]), "127.0.0.1", "{name}");
    }
    let answer = agent.dig(&["web.service.consul", "SRV"]);
    assert!(answer.contains("IN\tSRV\t1 1 80 node1.node.dc1.consul."), "{answer}");
    assert!(answer.contains("node1.node.dc1.consul.\t0\tIN\tA\t127.0.0.1"), "{answer}");
    assert!(agent.dig(&["nope.web.service.consul"]).contains("status: NXDOMAIN"));
    for path in ["/v1/catalog/service/web", "/v1/health/service/web?passing"] {
        assert_eq!(agent.get_json(path).as_array().unwrap().len(), 1, "{path}");
    }
}

#[test]
fn s3_2_a_service_from_a_file_is_synced_and_passing() {
    let agent = Agent::dev(json!({"service": {"name": "web", "tags": ["rails"], "port": 80}}));
    agent.wait_for_passing("web", 1);
    assert!(agent.process.log().contains("Synced service: service=web"), "{}", agent.process.log());
}

#[test]
fn s3_3_a_service_is_answered_over_dns_and_http() {
    let agent = Agent::dev(json!({}));
    web(&agent);
    web_is_answered(&agent);
}

#[test]
fn s3_13_a_service_registered_over_http_is_answered_alike() {
    let agent = Agent::dev(json!({}));
    agent.put("/v1/agent/service/register", r#"{"Name":"web","Tags":["rails"],"Port":80}"#);
    agent.wait_for_passing("web", 1);
    web_is_answered(&agent);
}

#[test]
fn s3_7_a_name_outside_the_domain_is_refused_at_once() {
    let agent = Agent::dev(json!({}));
    assert!(agent.dig(&["node1"]).contains("status: REFUSED"));
    assert_eq!(agent.dig(&["+short", "NODE1.Node.CONSUL"]), "127.0.0.1");
}

#[test]
fn s3_9_a_changed_file_replaces_the_old_definition() {
    let agent = Agent::dev(json!({}));
    web(&agent);
    agent.write_config(
        "web.json",
        &json!({"service": {"name": "web", "port": 8080, "connect": {"sidecar_service": {}}}}),
    );
    agent.cli_stdout(&["reload"]);
    soon("the new definition", || {
        agent.dig(&["+short", "web.service.consul", "SRV"]).starts_with("1 1 8080 ")
            && agent.dig(&["rails.web.service.consul"]).contains("status: NXDOMAIN")
    });
    assert!(agent.get_json("/v1/agent/services").get("web-sidecar-proxy").is_some());
}

/// The tutorial's echo service on a port of its own, with a sidecar, and the means to reach it.
struct Echo {
    agent: Agent,
    port: u16,
    socat: Option<Process>,
    processes: Vec<Process>,
}

impl Echo {
    /// The agent with `socat` registered; neither socat nor its sidecar runs yet.
    fn registered() -> Self {
        let agent = Agent::dev(json!({}));
        let port = ports::free();
        agent.write_config(
            "socat.json",
            &json!({"service": {"name": "socat", "port": port, "connect": {"sidecar_service": {}}}}),
        );
        agent.cli_stdout(&["reload"]);
        Self { agent, port, socat: None, processes: Vec::new() }
    }

    /// With socat and its sidecar.
    fn running() -> Self {
        let mut echo = Self::registered();
        echo.start_socat();
        echo.proxy(&["-sidecar-for", "socat"]);
        echo.agent.wait_for_passing("socat-sidecar-proxy", 1);
        echo
    }

    fn start_socat(&mut self) {
        let listen = format!("TCP-LISTEN:{},bind=127.0.0.1,fork,reuseaddr", self.port);
        let log = self.agent.dir().join("socat.log");
        self.socat = Some(Process::start(Command::new("socat").args([&listen, "EXEC:cat"]), &log));
        soon("socat to listen", || echoes(self.port));
    }

    /// Starts `consul connect proxy` with these flags; its index among the processes.
    fn proxy(&mut self, flags: &[&str]) -> usize {
        let log = self.agent.dir().join(format!("proxy-{}.log", self.processes.len()));
        let mut command = Command::new(binary("lictor"));
        command.args(["connect", "proxy"]).args(flags);
        command.env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", self.agent.ports.http));
        self.processes.push(Process::start(&mut command, &log));
        self.processes.len() - 1
    }

    fn sidecar_port(&self) -> u16 {
        let service = self.agent.get_json("/v1/agent/service/socat-sidecar-proxy");
        u16::try_from(service["Port"].as_u64().unwrap()).unwrap()
    }
}

/// Whether `hello!` comes back.
fn echoes(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut answer = [0; 7];
    stream.write_all(b"hello!\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"hello!\n"
}

#[test]
fn s3_4_a_sidecar_is_registered_listens_and_passes() {
    let mut echo = Echo::registered();
    let services = echo.agent.get_json("/v1/agent/services");
    let first = u64::from(echo.agent.ports.sidecars);
    assert_eq!(services["socat-sidecar-proxy"]["Port"].as_u64(), Some(first), "{services}");
    let proxy = echo.proxy(&["-sidecar-for", "socat", "-log-level", "debug"]);
    soon("the proxy's first line", || {
        echo.processes[proxy].log().contains("==> Consul Connect proxy starting...")
    });
    let checks = || echo.agent.get_json("/v1/health/checks/socat-sidecar-proxy");
    harness::within(
        Duration::from_secs(15),
        "the check 'Connect Sidecar Listening' to pass",
        || {
            let checks = checks();
            let listening = checks
                .as_array()?
                .iter()
                .find(|check| check["Name"] == "Connect Sidecar Listening")?;
            (listening["Status"] == "passing").then_some(())
        },
    );
    echo.agent.write_config("other.json", &json!({"service": {"name": "other", "port": 1}}));
    echo.agent.process.signal(Signal::SIGHUP);
    echo.agent.wait_for_passing("other", 1);
}

#[test]
fn s3_5_a_proxy_of_an_unregistered_service_reaches_it_through_mutual_tls() {
    let mut echo = Echo::running();
    let local = ports::free();
    echo.proxy(&["-service", "web2", "-upstream", &format!("socat:{local}")]);
    soon("the echo through the mesh", || echoes(local));
    let nc = format!("echo hello! | nc -q1 127.0.0.1 {local}");
    assert_eq!(tools::stdout("sh", &["-c", &nc]), "hello!");
    assert!(echoes(echo.port), "the plain port is untouched");
    let address = format!("127.0.0.1:{}", echo.sidecar_port());
    let refused = format!(
        "(echo hello!; sleep 0.5) | openssl s_client -connect {address} -tls1_3 -quiet 2>&1"
    );
    let output = tools::stdout("sh", &["-c", &refused]);
    assert!(output.contains("certificate required") && !output.contains("hello!"), "{output}");
}

#[test]
fn s3_6_upstreams_of_a_registered_sidecar_work_the_same() {
    let mut echo = Echo::running();
    let local = ports::free();
    let upstreams = json!([{"destination_name": "socat", "local_bind_port": local}]);
    echo.agent.write_config(
        "web.json",
        &json!({"service": {"name": "web", "port": 8080, "connect": {"sidecar_service": {"proxy": {"upstreams": upstreams}}}}}),
    );
    echo.agent.cli_stdout(&["reload"]);
    echo.proxy(&["-sidecar-for", "web"]);
    soon("the echo through the mesh", || echoes(local));
    let service = echo.agent.get_json("/v1/agent/service/web-sidecar-proxy");
    let upstream: &Value = &service["Proxy"]["Upstreams"][0];
    assert_eq!(
        (upstream["DestinationName"].as_str(), upstream["LocalBindPort"].as_u64()),
        (Some("socat"), Some(local.into()))
    );
}

#[test]
fn s3_8_a_sidecar_waits_for_its_application() {
    let mut echo = Echo::registered();
    let sidecar = echo.proxy(&["-sidecar-for", "socat"]);
    let local = ports::free();
    echo.proxy(&["-service", "web2", "-upstream", &format!("socat:{local}")]);
    echo.agent.wait_for_passing("socat-sidecar-proxy", 1);
    let dials = |echo: &Echo| echo.processes[sidecar].log().matches("refused").count();
    soon("a refused dial in the log", || {
        assert!(!echoes(local));
        dials(&echo) > 0
    });
    assert!(echo.processes[sidecar].is_running());
    echo.start_socat();
    soon("the echo without a restart", || echoes(local));
}

#[test]
fn s3_10_a_port_in_use_is_named_and_nothing_else_suffers() {
    let mut echo = Echo::running();
    let local = ports::free();
    let first = echo.proxy(&["-service", "web2", "-upstream", &format!("socat:{local}")]);
    soon("the echo through the first proxy", || echoes(local));
    let second = echo.proxy(&["-service", "web3", "-upstream", &format!("socat:{local}")]);
    soon("the port in the log", || {
        let log = echo.processes[second].log();
        log.contains(&format!("127.0.0.1:{local}")) && log.contains("in use")
    });
    assert!(echoes(local), "the first proxy keeps serving");
    echo.processes[first].kill();
    echo.processes[second].kill();
    echo.proxy(&["-service", "web3", "-upstream", &format!("socat:{local}")]);
    soon("the echo through the next proxy", || echoes(local));
}

#[test]
fn s3_11_the_default_is_allow_and_an_intention_closes_the_way() {
    let mut echo = Echo::running();
    let local = ports::free();
    echo.proxy(&["-service", "web2", "-upstream", &format!("socat:{local}")]);
    soon("the echo on a fresh agent", || echoes(local));
    let mut open = TcpStream::connect((Ipv4Addr::LOCALHOST, local)).unwrap();
    open.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    open.write_all(b"x\n").unwrap();
    open.read_exact(&mut [0; 2]).unwrap();
    assert_eq!(
        echo.agent.cli_stdout(&["intention", "create", "-deny", "web2", "socat"]),
        "Created: web2 => socat (deny)"
    );
    assert!(matches!(open.read(&mut [0; 1]), Ok(0) | Err(_)), "the open connection is closed");
    soon("new connections to be refused", || !echoes(local));
    stays("refused", || !echoes(local));
    assert_eq!(
        echo.agent.cli_stdout(&["intention", "delete", "web2", "socat"]),
        "Intention deleted."
    );
    soon("the echo again", || echoes(local));
}

#[test]
fn s3_4_a_name_without_a_sidecar_is_an_error_at_once() {
    let agent = Agent::dev(json!({}));
    let output = agent.cli(&["connect", "proxy", "-sidecar-for", "nope"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("No sidecar proxy registered for nope"), "{}", text(&output));
}
