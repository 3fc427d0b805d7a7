//! s4: the binary in an image FROM scratch, flags, leader line, healthy instances only.

use std::{collections::BTreeSet, process::Command, time::Duration};

use harness::{Agent, Process, binary::binary, eventually, ports, tools};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{Web, in_scratch, soon, text};

/// Flags for an agent on ports of its own that has no configuration file to read.
fn port_flags(http: u16) -> Vec<String> {
    vec![
        format!("-http-port={http}"),
        format!("-dns-port={}", ports::free()),
        "-grpc-port=-1".to_owned(),
        "-grpc-tls-port=-1".to_owned(),
        format!("-server-port={}", ports::free()),
    ]
}

/// The same, with a port for gossip too: the default is that of the one test that shows it.
fn all_port_flags(http: u16) -> Vec<String> {
    let gossip = [format!("-serf-lan-port={}", ports::free()), "-serf-wan-port=-1".to_owned()];
    [port_flags(http), gossip.to_vec()].concat()
}

fn wait_until_ready(http: u16) {
    let url = format!("http://127.0.0.1:{http}/v1/agent/ready");
    eventually("the agent to be ready", || {
        (tools::stdout("curl", &["-s", &url]) == "ready").then_some(())
    });
}

#[test]
fn s4_1_it_runs_as_process_1_with_nothing_around_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let http = ports::free();
    let mut arguments = vec!["agent".to_owned(), "-dev".to_owned(), "-node=node1".to_owned()];
    arguments.extend(all_port_flags(http));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(mut command) = in_scratch(&root, &arguments) else { return };
    let mut process = Process::start(&mut command, &dir.path().join("log"));
    wait_until_ready(http);
    // unshare waits for its child, which is process 1 of the namespace.
    let children = format!("/proc/{0}/task/{0}/children", process.id());
    let child = std::fs::read_to_string(children).unwrap();
    let child: i32 = child.split_whitespace().next().unwrap().parse().unwrap();
    kill(Pid::from_raw(child), Signal::SIGTERM).unwrap();
    let status = process.wait(Duration::from_secs(10));
    assert!(status.code().is_some_and(|code| code != 137), "{status:?}");
}

#[test]
fn s4_2_dashes_equals_and_blanks_mix_and_an_empty_file_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("consul.json");
    std::fs::write(&config, "{}").unwrap();
    let http = ports::free();
    let mut command = Command::new(binary("lictor"));
    command.args([
        "agent",
        "-node",
        "node1",
        "-advertise",
        "10.0.0.2",
        "-bind=127.0.0.1",
        "-data-dir",
    ]);
    command
        .arg(dir.path().join("data"))
        .arg("--config-file")
        .arg(&config)
        .args(["-server", "-bootstrap-expect=1"]);
    let _process = Process::start(command.args(port_flags(http)), &dir.path().join("log"));
    wait_until_ready(http);
    let members = Command::new(binary("lictor"))
        .args(["members", "-http-addr", &format!("127.0.0.1:{http}")])
        .output()
        .unwrap();
    let row = text(&members).lines().nth(1).unwrap().to_owned();
    assert!(row.starts_with("node1  10.0.0.2:8301  alive   server"), "{row}");
}

#[test]
fn s4_3_the_log_has_one_line_that_names_the_leader() {
    let agent = Agent::dev(json!({}));
    let found: Vec<String> = agent
        .process
        .log()
        .lines()
        .filter_map(|line| line.find("New leader elected").map(|at| line[at..].to_owned()))
        .collect();
    assert_eq!(found, ["New leader elected: node1"]);
}

