//! Every fault of the harness on one server: it happens, it ends, and the server is what it was.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use harness::{
    Machine, Network,
    fault::{clock, cpu::Starved, disk::Disk, net, process},
    within,
};

const SERVER: [&str; 2] = ["-server", "-bootstrap-expect=1"];

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

/// Waits until the server takes a write.
fn writes(machine: &Machine, value: &str) {
    within(Duration::from_secs(20), "a write", || {
        (machine.put("/v1/kv/key", value) == "true").then_some(())
    });
    assert_eq!(machine.get("/v1/kv/key?raw").unwrap().text(), value);
}

#[test]
fn a_killed_and_a_paused_server_go_on() {
    let Some(network) = Network::new() else { return };
    let mut server = network.machine("node1", address(2));
    server.start(&SERVER);
    writes(&server, "1");
    process::kill(&mut server).unwrap();
    assert!(server.get("/v1/kv/key").is_err());
    server.restart();
    within(Duration::from_secs(20), "the value from before", || {
        (server.get("/v1/kv/key?raw").ok()?.text() == "1").then_some(())
    });
    process::pause(&server).unwrap();
    process::resume(&server);
    writes(&server, "2");
}

#[test]
fn links_are_cut_in_one_or_both_directions_and_lose_and_slow_down() {
    let Some(network) = Network::new() else { return };
    let (one, other) = (network.machine("one", address(2)), network.machine("other", address(3)));
    let heal = || {
        net::heal(&one);
        net::heal(&other);
        assert!(net::is_connected(&one, &other));
    };
    heal();
    net::partition(&[&one], &[&other]).unwrap();
    heal();
    net::one_way(&[&one], &[&other]).unwrap();
    heal();
    net::loss(&one, &other, 50).unwrap();
    heal();
    net::slow_link(&one, &other, 256).unwrap();
    heal();
}

#[test]
fn the_clock_of_a_running_server_steps() {
    let Some(network) = Network::new() else { return };
    let mut server = network.machine("node1", address(2));
    server.start(&SERVER);
    for seconds in [3600, -3600, 0] {
        clock::step(&server, seconds).unwrap();
        writes(&server, &seconds.to_string());
    }
}

#[test]
fn a_server_with_little_processor_time_still_serves() {
    let Some(network) = Network::new() else { return };
    let mut server = network.machine("node1", address(2));
    server.start(&SERVER);
    let Some(starved) = Starved::start(&server, 2) else { return };
    writes(&server, "1");
    starved.proof().unwrap();
    drop(starved);
    writes(&server, "2");
}

#[test]
fn a_power_cut_leaves_every_acknowledged_write() {
    let Some(network) = Network::new() else { return };
    let mut server = network.machine("node1", address(2));
    let mut disk = Disk::mount(&server, 64);
    server.start(&SERVER);
    let (mut proven, mut value) = (0, 0);
    while proven < 5 {
        value += 1;
        assert!(value < 20, "power was cut {proven} times of {value}");
        writes(&server, &value.to_string());
        // Now and then the kernel writes by itself in that moment; then nothing is proven.
        proven += usize::from(disk.cut_power(&mut server).is_ok());
        server.restart();
        within(Duration::from_secs(20), "the value from before", || {
            (server.get("/v1/kv/key?raw").ok()?.text() == value.to_string()).then_some(())
        });
    }
}

#[test]
fn a_write_is_answered_after_a_slow_disk_has_it() {
    let Some(network) = Network::new() else { return };
    let mut server = network.machine("node1", address(2));
    let disk = Disk::mount(&server, 64);
    server.start(&SERVER);
    writes(&server, "1");
    let per_second = 20;
    let Some(slow) = disk.slow(per_second) else { return };
    slow.unwrap();
    let started = Instant::now();
    let values = ["2", "3", "4"];
    values.iter().for_each(|value| writes(&server, value));
    // Each is at least one write to the disk.
    let least = Duration::from_secs(1) * 3 / per_second;
    assert!(started.elapsed() >= least, "{:?}", started.elapsed());
    disk.fast();
    writes(&server, "5");
}

#[test]
fn a_full_disk_ends_the_server_and_loses_nothing() {
    let Some(network) = Network::new() else { return };
    let mut server = network.machine("node1", address(2));
    let disk = Disk::mount(&server, 64);
    server.start(&SERVER);
    writes(&server, "before");
    disk.fill().unwrap();
    let large = "x".repeat(400_000);
    let mut acknowledged = 0;
    within(Duration::from_secs(30), "the end of the server or an error", || {
        if server.put(&format!("/v1/kv/large/{acknowledged}"), &large) == "true" {
            acknowledged += 1;
        }
        (!server.is_running()).then_some(())
    });
    assert!(server.log().contains("No space left on device"), "{}", server.log());
    disk.free();
    server.restart();
    within(Duration::from_secs(20), "the values from before", || {
        let before = server.get("/v1/kv/key?raw").ok()?.text();
        let keys = server.get_json("/v1/kv/large/?keys").as_array().map_or(0, Vec::len);
        (before == "before" && keys >= acknowledged).then_some(())
    });
    writes(&server, "after");
}
