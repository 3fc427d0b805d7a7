//! Blocking queries on every server, while their key and another one change.

use lictor_core::state::Topic;

use super::*;

/// What a query on each server answered: index and value.
type Seen = Arc<Mutex<[Vec<(u64, u64)>; 3]>>;

async fn follow(server: Arc<Server>, place: usize, seen: Seen) {
    let wait = Some(Duration::from_secs(300));
    let mut options = QueryOptions { wait, ..QueryOptions::default() };
    loop {
        let read = |state: &State, topics: &mut WatchSet| {
            topics.add(Topic::KvKey("watched".into()));
            value(state)
        };
        match server.query(&options, read).await {
            Ok((meta, value)) => {
                seen.lock().unwrap()[place].push((meta.index, value));
                options.index = meta.index;
            }
            Err(ServerError::NoLeader) => {}
            Err(error) => panic!("unexpected answer: {error}"),
        }
    }
}

/// The value that each server has.
fn values(sim: &Simulation) -> Vec<u64> {
    let value = |server: Arc<Server>| value(&server.store().snapshot());
    sim.servers().map(value).collect()
}

fn value(state: &State) -> u64 {
    let value = state.kv.get("watched").map(|pair| pair.value.clone());
    value.map_or(0, |value| std::str::from_utf8(&value).unwrap().parse().unwrap())
}

/// Returns how many answers there were.
fn check(seed: u64) -> usize {
    let last_seen = |seen: &Seen| {
        seen.lock().unwrap().each_ref().map(|answers| answers.last().map_or(0, |last| last.1))
    };
    let (seen, until) = (Seen::default(), Duration::from_secs(20));
    let of_hosts = seen.clone();
    let mut sim = Simulation::start(seed, until, move |place, server| {
        Box::pin(follow(server, place, of_hosts.clone()))
    });
    let mut value = 0;
    while sim.now() < until {
        // The last changes are missed by whom the last fault hits; others follow.
        let soon = sim.now() + Duration::from_millis(500);
        if sim.events.len() > 1 || sim.events.front().is_some_and(|end| end.at > soon) {
            value += 1;
            let (place, write) = (sim.any(), set("watched", &value.to_string()));
            drop(sim.begin(place, |server| async move { server.submit(write).await }));
        }
        sim.run_for(Duration::from_millis(250));
        for place in 0..3 {
            drop(sim.begin(place, |server| async move { server.submit(set("other", "")).await }));
        }
    }
    sim.run_for(SETTLED);
    // Also where the last change came with a snapshot.
    assert_eq!(last_seen(&seen).as_slice(), values(&sim), "seed {seed}");
    // Nothing but being woken makes these queries answer now: they wait for five minutes.
    for _ in 0..5 {
        value += 1;
        let place = sim.any();
        sim.insist(place, &set("watched", &value.to_string()));
        sim.run_for(Duration::from_millis(500));
        assert_eq!(last_seen(&seen), [value; 3], "seed {seed}");
    }
    let seen = seen.lock().unwrap();
    for (place, answers) in seen.iter().enumerate() {
        for pair in answers.windows(2) {
            assert!(pair[0].0 <= pair[1].0, "seed {seed}: index went back at {place}: {pair:?}");
        }
    }
    seen.iter().map(Vec::len).sum()
}

#[test]
fn a_blocking_query_on_every_server_sees_the_last_write_and_its_index_never_goes_back() {
    let answers: Vec<usize> = [11, 12, 13, 14].map(check).to_vec();
    // A change per second on each server: what happens to whom also rests on who is elected.
    assert!(answers.iter().all(|count| *count > 60), "{answers:?}");
}