#[test]
fn s4_7_dns_has_the_healthy_instances_in_random_order() {
    let agent = Agent::dev(json!({}));
    let mut webs: Vec<Web> = (0..2).map(|_| Web::start(agent.dir(), "web", &[])).collect();
    let third = ports::free();
    let register = |id: usize, port: u16| {
        let service = json!({"ID": format!("web{id}"), "Name": "web", "Address": format!("127.0.1.{id}"), "Port": port,
            "Check": {"HTTP": format!("http://127.0.0.1:{port}/"), "Interval": "1s"}});
        agent.put("/v1/agent/service/register", &service.to_string());
    };
    register(1, webs[0].port);
    register(2, webs[1].port);
    register(3, third);
    agent.wait_for_passing("web", 2);
    let addresses = |agent: &Agent| {
        agent
            .dig(&["+short", "web.service.consul"])
            .lines()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    soon("two addresses", || addresses(&agent).len() == 2);
    webs.push(Web::start_on(third, agent.dir(), "web", &[]));
    soon("three addresses", || addresses(&agent).len() == 3);
    let orders: BTreeSet<String> =
        (0..20).map(|_| agent.dig(&["+short", "web.service.consul"])).collect();
    assert!(orders.len() > 1, "always the same order: {orders:?}");
    webs[0].stop();
    soon("two addresses", || {
        addresses(&agent) == BTreeSet::from(["127.0.1.2".to_owned(), "127.0.1.3".to_owned()])
    });
}

/// The tutorial's image has 28 MB, as its author saw it; ours may have 32 (deploy/images.sh holds the
/// same bound).
#[test]
fn s4_8_the_stripped_binary_stays_below_its_limit() {
    if cfg!(debug_assertions) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let stripped = dir.path().join("lictor");
    assert!(
        Command::new("strip")
            .arg("-o")
            .arg(&stripped)
            .arg(binary("lictor"))
            .status()
            .unwrap()
            .success()
    );
    let bytes = std::fs::metadata(stripped).unwrap().len();
    assert!(bytes <= 32_000_000, "{bytes} bytes");
}

#[test]
fn s4_11_localhost_resolves_in_an_empty_image() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let mut web = Web::start(dir.path(), "web", &[]);
    let http = ports::free();
    let service = json!({"service": {"name": "web", "check": {"http": format!("http://localhost:{}/", web.port), "interval": "1s"}}});
    let fragment = format!("-hcl={service}");
    let mut arguments =
        vec!["agent".to_owned(), "-dev".to_owned(), "-node=node1".to_owned(), fragment];
    arguments.extend(all_port_flags(http));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(mut command) = in_scratch(&root, &arguments) else { return };
    let _process = Process::start(&mut command, &dir.path().join("log"));
    wait_until_ready(http);
    let checks =
        || tools::stdout("curl", &["-s", &format!("http://127.0.0.1:{http}/v1/health/checks/web")]);
    soon("the check to pass", || checks().contains("\"passing\""));
    web.stop();
    soon("the connection error in Output", || {
        checks().contains("critical") && checks().contains("connection refused")
    });
}

#[test]
fn s4_12_a_service_and_its_check_may_have_the_same_id() {
    let agent = Agent::dev(json!({}));
    let mut web = Web::start(agent.dir(), "web", &[]);
    agent.write_config(
        "web.json",
        &json!({
            "services": [{"id": "web", "name": "web", "port": web.port}, {"id": "web2", "name": "web", "port": 1}],
            "checks": [{"id": "web", "name": "web", "service_id": "web", "http": web.url(), "interval": "1s", "timeout": "1s"}],
        }),
    );
    agent.cli_stdout(&["reload"]);
    agent.wait_for_passing("web", 2);
    let checks = agent.get_json("/v1/health/checks/web");
    let check = &checks[0];
    assert_eq!(
        (&check["CheckID"], &check["Name"], &check["ServiceID"]),
        (&json!("web"), &json!("web"), &json!("web"))
    );
    web.stop();
    soon("only that instance to be out", || {
        let passing = agent.get_json("/v1/health/service/web?passing");
        passing.as_array().is_some_and(|rows| rows.len() == 1 && rows[0]["Service"]["ID"] == "web2")
    });
}
