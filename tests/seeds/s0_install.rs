//! s0: install, DNS behind a resolver, script checks.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use harness::{Agent, Process, binary::binary, eventually, ports, tools};
use serde_json::json;

use crate::{Web, in_scratch, soon, text};

#[test]
fn s0_1_one_file_moved_anywhere_runs() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut command) = in_scratch(dir.path(), &["version"]) else { return };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).starts_with("Consul v"), "{}", text(&output));
}

#[test]
fn s0_4_a_node_is_answered_with_authority_and_without_recursion() {
    let agent = Agent::dev(json!({}));
    let answer = agent.dig(&["node1.node.consul"]);
    assert!(answer.contains("status: NOERROR"), "{answer}");
    assert!(answer.contains("flags: qr aa rd;"), "{answer}");
    assert!(answer.contains("recursion requested but not available"), "{answer}");
    assert!(answer.contains("node1.node.consul.\t0\tIN\tA\t127.0.0.1"), "{answer}");
}

#[test]
fn s0_4_a_resolver_that_forwards_to_us_answers() {
    if !tools::has("unbound") {
        return;
    }
    let agent = Agent::dev(json!({}));
    let port = ports::free();
    let config = agent.dir().join("unbound.conf");
    fs::write(
        &config,
        format!(
            "server:\n interface: 127.0.0.1@{port}\n port: {port}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n \
             pidfile: \"\"\n directory: \"{dir}\"\n use-syslog: no\n do-not-query-localhost: no\n \
             domain-insecure: \"consul\"\n module-config: \"iterator\"\n do-ip6: no\n \
             root-hints: \"\"\n\
             remote-control:\n control-enable: no\n\
             stub-zone:\n name: \"node.consul.\"\n stub-addr: 127.0.0.1@{dns}\n",
            dir = agent.dir().display(),
            dns = agent.ports.dns,
        ),
    )
    .unwrap();
    let log = agent.dir().join("unbound.log");
    let _unbound = Process::start(Command::new("unbound").arg("-c").arg(&config), &log);
    let port = port.to_string();
    eventually("the answer through unbound", || {
        let answer = tools::stdout(
            "dig",
            &["@127.0.0.1", "-p", &port, "+tries=1", "+time=1", "+short", "node1.node.consul"],
        );
        (answer == "127.0.0.1").then_some(())
    });
}

#[test]
fn s0_5_every_node_has_its_addresses_and_indexes() {
    let agent = Agent::dev(json!({}));
    let nodes = eventually("the agent's own node", || {
        let nodes = agent.get_json("/v1/catalog/nodes");
        (nodes.as_array().unwrap().len() == 1).then_some(nodes)
    });
    let node = &nodes[0];
    assert_eq!(node["Node"], "node1");
    assert_eq!(node["TaggedAddresses"]["wan"], "127.0.0.1");
    assert!(node["CreateIndex"].as_u64().unwrap() > 0 && node["ModifyIndex"].as_u64().unwrap() > 0);
}

#[test]
fn s0_8_dns_can_be_on_port_53() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let _agent = Agent::dev(json!({"addresses": {"dns": "127.53.0.8"}, "ports": {"dns": 53}}));
    for extra in [&[][..], &["+tcp"][..]] {
        let mut arguments = vec!["@127.53.0.8", "+short", "node1.node.consul"];
        arguments.extend_from_slice(extra);
        assert_eq!(tools::stdout("dig", &arguments), "127.0.0.1", "{extra:?}");
    }
}

#[test]
fn s0_8_without_the_right_to_port_53_the_error_names_it() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("lictor");
    fs::copy(binary("lictor"), &copy).unwrap();
    let http = format!("-http-port={}", ports::free());
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ])
        .arg(&copy)
        .args([
            "agent",
            "-dev",
            "-client=127.53.0.9",
            "-dns-port=53",
            "-grpc-port=-1",
            "-grpc-tls-port=-1",
            &http,
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("127.53.0.9:53") && text(&output).contains("permission denied"),
        "{}",
        text(&output)
    );
}

/// web.json of the tutorial, with a check that asks `url`.
fn web_json(url: &str) -> serde_json::Value {
    json!({"service": {"name": "web", "port": 80, "tags": ["nginx"],
        "check": {"script": format!("curl -sf {url} >/dev/null"), "interval": "1s"}}})
}

#[test]
fn s0_10_a_file_dropped_in_is_registered_at_the_next_reload() {
    let agent = Agent::dev(json!({"enable_local_script_checks": true}));
    agent.write_config("web.json", &web_json("http://127.0.0.1:1/"));
    assert_eq!(agent.cli_stdout(&["reload"]), "Configuration reload triggered");
    let check =
        eventually("the check of web", || agent.get_json("/v1/health/checks/web").get(0).cloned());
    assert_eq!(
        (check["CheckID"].as_str(), check["Name"].as_str()),
        (Some("service:web"), Some("Service 'web' check"))
    );
}

#[test]
fn s0_10_without_the_switch_the_refusal_names_it() {
    let agent = Agent::dev(json!({}));
    agent.write_config("web.json", &web_json("http://127.0.0.1:1/"));
    let output = agent.cli(&["reload"]);
    assert!(!output.status.success());
    assert!(text(&output).contains("enable_local_script_checks"), "{}", text(&output));
    assert_eq!(agent.get("/v1/health/checks/web"), "[]", "nothing is half-registered");
}

#[test]
fn s0_11_a_service_leaves_dns_when_it_stops_and_returns_when_it_starts() {
    let agent = Agent::dev(json!({"enable_local_script_checks": true}));
    let mut web = Web::start(agent.dir(), "web", &[]);
    agent.write_config("web.json", &web_json(&web.url()));
    agent.cli_stdout(&["reload"]);
    agent.wait_for_passing("web", 1);
    let answer = agent.dig(&["web.service.consul"]);
    assert!(answer.contains("web.service.consul.\t0\tIN\tA\t127.0.0.1"), "{answer}");
    let answer = agent.dig(&["web.service.consul", "SRV"]);
    assert!(answer.contains("IN\tSRV\t1 1 80 node1.node.dc1.consul."), "{answer}");
    web.stop();
    soon("NXDOMAIN", || agent.dig(&["web.service.consul"]).contains("status: NXDOMAIN"));
    web.restart();
    soon("both answers", || {
        agent.dig(&["+short", "web.service.consul"]) == "127.0.0.1"
            && agent.dig(&["+short", "web.service.consul", "SRV"]).starts_with("1 1 80 ")
    });
}
