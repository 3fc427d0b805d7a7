//! s0: one server and its clients on hosts of their own.

use std::{collections::BTreeSet, time::Duration};

use harness::{Machine, Network, wait::pause, within};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{all_alive, catalog, ip, members, soon, statuses, wait_for_leader};

const SERVER: [&str; 4] = ["-server", "-bootstrap-expect", "1", "-client=0.0.0.0"];

fn server(network: &Network) -> Machine {
    let mut server = network.machine("test06", ip("192.168.0.6"));
    server.start(&SERVER);
    wait_for_leader(&server);
    server
}

fn client(network: &Network, name: &str, address: &str) -> Machine {
    let mut client = network.machine(name, ip(address));
    client.start(&["-bind", "0.0.0.0", "-join", "192.168.0.6"]);
    client
}

/// Ports that are listened on at every address, as `tcp:8300`.
fn listening(machine: &Machine) -> BTreeSet<String> {
    let lines = machine.stdout("ss -Hlntu");
    lines
        .lines()
        .filter_map(|line| {
            let mut cells = line.split_whitespace();
            let (protocol, local) = (cells.next()?, cells.nth(3)?);
            let (address, port) = local.rsplit_once(':')?;
            ["0.0.0.0", "*", "[::]"].contains(&address).then(|| format!("{protocol}:{port}"))
        })
        .collect()
}

#[test]
fn s0_2_one_server_leads_and_listens_on_all_addresses() {
    let Some(network) = Network::new() else { return };
    let server = server(&network);
    assert_eq!(server.stdout("curl -s 192.168.0.6:8500/v1/status/leader"), "\"192.168.0.6:8300\"");
    let expected = [
        "tcp:8300", "tcp:8301", "tcp:8302", "tcp:8500", "tcp:8503", "tcp:8600", "udp:8301",
        "udp:8302", "udp:8600",
    ];
    let listening = listening(&server);
    for port in expected {
        assert!(listening.contains(port), "{port} is not in {listening:?}");
    }
    assert!(!listening.contains("tcp:8400"));
}

#[test]
fn s0_3_and_s0_6_a_client_joins_and_both_hosts_list_both() {
    let Some(network) = Network::new() else { return };
    let server = server(&network);
    let rows = members(&server);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let cells = ["Node", "Address", "Status", "Type", "Protocol", "DC"];
    let row: Vec<&str> = cells.iter().map(|cell| rows[0][*cell].as_str()).collect();
    assert_eq!(row, ["test06", "192.168.0.6:8301", "alive", "server", "2", "dc1"]);
    let client = client(&network, "test07", "192.168.0.7");
    for machine in [&server, &client] {
        all_alive(machine, &["test06", "test07"]);
        let rows = members(machine);
        let row = rows.iter().find(|row| row["Node"] == "test07").unwrap();
        assert_eq!((row["Type"].as_str(), row["Address"].as_str()), ("client", "192.168.0.7:8301"));
        soon("both in the catalog", || {
            let nodes = catalog(machine);
            nodes.len() == 2 && nodes["test06"] == "192.168.0.6" && nodes["test07"] == "192.168.0.7"
        });
    }
}

#[test]
fn s0_7_and_s0_19_the_tutorials_files_start_a_server_and_a_client() {
    let Some(network) = Network::new() else { return };
    let machine = |name: &str, address: &str, server: bool| {
        let machine = network.machine(name, ip(address));
        let mut config = json!({
            "datacenter": "home", "data_dir": machine.dir().join("var/consul"),
            "ui_dir": machine.dir().join("ui"), "server": server, "domain": "consul.",
            "bind_addr": "0.0.0.0", "client_addr": "0.0.0.0", "log_level": "INFO",
            "ports": {"https": 8080, "dns": 53},
        });
        if server {
            config["bootstrap_expect"] = json!(1);
        } else {
            config["start_join"] = json!(["192.168.0.6"]);
        }
        machine.write_config("config.json", &config);
        machine
    };
    let mut server = machine("test06", "192.168.0.6", true);
    let mut client = machine("test07", "192.168.0.7", false);
    for machine in [&mut server, &mut client] {
        let directory = format!("--config-dir={}", machine.dir().join("consul.d").display());
        machine.launch_exactly(&[&directory]);
        machine.wait_for_http();
        assert!(machine.dir().join("var/consul").is_dir());
    }
    all_alive(&server, &["test06", "test07"]);
    // The terminal closes.
    for machine in [&mut server, &mut client] {
        machine.signal(Signal::SIGHUP);
        soon("the agent to live on", || machine.get("/v1/agent/self").is_ok());
        assert!(machine.is_running() && !machine.log().is_empty());
    }
    assert!(members(&server).iter().all(|row| row["DC"] == "home"));
    for name in ["test06", "test07"] {
        soon("an answer from port 53", || {
            let command = format!("dig @192.168.0.6 +tries=1 {name}.node.home.consul");
            let answer = server.stdout(&command);
            let words = answer.split_whitespace().collect::<Vec<_>>().join(" ");
            words.contains(&format!("{name}.node.home.consul. 0 IN A 192.168.0."))
                && !answer.contains("consul..")
        });
    }
    // s0-19: HTTPS is asked for without a certificate.
    assert!(!server.sh("curl -sk https://192.168.0.6:8080/").status.success());
    assert!(server.is_running());
    assert!(server.log().contains("certificate"), "{}", server.log());
}

