//! The fault suite: epochs of faults under a workload, each checked when it ends.
//!
//! `LICTOR_CLUSTER_SEED` replays a run, `LICTOR_CLUSTER_FAULTS` sets its length (CI's is the
//! default), `LICTOR_CLUSTER_KINDS` chooses kinds of faults by name, `LICTOR_CLUSTER_REPORT` names a
//! file that gets the figures of the run, one line of JSON.

use std::{
    collections::BTreeMap,
    env,
    io::Write,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use harness::{local::Local, wait::pause};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    history::{History, Mode, Record, Seen, check},
    linearizable::{
        self, Verdict,
        model::{KeyOperation, Lock},
    },
    nemesis::{Kind, Nemesis},
    workload::{self, Counters, KEYS, Workload},
    world::World,
};

/// Faults of CI's run.
const FAULTS: usize = 210;
/// Faults between two checks.
const PER_EPOCH: usize = 10;
/// How long a watcher may take to see the last write after the last fault.
const WAKE: Duration = Duration::from_secs(20);

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn kinds() -> Vec<Kind> {
    let Ok(names) = env::var("LICTOR_CLUSTER_KINDS") else { return Kind::ALL.to_vec() };
    let named = |kind: &Kind| names.split(',').any(|name| name == format!("{kind:?}"));
    Kind::ALL.into_iter().filter(named).collect()
}

#[test]
fn nothing_is_lost_and_everything_has_an_order_under_faults() {
    let Some(mut world) = World::start(setting("LICTOR_CLUSTER_SERVERS", 3), 1) else { return };
    let seed = setting("LICTOR_CLUSTER_SEED", 1);
    let faults = setting("LICTOR_CLUSTER_FAULTS", FAULTS);
    let counters = Arc::new(Counters::default());
    let mut nemesis = Nemesis::new(seed, &kinds(), counters.clone());
    let (started, mut violations, mut records) = (Instant::now(), Vec::new(), 0);
    for epoch in 0..faults.div_ceil(PER_EPOCH) {
        let mut run = Workload::start(epoch as u64, seed, &world.locals(), 3, &counters);
        for _ in 0..PER_EPOCH.min(faults - epoch * PER_EPOCH) {
            violations.extend(nemesis.strike(&mut world));
        }
        world.restart_ended();
        violations.extend(settle(&mut run, &world));
        records += run.history.records().len() + run.history.locks().len();
        if !violations.is_empty() {
            break;
        }
    }
    let report = report(seed, started.elapsed(), records, &nemesis, &counters, &violations);
    println!("{report:#}");
    if let Some(path) = env::var_os("LICTOR_CLUSTER_REPORT") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        writeln!(file, "{report}").unwrap();
    }
    assert!(violations.is_empty(), "seed {seed}:\n{}", violations.join("\n"));
}

/// Ends an epoch: stops the clients, reads everything, and checks all that happened.
fn settle(run: &mut Workload, world: &World) -> Vec<String> {
    Runtime::new().unwrap().block_on(run.stop_clients());
    let history = run.history.clone();
    let locals = world.locals();
    let mut violations = Vec::new();
    for key in 0..KEYS {
        let path = format!("/v1/kv/{}{key}", history.prefix());
        let value = 900_000_000 + key as u64;
        let called = history.now();
        let body = value.to_string();
        let answer = locals[key % locals.len()].request(Method::PUT, &path, &body);
        let returned = answer.is_ok_and(|answer| answer.text() == "true").then(|| history.now());
        if returned.is_none() {
            violations.push(format!("a write of {path} after the last fault is not acknowledged"));
        }
        let operation = KeyOperation::Write(Some(value));
        history.add(record(key, Mode::Default, operation, called, returned));
    }
    violations.extend(final_reads(&history, &locals));
    violations.extend(lost(&history, &locals));
    violations.extend(not_woken(&history, world));
    violations.extend(history.complaints());
    let locks = history.locks();
    if let Verdict::Violation(at) | Verdict::Undecided(at) = linearizable::check::<Lock>(&locks) {
        let near: Vec<String> = locks
            .iter()
            .filter(|other| other.returned.unwrap_or(u64::MAX) + 100_000_000 >= locks[at].called)
            .take(40)
            .map(|other| format!("\n    {other:?}"))
            .collect();
        violations.push(format!(
            "a lock has two holders: {:?}; then: {}",
            locks[at],
            near.concat()
        ));
    }
    violations.extend(check::violations(&history.records()));
    violations
}

