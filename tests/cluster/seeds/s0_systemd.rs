//! s0-17: the package and its unit, on a machine with a real systemd.

use std::{fs, path::Path, process::Command};

use harness::{Machine, Network, Systemd, binary::binary, tools};
use serde_json::json;

use super::{all_alive, ip, soon, statuses, wait_for_leader};

/// Builds the package of the binary under test into a directory, fast rather than small.
fn package(directory: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/debian.sh");
    let output = Command::new(script)
        .arg(directory)
        .env("LICTOR_BIN_DIR", binary("lictor").parent().unwrap())
        .env("DPKG_DEB_COMPRESSOR_LEVEL", "0")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What an administrator writes: whom to join, port 53, and a service whose check is a script that
/// looks into /tmp.
fn configure(host: &Systemd<'_>) {
    let check = json!({"args": ["test", "-e", "/tmp/web-is-up"], "interval": "1s"});
    let config = json!({
        "retry_join": ["192.168.0.6"], "ports": {"dns": 53}, "enable_local_script_checks": true,
        "service": {"name": "web", "port": 80, "check": check},
    });
    fs::write(host.path("/tmp/web-is-up"), "").unwrap();
    host.must(&format!("echo '{config}' > /etc/consul.d/web.json"));
}

/// The agent's process id in its own namespace, 0 while none runs.
fn main_pid(host: &Systemd<'_>) -> String {
    host.must("systemctl show consul --property MainPID --value")
}

/// Waits until the agent runs, does its work and is seen by the server; asks nothing of it before.
fn works(server: &Machine, host: &Systemd<'_>) {
    all_alive(server, &["test06", "test07"]);
    soon("the script check to pass", || {
        let passing = server.get_json("/v1/health/service/web?passing");
        passing.as_array().is_some_and(|rows| rows.len() == 1)
    });
    soon("DNS on port 53", || {
        host.stdout("dig @127.0.0.1 +tries=1 +short test06.node.consul") == "192.168.0.6"
    });
    assert_eq!(host.must("systemctl is-active consul lictor"), "active\nactive");
    let process = format!("/proc/{}", main_pid(host));
    assert_eq!(host.must(&format!("stat -c %U {process}")), "consul");
    let status = host.must(&format!("cat {process}/status"));
    assert!(status.contains("NoNewPrivs:\t0"), "script checks may use sudo:\n{status}");
    let journal = host.must("journalctl -u consul --boot --output cat");
    for line in ["Starting Consul agent", "Synced service: service=web"] {
        assert!(journal.contains(line), "{line:?} is not in this boot's journal:\n{journal}");
    }
}

#[test]
fn s0_17_the_package_runs_the_agent_and_it_is_back_after_a_reboot() {
    let Some(network) = Network::new() else { return };
    if !["dpkg-deb", "dig"].into_iter().all(tools::has) {
        return;
    }
    let machine = network.machine("test07", ip("192.168.0.7"));
    let Some(mut host) = Systemd::boot(&machine) else { return };
    let mut server = network.machine("test06", ip("192.168.0.6"));
    server.start(&["-server", "-bootstrap-expect", "1"]);
    wait_for_leader(&server);

    package(&host.path("/root"));
    host.must("dpkg -i /root/lictor_*.deb");
    assert_eq!(main_pid(&host), "0", "it runs when it is wanted, not when it is installed");
    configure(&host);
    host.must("systemctl enable --now consul");
    // It is started when it serves: whatever is ordered after the unit need not wait.
    host.must("curl -sSf http://127.0.0.1:8500/v1/agent/self");
    works(&server, &host);

    host.reboot();
    works(&server, &host);
    let before = host.must("journalctl -u consul --boot=-1 --output cat");
    assert!(before.contains("Starting Consul agent"), "the journal is kept:\n{before}");

    host.must("systemctl reload consul");
    soon("the reload", || host.stdout("journalctl -u consul").contains("configuration reloaded"));
    for (what, command) in [
        ("kill -9", "systemctl kill --signal KILL consul"),
        ("an upgrade", "dpkg -i /root/lictor_*.deb"),
    ] {
        let pid = main_pid(&host);
        host.must(command);
        soon(&format!("a new agent after {what}"), || !["0", &pid].contains(&&*main_pid(&host)));
        works(&server, &host);
    }

    host.must("dpkg --purge lictor");
    soon("the server to see it leave", || statuses(&server)["test07"] == "left");
    assert!(!host.path("/opt/consul").exists());
    assert_eq!(
        host.stdout("ls -d /etc/consul.d; systemctl list-units --all --plain -q consul"),
        ""
    );
}
