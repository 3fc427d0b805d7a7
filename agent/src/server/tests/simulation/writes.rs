//! Writes through every server, each to its own key, which must not exist yet.

use std::collections::BTreeMap;

use super::*;

/// The outcome of a write as returned to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteOutcome {
    /// No response, because the server crashed, or an unknown outcome.
    Unknown,
    Made,
    /// Certainly nothing was changed.
    NoLeader,
    /// The key exists, although every earlier attempt failed with "no leader".
    Exists,
}

type Writes = Arc<Mutex<BTreeMap<String, WriteOutcome>>>;

/// Starts writes until `stopped`, without waiting for earlier ones.
async fn write(server: Arc<Server>, place: usize, writes: Writes, stopped: Arc<AtomicBool>) {
    while !stopped.load(Ordering::Relaxed) {
        let key = format!("{place}/{:?}", now());
        tokio::spawn(write_one(server.clone(), key, writes.clone()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Writes a key; retries once if certainly nothing was changed.
async fn write_one(server: Arc<Server>, key: String, writes: Writes) {
    for _ in 0..2 {
        writes.lock().unwrap().insert(key.clone(), WriteOutcome::Unknown);
        let command = KvCommand::CheckAndSet {
            key: key.clone(),
            flags: 0,
            value: Bytes::copy_from_slice(key.as_bytes()),
            expected: 0,
        };
        let outcome = match server.propose(Command::Kv(command)).await {
            Ok(true) => WriteOutcome::Made,
            Ok(false) => WriteOutcome::Exists,
            Err(ServerError::NoLeader) => WriteOutcome::NoLeader,
            Err(_) => WriteOutcome::Unknown,
        };
        writes.lock().unwrap().insert(key.clone(), outcome);
        if outcome != WriteOutcome::NoLeader {
            return;
        }
    }
}

/// Returns how many writes were made, surely not made, and unknown.
fn check(seed: u64) -> [usize; 3] {
    let (writes, stopped) = (Writes::default(), Arc::new(AtomicBool::new(false)));
    let (of_hosts, until) = ((writes.clone(), stopped.clone()), Duration::from_secs(25));
    let mut sim = Simulation::start(seed, until, move |place, server| {
        let (writes, stopped) = of_hosts.clone();
        Box::pin(write(server, place, writes, stopped))
    });
    sim.run_for(until);
    stopped.store(true, Ordering::Relaxed);
    sim.run_for(SETTLED);
    // The last entry in every log, after all earlier writes.
    sim.insist(0, &set("last", ""));
    sim.run_until("everybody has the last write", |sim| {
        sim.servers().filter(|it| it.store().snapshot().kv.get("last").is_some()).count() == 3
    });
    let writes = writes.lock().unwrap();
    for (host, server) in sim.hosts.iter().zip(sim.servers()) {
        let state = server.store().snapshot();
        for (key, outcome) in writes.iter() {
            let has = state.kv.get(key).map(|pair| pair.value.as_ref());
            let context = format!("seed {seed}, {key} at {}, outcome {outcome:?}", host.known.name);
            match outcome {
                WriteOutcome::Made => assert_eq!(has, Some(key.as_bytes()), "{context}"),
                WriteOutcome::NoLeader => assert_eq!(has, None, "{context}"),
                WriteOutcome::Exists => panic!("{context}: made more than once"),
                WriteOutcome::Unknown => {}
            }
        }
    }
    [WriteOutcome::Made, WriteOutcome::NoLeader, WriteOutcome::Unknown]
        .map(|which| writes.values().filter(|outcome| **outcome == which).count())
}

#[test]
fn what_was_acknowledged_is_everywhere_and_what_was_refused_is_nowhere() {
    let counts: Vec<[usize; 3]> = [1, 2, 3].map(check).to_vec();
    let total = |which: usize| counts.iter().map(|count| count[which]).sum::<usize>();
    assert!(total(0) > 500 && total(1) > 0 && total(2) > 0, "{counts:?}");
}
