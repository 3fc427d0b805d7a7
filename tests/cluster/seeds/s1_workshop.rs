//! s1: the workshop's four hosts, three servers that elect a leader and a fourth that joins.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use harness::{Machine, Network, wait::pause, within};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{all_alive, catalog, ip, leader, soon, wait_for_leader};

const NAMES: [&str; 4] = [
    "front.workshop.example",
    "back01.workshop.example",
    "back02.workshop.example",
    "back03.workshop.example",
];
const ADDRESSES: [&str; 4] =
    ["192.168.100.101", "192.168.100.111", "192.168.100.112", "192.168.100.113"];

/// The four hosts with the workshop's files; `servers` of them run servers, the rest clients.
fn hosts(network: &Network, servers: usize) -> Vec<Machine> {
    (0..4)
        .map(|number| {
            let machine = network.machine(NAMES[number], ip(ADDRESSES[number]));
            let mut config = json!({"bind_addr": ADDRESSES[number], "client_addr": "0.0.0.0"});
            config["server"] = json!(number < servers);
            if number == 0 {
                config["bootstrap_expect"] = json!(3);
            }
            machine.write_config("default.json", &config);
            machine
        })
        .collect()
}

fn join(machine: &Machine) {
    assert_eq!(
        machine.stdout("consul join 192.168.100.101"),
        "Successfully joined cluster by contacting 1 nodes."
    );
}

/// Starts and joins all four.
fn workshop(network: &Network, servers: usize) -> Vec<Machine> {
    let mut hosts = hosts(network, servers);
    for (number, host) in hosts.iter_mut().enumerate() {
        host.start(&[]);
        if number > 0 {
            join(host);
        }
    }
    for host in &hosts {
        wait_for_leader(host);
    }
    hosts
}

fn peers(machine: &Machine) -> usize {
    machine.get_json("/v1/status/peers").as_array().map_or(0, Vec::len)
}

#[test]
fn s1_2_and_s1_3_a_leader_is_elected_when_the_third_server_has_joined() {
    let Some(network) = Network::new() else { return };
    let mut hosts = hosts(&network, 4);
    hosts[0].start(&[]);
    let complaints = |machine: &Machine| machine.log().matches("No cluster leader").count();
    for number in 1..4 {
        if number < 3 {
            let before = complaints(&hosts[0]);
            within(Duration::from_secs(60), "front to miss a leader", || {
                (complaints(&hosts[0]) > before).then_some(())
            });
            assert_eq!(leader(&hosts[0]), "");
        }
        hosts[number].start(&[]);
        join(&hosts[number]);
        for host in &hosts[..=number] {
            all_alive(host, &NAMES[..=number]);
        }
        if number == 2 {
            for host in &hosts[..3] {
                wait_for_leader(host);
                soon("the leader's line in the log", || host.log().contains("New leader elected"));
                assert_eq!(host.log().matches("New leader elected").count(), 1);
            }
        }
    }
    soon("four peers", || hosts.iter().all(|host| peers(host) == 4));
}

#[test]
fn s1_4_host_names_with_dots_resolve_from_every_node() {
    let Some(network) = Network::new() else { return };
    let hosts = workshop(&network, 4);
    for host in &hosts {
        soon("front's address", || {
            let command =
                "dig @127.0.0.1 -p 8600 front.workshop.example.node.consul +short +tries=1";
            host.stdout(command) == ADDRESSES[0]
        });
    }
}

#[test]
fn s1_5_another_server_leads_when_the_leader_stops_and_it_comes_back_as_a_follower() {
    let Some(network) = Network::new() else { return };
    let mut hosts = workshop(&network, 4);
    let first: Ipv4Addr = wait_for_leader(&hosts[0]).parse().unwrap();
    let old = hosts.iter().position(|host| host.address() == first).unwrap();
    let other = usize::from(old == 0);
    hosts[old].end(Signal::SIGTERM);
    within(Duration::from_secs(10), "another leader", || {
        let now = leader(&hosts[other]);
        (!now.is_empty() && now != format!("{first}:8300")).then_some(())
    });
    soon("a write", || hosts[other].put("/v1/kv/while-away", "x") == "true");
    hosts[old].restart();
    soon("the value on the old leader", || {
        hosts[old]
            .get("/v1/kv/while-away?raw&stale")
            .is_ok_and(|answer| answer.status.is_success() && answer.text() == "x")
    });
    for line in ["New leader elected", "Synced"] {
        soon(line, || hosts[old].log().contains(line));
    }
    assert_ne!(leader(&hosts[old]), format!("{first}:8300"));
}

#[test]
fn s1_6_a_client_never_leads() {
    let Some(network) = Network::new() else { return };
    let mut hosts = workshop(&network, 3);
    let client = format!("{}:8300", ADDRESSES[3]);
    let is_clean = |host: &Machine| {
        leader(host) != client
            && !host.stdout("curl -s localhost:8500/v1/status/peers").contains(&client)
    };
    for number in 0..3 {
        hosts[number].end(Signal::SIGTERM);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            assert!(hosts[number + 1..].iter().all(is_clean));
            pause(Duration::from_millis(200));
        }
    }
}

#[test]
fn s1_15_a_server_without_the_others_restarts_at_once() {
    let Some(network) = Network::new() else { return };
    let mut hosts = hosts(&network, 4);
    hosts[0].start(&[]);
    let started = Instant::now();
    hosts[0].end(Signal::SIGTERM);
    hosts[0].restart();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(hosts[0].is_running());
}

#[test]
fn s1_16_every_server_lists_all_nodes() {
    let Some(network) = Network::new() else { return };
    let hosts = workshop(&network, 4);
    for host in &hosts {
        soon("four nodes", || catalog(host).len() == 4);
        let nodes = catalog(host);
        for (name, address) in NAMES.iter().zip(ADDRESSES) {
            assert_eq!(nodes[*name], address);
        }
    }
}