fn record(
    key: usize,
    mode: Mode,
    operation: KeyOperation,
    called: u64,
    returned: Option<u64>,
) -> Record {
    Record { key, mode, operation, called, returned, index: None, modified: None }
}

/// Reads every key through every agent; the reads belong to the history.
fn final_reads(history: &History, locals: &[Local]) -> Vec<String> {
    let mut violations = Vec::new();
    for (machine, local) in locals.iter().enumerate() {
        for key in 0..KEYS {
            let path = format!("/v1/kv/{}{key}?consistent", history.prefix());
            let called = history.now();
            let answer = local.request(Method::GET, &path, "");
            let Some(Ok(pair)) = answer.as_ref().ok().and_then(workload::pair) else {
                violations.push(format!("machine {machine}: {path} returned {answer:?}"));
                continue;
            };
            let operation = KeyOperation::Read(pair.as_ref().map(workload::value));
            let returned = Some(history.now());
            history.add(record(key, Mode::Consistent, operation, called, returned));
        }
    }
    violations
}

/// Acknowledged writes that an agent does not have.
fn lost(history: &History, locals: &[Local]) -> Vec<String> {
    let mut violations = Vec::new();
    let path = format!("/v1/kv/{}?keys&consistent", history.once_prefix());
    for (machine, local) in locals.iter().enumerate() {
        let answer = local.request(Method::GET, &path, "");
        let keys: Option<Vec<String>> = answer.ok().and_then(|answer| match answer.status {
            StatusCode::NOT_FOUND => Some(Vec::new()),
            _ => answer.json().ok(),
        });
        let Some(keys) = keys else {
            violations.push(format!("machine {machine} does not answer {path}"));
            continue;
        };
        let there: std::collections::BTreeSet<&str> = keys.iter().map(String::as_str).collect();
        let acknowledged = history.acknowledged();
        let lost: Vec<&String> =
            acknowledged.iter().filter(|key| !there.contains(key.as_str())).collect();
        if !lost.is_empty() {
            violations.push(format!("acknowledged and lost, by machine {machine}: {lost:?}"));
        }
    }
    violations
}

/// Watchers that do not see the last state although nothing hinders them.
fn not_woken(history: &History, world: &World) -> Vec<String> {
    let expected: BTreeMap<usize, u64> =
        (0..KEYS).map(|key| (key, 900_000_000 + key as u64)).collect();
    let all: Vec<(usize, Mode)> = (0..world.machines.len())
        .flat_map(|machine| [(machine, Mode::Default), (machine, Mode::Stale)])
        .collect();
    let started = Instant::now();
    loop {
        let watched = history.watched();
        let asleep: Vec<(&(usize, Mode), Option<&Seen>)> = all
            .iter()
            .map(|watcher| (watcher, watched.get(watcher)))
            .filter(|(_, seen)| seen.is_none_or(|seen| seen.values != expected))
            .collect();
        if asleep.is_empty() {
            return Vec::new();
        }
        if started.elapsed() > WAKE {
            return vec![format!("watchers that were not woken within {WAKE:?}: {asleep:?}")];
        }
        pause(Duration::from_millis(20));
    }
}

/// The figures of a run.
fn report(
    seed: u64,
    took: Duration,
    records: usize,
    nemesis: &Nemesis,
    counters: &Counters,
    violations: &[String],
) -> Value {
    let kinds: BTreeMap<String, Value> = nemesis
        .tallies
        .iter()
        .map(|(kind, tally)| {
            let mut times: Vec<u128> = tally.recoveries.iter().map(Duration::as_millis).collect();
            times.sort_unstable();
            let at = |percent: usize| {
                times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
            };
            let value = json!({
                "proven": tally.proven, "unproven": tally.unproven, "reason": tally.reason,
                "recovery_ms": {"p50": at(50), "p95": at(95), "max": times.last()},
            });
            (format!("{kind:?}"), value)
        })
        .collect();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "seed": seed, "seconds": took.as_secs(), "faults": kinds,
        "proven": nemesis.tallies.values().map(|tally| tally.proven).sum::<usize>(),
        "operations": {"asked": count(&counters.invoked), "answered": count(&counters.completed),
            "unknown": count(&counters.unknown), "checked": records, "woken": count(&counters.woken)},
        "violations": violations,
    })
}
