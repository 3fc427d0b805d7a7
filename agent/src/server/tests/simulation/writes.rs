//! Writes through every server, each to a key of its own that must not exist yet.

use std::collections::BTreeMap;

use super::*;

/// What whoever wrote was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nothing, because the server crashed, or that nobody knows.
    Unknown,
    Made,
    /// That surely nothing was changed.
    NoLeader,
    /// That the key exists, when nothing but "no leader" had been said before.
    Exists,
}

type Writes = Arc<Mutex<BTreeMap<String, Told>>>;

/// Begins writes until it is told to stop, whether or not those before are answered.
async fn write(server: Arc<Server>, place: usize, writes: Writes, stopped: Arc<AtomicBool>) {
    while !stopped.load(Ordering::Relaxed) {
        let key = format!("{place}/{:?}", now());
        tokio::spawn(write_one(server.clone(), key, writes.clone()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Writes a key; what surely was not done is tried once more.
async fn write_one(server: Arc<Server>, key: String, writes: Writes) {
    for _ in 0..2 {
        writes.lock().unwrap().insert(key.clone(), Told::Unknown);
        let command = KvCommand::CheckAndSet {
            key: key.clone(),
            flags: 0,
            value: Bytes::copy_from_slice(key.as_bytes()),
            expected: 0,
        };
        let told = match server.propose(Command::Kv(command)).await {
            Ok(true) => Told::Made,
            Ok(false) => Told::Exists,
            Err(ServerError::NoLeader) => Told::NoLeader,
            Err(_) => Told::Unknown,
        };
        writes.lock().unwrap().insert(key.clone(), told);
        if told != Told::NoLeader {
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
    // It is the last that is in any log, whoever wrote before.
    sim.insist(0, &set("last", ""));
    sim.run_until("everybody has the last write", |sim| {
        sim.servers().filter(|it| it.store().snapshot().kv.get("last").is_some()).count() == 3
    });
    let writes = writes.lock().unwrap();
    for (host, server) in sim.hosts.iter().zip(sim.servers()) {
        let state = server.store().snapshot();
        for (key, told) in writes.iter() {
            let has = state.kv.get(key).map(|pair| pair.value.as_ref());
            let context = format!("seed {seed}, {key} at {}, told {told:?}", host.known.name);
            match told {
                Told::Made => assert_eq!(has, Some(key.as_bytes()), "{context}"),
                Told::NoLeader => assert_eq!(has, None, "{context}"),
                Told::Exists => panic!("{context}: made more than once"),
                Told::Unknown => {}
            }
        }
    }
    [Told::Made, Told::NoLeader, Told::Unknown]
        .map(|which| writes.values().filter(|told| **told == which).count())
}

#[test]
fn what_was_acknowledged_is_everywhere_and_what_was_refused_is_nowhere() {
    let counts: Vec<[usize; 3]> = [1, 2, 3].map(check).to_vec();
    let total = |which: usize| counts.iter().map(|count| count[which]).sum::<usize>();
    assert!(total(0) > 500 && total(1) > 0 && total(2) > 0, "{counts:?}");
}
