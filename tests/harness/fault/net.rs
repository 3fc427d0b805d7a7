//! Cuts, loss and slow links between machines, by nftables and `tc` in their namespaces.
//!
//! What is measured are UDP datagrams between the machines' own probe sockets.

use std::{
    io::Write,
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use super::{Proof, proof};
use crate::{machine::Machine, wait::pause};

/// Datagrams of one measurement.
const PROBES: usize = 5;

/// Nothing that `from` sends arrives at `to`; the other direction stays as it is.
///
/// # Errors
/// When datagrams arrive that must not.
pub fn cut(from: &[&Machine], to: &[&Machine]) -> Proof {
    let senders: Vec<String> = from.iter().map(|machine| machine.address().to_string()).collect();
    for machine in to {
        rule(machine, &format!("ip saddr {{ {} }} drop", senders.join(", ")));
    }
    let arrived: usize = pairs(from, to).map(|(from, to)| arrived(from, to, PROBES, 64)).sum();
    let sent = PROBES * from.len() * to.len();
    proof(arrived == 0, format!("{arrived} of {sent} datagrams arrive"))
}

/// Nothing arrives between two groups of machines.
///
/// # Errors
/// When datagrams arrive that must not.
pub fn partition(one: &[&Machine], other: &[&Machine]) -> Proof {
    let there = cut(one, other)?;
    let back = cut(other, one)?;
    Ok(format!("{there} there, {back} back"))
}

/// Like [`cut`], and datagrams of the other direction were seen to arrive.
///
/// # Errors
/// When datagrams arrive that must not, or do not that must.
pub fn one_way(from: &[&Machine], to: &[&Machine]) -> Proof {
    let there = cut(from, to)?;
    let back: usize = pairs(to, from).map(|(from, to)| arrived(from, to, PROBES, 64)).sum();
    proof(back > 0, format!("{there} there, {back} back"))
}

/// A machine loses `percent` of what arrives.
///
/// # Errors
/// When the datagrams of `from` say otherwise.
pub fn loss(machine: &Machine, from: &Machine, percent: usize) -> Proof {
    rule(machine, &format!("numgen random mod 100 < {percent} drop"));
    let lost = 100 - arrived(from, machine, 100, 64);
    let near = percent / 3..=percent + (100 - percent) * 2 / 3;
    proof(near.contains(&lost), format!("{lost} of 100 datagrams are lost"))
}

/// A machine sends at most `kbit` per second.
///
/// # Errors
/// When datagrams to `to` arrive faster.
pub fn slow_link(machine: &Machine, to: &Machine, kbit: usize) -> Proof {
    let rate = format!("{kbit}kbit");
    machine.namespace().ip(&["link", "set", "eth0", "up"]);
    crate::tools::must(
        "tc",
        &["-n", machine.namespace().name(), "qdisc", "replace", "dev", "eth0", "root", "tbf"]
            .into_iter()
            .chain(["rate", &rate, "burst", "3000", "latency", "2s"])
            .collect::<Vec<_>>(),
    );
    let started = Instant::now();
    let arrived = arrived(machine, to, 20, 1000);
    let took = started.elapsed();
    let least = Duration::from_millis(17 * 1000 * 8 / kbit as u64);
    proof(took >= least, format!("{arrived} of 20 kB took {took:?}"))
}

/// Ends every fault of this module on a machine.
pub fn heal(machine: &Machine) {
    nft(machine, "table inet fault\ndelete table inet fault\n");
    let name = machine.namespace().name();
    crate::tools::run("tc", &["-n", name, "qdisc", "del", "dev", "eth0", "root"]);
}

/// Whether datagrams arrive in both directions.
pub fn is_connected(one: &Machine, other: &Machine) -> bool {
    arrived(one, other, PROBES, 64) > 0 && arrived(other, one, PROBES, 64) > 0
}

fn pairs<'a>(
    from: &'a [&Machine],
    to: &'a [&Machine],
) -> impl Iterator<Item = (&'a Machine, &'a Machine)> {
    from.iter().flat_map(move |from| to.iter().map(move |to| (*from, *to)))
}

/// How many of `count` datagrams of a size arrive.
fn arrived(from: &Machine, to: &Machine, count: usize, bytes: usize) -> usize {
    let mut buffer = vec![0; bytes];
    // What an earlier measurement left.
    while to.probe().recv(&mut buffer).is_ok() {}
    let target = SocketAddr::from((to.address(), 9));
    for _ in 0..count {
        from.probe().send_to(&buffer, target).ok();
    }
    // Where a datagram passes at all it passes in microseconds, unless the link is slow.
    let limit = Duration::from_millis(if count * bytes > 10_000 { 3000 } else { 40 });
    let deadline = Instant::now() + limit;
    let mut arrived = 0;
    while arrived < count && Instant::now() < deadline {
        match to.probe().recv(&mut buffer) {
            Ok(_) => arrived += 1,
            Err(_) => pause(Duration::from_millis(2)),
        }
    }
    arrived
}

/// Adds a rule for what arrives from other machines.
fn rule(machine: &Machine, rule: &str) {
    let script = format!(
        "table inet fault {{\n chain input {{\n type filter hook input priority 0\n \
         iif != lo {rule}\n }}\n}}\n"
    );
    nft(machine, &script);
}

fn nft(machine: &Machine, script: &str) {
    let mut child = machine
        .namespace()
        .command("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft is there");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(script.as_bytes()).expect("nft reads its script");
    drop(stdin);
    assert!(child.wait().expect("the child is ours").success(), "nft refuses {script}");
}
