//! Servers that come back elsewhere, under the names that they had: all of them after a minute, or
//! one while the others take writes.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use harness::{Machine, Network, fault::net, wait::pause, within};
use http::Method;
use nix::sys::signal::Signal;
use serde_json::json;

/// How long the servers are away.
const AWAY: Duration = Duration::from_secs(60);
/// The status of a member that answers.
const ALIVE: u8 = 1;
/// When a server that moved must have what was written meanwhile.
const SOON: Duration = Duration::from_secs(10);
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

/// Starts three servers and a client agent with a service, and waits until it is served.
fn start(network: &Network) -> Vec<Machine> {
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
    machines
}

#[test]
fn clients_are_served_again_when_all_servers_come_back_under_other_addresses() {
    let Some(network) = Network::new() else { return };
    let mut machines = start(&network);
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

/// A server goes, under writes, and is there again at another address: once in order, once silent from
/// one moment to the next, as when a pod's network is taken away. The others hear of it long before
/// gossip gives up the old address.
#[test]
fn a_server_that_moves_under_writes_soon_has_them_all() {
    let Some(network) = Network::new() else { return };
    let mut machines = start(&network);
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = stop.clone();
    let (runner, local) = (machines[3].local(), machines[3].local());
    let writing = runner.spawn(async move {
        let mut written = 0_u64;
        while !stopping.load(Ordering::Relaxed) {
            let path = format!("/v1/kv/moved/{written}");
            let answer = local.send(Method::PUT, &path, "1".repeat(300), SOON).await;
            written += u64::from(answer.is_ok_and(|answer| answer.text() == "true"));
        }
        written
    });
    for (moved, last, in_order) in [(0, 11, true), (1, 12, false)] {
        if in_order {
            machines[moved].end(Signal::SIGTERM);
        } else {
            silence(&mut machines, moved);
        }
        machines[moved].change_address(address(last));
        machines.iter().for_each(net::heal);
        let now = [0, 1, 2].map(|number: usize| machines[number].address());
        name_servers(&machines, now);
        machines[moved].relaunch();
        machines[moved].wait_for_http();
        let started = Instant::now();
        let path = format!("/v1/kv/after/{moved}");
        within(SOON, "a write", || (machines[2].put(&path, "1") == "true").then_some(()));
        within(SOON, "the server that moved to be ready", || {
            let ready = machines[moved].get("/v1/agent/ready");
            ready.is_ok_and(|answer| answer.status.is_success()).then_some(())
        });
        println!("ready after {:.1} s", started.elapsed().as_secs_f32());
        let path = format!("{path}?stale&raw");
        // The leader is heard at once; it replicates after the pause that follows its last failure.
        within(SOON, "the write on the server that is ready", || {
            machines[moved].get(&path).is_ok_and(|answer| answer.text() == "1").then_some(())
        });
        within(BACK, "everybody to know the new address", || {
            let moved = machines[moved].address().to_string();
            let knows = |machine: &Machine| {
                let members = machine.get_json("/v1/agent/members");
                let mut members = members.as_array().into_iter().flatten();
                members.any(|member| member["Addr"] == moved && member["Status"] == ALIVE)
            };
            machines.iter().all(knows).then_some(())
        });
    }
    stop.store(true, Ordering::Relaxed);
    let written = runner.run(async { writing.await.unwrap() });
    assert!(written > 100, "writes went on meanwhile: {written}");
}

/// Takes a server away without a sign.
fn silence(machines: &mut [Machine], number: usize) {
    let (one, others): (Vec<_>, Vec<_>) =
        machines.iter().enumerate().partition(|(other, _)| *other == number);
    let machine = |(_, machine)| machine;
    let one: Vec<&Machine> = one.into_iter().map(machine).collect();
    let others: Vec<&Machine> = others.into_iter().map(machine).collect();
    net::partition(&one, &others).unwrap();
    machines[number].kill();
}

/// Whether the client's own service is found, with its node in good health, by HTTP and by DNS.
fn is_found(client: &Machine) -> bool {
    let rows = client.get_json("/v1/health/service/web?passing");
    let dig = "dig @127.0.0.1 -p 8600 web.service.consul +short +tries=1 +time=2";
    rows.as_array().is_some_and(|rows| rows.len() == 1) && client.stdout(dig) == "10.0.0.4"
}
