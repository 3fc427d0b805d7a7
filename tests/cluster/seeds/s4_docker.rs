//! s4: three hosts, one server and two clients, restarted as containers are.

use std::time::{Duration, Instant};

use harness::{Machine, Network};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{all_alive, ip, members, soon, statuses, wait_for_leader};

const NAMES: [&str; 3] = ["node1", "node2", "node3"];

/// The three hosts; all know `node1` by its name.
fn hosts(network: &Network) -> Vec<Machine> {
    let hosts: Vec<Machine> =
        (0..3).map(|number| network.machine(NAMES[number], ip(&address(number)))).collect();
    for host in &hosts[1..] {
        host.add_host(ip("10.0.0.2"), "node1");
    }
    for host in &hosts {
        host.write_config("consul.json", &json!({}));
    }
    hosts
}

fn address(number: usize) -> String {
    format!("10.0.0.{}", number + 2)
}

/// The tutorial's command line of a host.
fn launch(hosts: &mut [Machine], number: usize) {
    let (address, data) = (address(number), hosts[number].data().display().to_string());
    let file = hosts[number].dir().join("consul.d/consul.json").display().to_string();
    let mut flags = vec!["-node", NAMES[number], "-advertise", &address];
    flags.extend(["-data-dir", &data, "--config-file", &file]);
    let role: &[&str] =
        if number == 0 { &["-server", "-bootstrap-expect=1"] } else { &["-join", "node1"] };
    flags.extend(role);
    hosts[number].launch_exactly(&flags);
}

fn cluster(network: &Network) -> Vec<Machine> {
    let mut hosts = hosts(network);
    for number in 0..3 {
        launch(&mut hosts, number);
    }
    for host in &mut hosts {
        host.wait_for_http();
    }
    for host in &hosts {
        all_alive(host, &NAMES);
    }
    wait_for_leader(&hosts[0]);
    hosts
}

#[test]
fn s4_2_s4_4_s4_5_and_s4_15_the_tutorials_commands_make_a_cluster_and_every_node_answers_alike() {
    let Some(network) = Network::new() else { return };
    let hosts = cluster(&network);
    for host in &hosts {
        let rows = members(host);
        let names: Vec<&str> = rows.iter().map(|row| row["Node"].as_str()).collect();
        assert_eq!(names, NAMES, "server first");
        assert_eq!(rows[0]["Address"], "10.0.0.2:8301");
        let kinds: Vec<&str> = rows.iter().map(|row| row["Type"].as_str()).collect();
        assert_eq!(kinds, ["server", "client", "client"]);
        let segments: Vec<&str> = rows.iter().map(|row| row["Segment"].as_str()).collect();
        assert_eq!(segments, ["<all>", "<default>", "<default>"]);
        let header = host.stdout("consul members");
        assert!(header.lines().next().unwrap().trim_end().ends_with("Segment"), "{header}");
        for number in 0..3 {
            let command =
                format!("dig @127.0.0.1 -p 8600 node{}.node.consul +short +tries=1", number + 1);
            soon(&command, || host.stdout(&command) == address(number));
        }
    }
}

#[test]
fn s4_6_a_restart_keeps_members_and_services_and_a_new_identity_may_have_an_old_name() {
    let Some(network) = Network::new() else { return };
    let mut hosts = hosts(&network);
    let config = json!({
        "services": [{"id": "web", "name": "web", "port": 8080}],
        "checks": [{"id": "web", "name": "web", "service_id": "web", "ttl": "1h", "status": "passing"}],
    });
    for number in 0..3 {
        hosts[number].write_config("consul.json", &config);
        launch(&mut hosts, number);
    }
    for host in &mut hosts {
        host.wait_for_http();
    }
    let instances =
        |host: &Machine| host.get_json("/v1/catalog/service/web").as_array().map_or(0, Vec::len);
    soon("three instances", || instances(&hosts[0]) == 3);
    hosts[0].end(Signal::SIGTERM);
    launch(&mut hosts, 0);
    hosts[0].wait_for_http();
    all_alive(&hosts[0], &NAMES);
    soon("three instances again", || instances(&hosts[0]) == 3);
    // A container made anew: no data, another service, the same name.
    let before = hosts[1].node_id();
    hosts[1].end(Signal::SIGKILL);
    hosts[1].wipe();
    hosts[1].write_config(
        "consul.json",
        &json!({"services": [{"id": "api", "name": "api", "port": 9090}]}),
    );
    launch(&mut hosts, 1);
    hosts[1].wait_for_http();
    assert_ne!(hosts[1].node_id(), before);
    for host in &hosts {
        all_alive(host, &NAMES);
    }
    soon("the old service to be replaced", || {
        let services = hosts[0].get_json("/v1/catalog/node/node2");
        let services = services["Services"].as_object();
        services.is_some_and(|all| all.contains_key("api") && !all.contains_key("web"))
    });
    for host in &hosts {
        assert!(!host.logs().contains("is reserved"), "{}", host.logs());
    }
}

#[test]
fn s4_9_joining_by_hand_afterwards_works() {
    let Some(network) = Network::new() else { return };
    let mut hosts = hosts(&network);
    launch(&mut hosts, 0);
    hosts[0].wait_for_http();
    hosts[1].start(&["-node", "node2", "-advertise", "10.0.0.3"]);
    assert_eq!(
        hosts[1].stdout("consul join node1"),
        "Successfully joined cluster by contacting 1 nodes."
    );
    for host in &hosts[..2] {
        all_alive(host, &NAMES[..2]);
    }
}

#[test]
fn s4_10_ten_restarts_in_any_order_need_nobody() {
    let Some(network) = Network::new() else { return };
    let mut hosts = cluster(&network);
    for round in 0..10 {
        let order = [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [2, 0, 1]][round % 5];
        for number in order {
            let started = Instant::now();
            hosts[number].end(Signal::SIGTERM);
            assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
            launch(&mut hosts, number);
        }
        for host in &mut hosts {
            host.wait_for_http();
        }
        all_alive(&hosts[0], &NAMES);
        assert_eq!(wait_for_leader(&hosts[0]), "10.0.0.2");
    }
}

#[test]
fn s4_13_an_advertised_address_is_enough_on_a_host_with_several() {
    let Some(network) = Network::new() else { return };
    let mut hosts = hosts(&network);
    for command in [
        ["link", "add", "docker0", "type", "bridge"].as_slice(),
        &["addr", "add", "172.17.0.1/16", "dev", "docker0"],
        &["link", "set", "docker0", "up"],
    ] {
        hosts[0].namespace().ip(command);
    }
    launch(&mut hosts, 0);
    hosts[0].wait_for_http();
    soon("node1 in the catalog", || {
        super::catalog(&hosts[0]).get("node1").is_some_and(|address| address == "10.0.0.2")
    });
    assert!(!hosts[0].log().contains("Multiple private IPv4"));
}

#[test]
fn s4_14_the_order_of_starts_does_not_matter() {
    let Some(network) = Network::new() else { return };
    let mut hosts = hosts(&network);
    launch(&mut hosts, 1);
    hosts[1].wait_for_http();
    assert!(!statuses(&hosts[1]).contains_key("node1"));
    launch(&mut hosts, 0);
    hosts[0].wait_for_http();
    for host in &hosts[..2] {
        all_alive(host, &NAMES[..2]);
    }
}