#[test]
fn s0_16_a_dead_hosts_service_is_out_of_every_passing_view() {
    let Some(network) = Network::new() else { return };
    let server = server(&network);
    let mut client = client(&network, "test07", "192.168.0.7");
    let service = json!({"Name": "web", "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}});
    client.put("/v1/agent/service/register", &service.to_string());
    let passing =
        || server.get_json("/v1/health/service/web?passing").as_array().map_or(0, Vec::len);
    let dig = || server.stdout("dig @127.0.0.1 -p 8600 +short web.service.consul");
    let listed = || {
        let checks = server.get_json("/v1/health/state/passing");
        checks.as_array().unwrap().iter().any(|check| check["CheckID"] == "service:web")
    };
    soon("web on all views", || passing() == 1 && dig() == "192.168.0.7" && listed());
    client.kill();
    within(Duration::from_secs(60), "serfHealth critical", || {
        let checks = server.get_json("/v1/health/node/test07");
        let serf = checks.as_array()?.iter().find(|check| check["CheckID"] == "serfHealth")?;
        (serf["Status"] == "critical" && serf["Output"] == "Agent not live or unreachable")
            .then_some(())
    });
    assert_eq!((passing(), dig().as_str(), listed()), (0, "", false));
    client.restart();
    soon("web back on all views", || passing() == 1 && dig() == "192.168.0.7" && listed());
}

#[test]
fn s0_18_clients_are_back_by_themselves_after_their_server_was_away() {
    let Some(network) = Network::new() else { return };
    let mut server = server(&network);
    let clients =
        [client(&network, "test07", "192.168.0.7"), client(&network, "test08", "192.168.0.8")];
    let all = ["test06", "test07", "test08"];
    all_alive(&server, &all);
    for killed in [false, true] {
        if killed {
            server.kill();
        } else {
            server.end(Signal::SIGTERM);
        }
        within(Duration::from_secs(60), "the clients to miss the server", || {
            clients.iter().all(|client| statuses(client)["test06"] != "alive").then_some(())
        });
        server.restart();
        all_alive(&server, &all);
        for client in &clients {
            all_alive(client, &all);
        }
    }
}

#[test]
fn s0_18_three_servers_that_stopped_together_are_a_cluster_again() {
    let Some(network) = Network::new() else { return };
    let mut servers: Vec<Machine> = (1..=3)
        .map(|number| network.machine(&format!("s{number}"), ip(&format!("192.168.0.{number}"))))
        .collect();
    let flags = ["-server", "-bootstrap-expect=3", "-retry-join=192.168.0.1", "-retry-interval=1s"];
    for server in &mut servers {
        server.launch(&flags);
    }
    for server in &mut servers {
        server.wait_for_http();
    }
    wait_for_leader(&servers[0]);
    soon("a write", || servers[0].put("/v1/kv/before", "x") == "true");
    for server in &servers {
        server.signal(Signal::SIGTERM);
    }
    for server in &mut servers {
        server.agent.take().unwrap().wait(Duration::from_secs(20));
    }
    pause(Duration::from_secs(2));
    for server in &mut servers {
        server.relaunch();
    }
    for server in &mut servers {
        server.wait_for_http();
        wait_for_leader(server);
        soon("the value from before", || {
            server.get("/v1/kv/before?raw").is_ok_and(|answer| answer.text() == "x")
        });
    }
    all_alive(&servers[0], &["s1", "s2", "s3"]);
}

#[test]
fn s3_12_the_catalog_is_the_servers_view_and_members_the_agents_own() {
    let Some(network) = Network::new() else { return };
    let server = server(&network);
    let client = client(&network, "test07", "192.168.0.7");
    all_alive(&client, &["test06", "test07"]);
    for (number, (from, to)) in [(&server, &client), (&client, &server)].into_iter().enumerate() {
        let name = format!("external{number}");
        let node = json!({"Node": name, "Address": "192.168.9.9"});
        soon("the registration", || from.put("/v1/catalog/register", &node.to_string()) == "true");
        assert!(catalog(to).contains_key(&name), "{:?}", catalog(to));
        assert_eq!(members(from).len(), 2);
        assert_eq!(members(to).len(), 2);
    }
}
