//! All servers are away for a minute and come back elsewhere, under the names that they had.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use harness::{Machine, Network, wait::pause, within};
use serde_json::json;

/// How long the servers are away.
const AWAY: Duration = Duration::from_secs(60);
/// When clients must be served again after that.
const BACK: Duration = Duration::from_secs(30);

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

/// Every machine finds the servers under these addresses.
fn name_servers(machines: &[Machine], addresses: [Ipv4Addr; 3]) {
    for machine in machines {
        let others = ["server1.mesh", "server2.mesh", "server3.mesh"];
        let own = (machine.address(), machine.name());
        machine.write_hosts(addresses.into_iter().zip(others).chain([own]));
    }
}

#[test]
fn clients_are_served_again_when_all_servers_come_back_under_other_addresses() {
    let Some(network) = Network::new() else { return };
    let names = ["server1", "server2", "server3", "client"];
    let mut machines: Vec<Machine> =
        (1..).zip(names).map(|(last, name)| network.machine(name, address(last))).collect();
    name_servers(&machines, [address(1), address(2), address(3)]);
    for (number, machine) in machines.iter_mut().enumerate() {
        let mut config = json!({
            "retry_join": ["server1.mesh", "server2.mesh", "server3.mesh"],
            "performance": {"raft_multiplier": 1},
        });
        if number < 3 {
            config["server"] = json!(true);
            config["bootstrap_expect"] = json!(3);
        } else {
            config["services"] = json!([{"name": "web", "port": 80}]);
        }
        machine.write_config("cluster.json", &config);
        machine.launch(&[]);
    }
    within(Duration::from_secs(60), "a write through the client", || {
        (machines[3].put("/v1/kv/before", "1") == "true").then_some(())
    });
    within(BACK, "the client's service", || is_found(&machines[3]).then_some(()));

    for machine in &mut machines[..3] {
        machine.kill();
    }
    let stopped = Instant::now();
    for (machine, last) in machines[..3].iter_mut().zip(11..) {
        machine.change_address(address(last));
    }
    assert!(!machines[3].get("/v1/kv/before").is_ok_and(|answer| answer.status.is_success()));
    name_servers(&machines, [address(11), address(12), address(13)]);
    pause(AWAY.saturating_sub(stopped.elapsed()));

    for number in [2, 0, 1] {
        machines[number].relaunch();
    }
    let started = Instant::now();
    within(BACK, "a write through the client", || {
        (machines[3].put("/v1/kv/after", "2") == "true").then_some(())
    });
    let left = BACK.saturating_sub(started.elapsed());
    within(left, "the client's service and its health", || is_found(&machines[3]).then_some(()));
    assert_eq!(machines[3].get("/v1/kv/before?raw").unwrap().text(), "1");
    println!("served again after {:.1} s", started.elapsed().as_secs_f32());
}

/// Whether the client's own service is found, with its node in good health, by HTTP and by DNS.
fn is_found(client: &Machine) -> bool {
    let rows = client.get_json("/v1/health/service/web?passing");
    let dig = "dig @127.0.0.1 -p 8600 web.service.consul +short +tries=1 +time=2";
    rows.as_array().is_some_and(|rows| rows.len() == 1) && client.stdout(dig) == "10.0.0.4"
}
