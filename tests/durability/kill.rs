//! kill -9 under a writing client: every acknowledged write is there afterwards.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use harness::{Agent, eventually, within};
use lictor_api::client::{Client, Config};
use serde_json::json;
use tokio::runtime::Runtime;

/// How often the server is killed.
const KILLS: usize = 50;
/// Clients that write at the same time.
const WRITERS: usize = 4;

/// What a writer was told, and what it cannot know.
#[derive(Default)]
struct History {
    /// Key to the last acknowledged value.
    acknowledged: BTreeMap<String, u64>,
    /// Key to values whose write ended without an answer; any of them may have been written.
    unknown: BTreeMap<String, Vec<u64>>,
}

fn client(port: u16) -> Client {
    Client::new(Config { address: format!("127.0.0.1:{port}"), ..Config::default() }).unwrap()
}

/// Writes rising values to its own keys until told to stop.
fn write(
    writer: usize,
    port: u16,
    history: &Mutex<History>,
    stop: &AtomicBool,
    written: &AtomicUsize,
) {
    let runtime = Runtime::new().unwrap();
    let client = client(port);
    let mut value = 0u64;
    while !stop.load(Ordering::Relaxed) {
        value += 1;
        let key = format!("kill/{writer}/{}", value % 16);
        let path = format!("/v1/kv/{key}");
        let put = client.put(&path, &[], Bytes::from(value.to_string()));
        let answer =
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), put).await });
        let mut history = history.lock().unwrap();
        if matches!(&answer, Ok(Ok(answer)) if answer.text() == "true") {
            history.acknowledged.insert(key.clone(), value);
            history.unknown.remove(&key);
            written.fetch_add(1, Ordering::Relaxed);
        } else {
            history.unknown.entry(key).or_default().push(value);
        }
    }
}

/// Holds a blocking query on the prefix; the index it sees never goes back.
fn watch(port: u16, stop: &AtomicBool, resumed: &AtomicUsize) {
    let runtime = Runtime::new().unwrap();
    let client = client(port);
    let mut index = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let text = index.to_string();
        let query = [("recurse", ""), ("index", text.as_str()), ("wait", "1s")];
        let get = client.get("/v1/kv/kill/", &query);
        let Ok(Ok(answer)) =
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), get).await })
        else {
            continue;
        };
        if answer.status.is_success() {
            assert!(
                answer.index() >= index,
                "the index went back from {index} to {}",
                answer.index()
            );
            if answer.index() > index {
                resumed.fetch_add(1, Ordering::Relaxed);
            }
            index = answer.index();
        }
    }
}

#[test]
fn every_acknowledged_write_survives_fifty_kills() {
    let mut agent = Agent::server(json!({}));
    let port = agent.ports.http;
    let (stop, written, resumed) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let history: Arc<[Mutex<History>; WRITERS]> = Arc::default();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (history, stop, written) = (history.clone(), &stop, &written);
            scope.spawn(move || write(writer, port, &history[writer], stop, written));
        }
        scope.spawn(|| watch(port, &stop, &resumed));
        for kill in 0..KILLS {
            let (before, seen) = (written.load(Ordering::Relaxed), resumed.load(Ordering::Relaxed));
            within(Duration::from_secs(20), "writes and watches to go on", || {
                let went_on = written.load(Ordering::Relaxed) > before + 5
                    && resumed.load(Ordering::Relaxed) > seen;
                went_on.then_some(())
            });
            // Not always at the same point of the write path.
            harness::wait::pause(Duration::from_millis(kill as u64 * 7 % 40));
            agent.process.kill();
            agent.restart();
        }
        stop.store(true, Ordering::Relaxed);
    });
    verify(&agent, &history[..]);
}

fn verify(agent: &Agent, histories: &[Mutex<History>]) {
    let pairs: BTreeMap<String, u64> = agent
        .cli_stdout(&["kv", "get", "-recurse", "kill/"])
        .lines()
        .map(|line| {
            let (key, value) = line.split_once(':').unwrap();
            (key.to_owned(), value.parse().unwrap())
        })
        .collect();
    let mut checked = 0;
    for history in histories {
        let history = history.lock().unwrap();
        for (key, acknowledged) in &history.acknowledged {
            let found = pairs
                .get(key)
                .unwrap_or_else(|| panic!("{key} was acknowledged as {acknowledged} and is gone"));
            let unknown = history.unknown.get(key).is_some_and(|values| values.contains(found));
            assert!(
                found == acknowledged || unknown,
                "{key} was acknowledged as {acknowledged} and is {found}"
            );
            checked += 1;
        }
    }
    assert!(checked >= WRITERS, "the writers wrote");
}

#[test]
fn a_second_agent_on_the_same_directory_is_refused() {
    let agent = Agent::server(json!({}));
    let output = std::process::Command::new(harness::binary::binary("lictor"))
        .args([
            "agent",
            "-server",
            "-bind=127.0.0.1",
            "-http-port=-1",
            "-dns-port=-1",
            "-grpc-tls-port=-1",
        ])
        .arg(format!("-data-dir={}", agent.dir().join("data").display()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("in use by another agent"), "{text}");
    eventually("the first agent to answer still", || {
        (agent.get("/v1/agent/ready") == "ready").then_some(())
    });
}
