//! Rows of the acceptance list that need several machines, with the tutorials' own commands.
//!
//! A test is named after its row: `s1_3_...` is row s1-3. Every machine is a network namespace with
//! the tutorial's address and the usual ports; `consul` is a link to the binary under test. Only
//! `/tmp/consul` and `/etc/consul.d` are directories of the machine here.

mod s0_hosts;
mod s0_systemd;
mod s1_workshop;
mod s4_docker;

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use harness::{Machine, within};

/// How long a change may take to be seen everywhere where a row names no time.
const SOON: Duration = Duration::from_secs(30);

/// An address from its text.
fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// A table that a CLI verb printed, a map from column to cell per row.
fn table(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = text.lines();
    let Some(header) = lines.next() else { return Vec::new() };
    let cells = |line: &str| -> Vec<String> {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    let header = cells(header);
    lines.map(|line| header.iter().cloned().zip(cells(line)).collect()).collect()
}

/// `consul members` on a machine.
fn members(machine: &Machine) -> Vec<BTreeMap<String, String>> {
    table(&machine.stdout("consul members"))
}

/// The members' names with their status, as a machine sees them.
fn statuses(machine: &Machine) -> BTreeMap<String, String> {
    let row = |row: BTreeMap<String, String>| (row["Node"].clone(), row["Status"].clone());
    members(machine).into_iter().map(row).collect()
}

/// Waits until a machine sees exactly these members alive.
fn all_alive(machine: &Machine, names: &[&str]) {
    let what = format!("{names:?} alive on {}; it sees", machine.name());
    let mut seen = BTreeMap::new();
    within(SOON, &what, || {
        seen = statuses(machine);
        let alive =
            names.iter().all(|name| seen.get(*name).is_some_and(|status| status == "alive"));
        (alive && seen.len() == names.len()).then_some(())
    });
}

/// Waits until a condition holds.
fn soon(what: &str, mut probe: impl FnMut() -> bool) {
    within(SOON, what, || probe().then_some(()));
}

/// `curl -s IP:8500/v1/status/leader`, without its quotes.
fn leader(machine: &Machine) -> String {
    machine.stdout("curl -s localhost:8500/v1/status/leader").trim_matches('"').to_owned()
}

/// Waits until a machine knows a leader: its address without the port.
fn wait_for_leader(machine: &Machine) -> String {
    within(SOON, &format!("a leader on {}", machine.name()), || {
        Some(leader(machine).strip_suffix(":8300")?.to_owned())
    })
}

/// The names in `/v1/catalog/nodes` with their addresses.
fn catalog(machine: &Machine) -> BTreeMap<String, String> {
    let rows = machine.get_json("/v1/catalog/nodes");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let rows = rows.as_array().into_iter().flatten();
    rows.map(|row| (text(&row["Node"]), text(&row["Address"]))).collect()
}
