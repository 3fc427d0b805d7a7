//! A session that is renewed and others that are not, while leaders come and go.

use lictor_api::types::{catalog::RegisterRequest, session::Session};
use lictor_core::fsm::SessionCommand;

use super::*;

const TTL: Duration = Duration::from_secs(4);
const LOCK_DELAY: Duration = Duration::from_secs(3);
/// Time for an election and a retried proposal.
const SLACK: Duration = Duration::from_secs(5);
/// Timeout of a request to one server.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);

/// A client that repeats a request at one server after the other.
struct Client<T> {
    next: Duration,
    asked: Option<(Duration, Answer<Result<T, ServerError>>)>,
}

impl<T: Send + 'static> Client<T> {
    fn new(next: Duration) -> Self {
        Self { next, asked: None }
    }

    /// Sends or polls the request. Returns a response with the time of its request.
    fn step<F>(
        &mut self,
        sim: &mut Simulation,
        ask: impl FnOnce(Arc<Server>) -> F + Send + 'static,
    ) -> Option<(Duration, T)>
    where
        F: Future<Output = Result<T, ServerError>> + Send + 'static,
    {
        let now = sim.now();
        match self.asked.take() {
            Some((begun, answer)) => match answer.take() {
                Some(Ok(answer)) => return Some((begun, answer)),
                Some(Err(_)) => self.next = now + Duration::from_millis(50),
                None if now > begun + REQUEST_TIMEOUT => self.next = now,
                None => self.asked = Some((begun, answer)),
            },
            None if now >= self.next => {
                let place = sim.any();
                self.asked = Some((now, sim.begin(place, ask)));
            }
            None => {}
        }
        None
    }
}

/// A session with a lock that no client renews.
struct Idle {
    id: String,
    asked: Duration,
    made: Duration,
    gone: Option<Duration>,
    taken: Option<Duration>,
    heir: Client<bool>,
}

fn create(id: &str, ttl: Duration) -> Command {
    let session = Session {
        id: id.to_owned(),
        node: "n".into(),
        ttl: format!("{}s", ttl.as_secs()),
        lock_delay: LOCK_DELAY,
        ..Session::default()
    };
    Command::Session(Box::new(SessionCommand::Create(session)))
}

fn lock(key: &str, session: &str) -> Command {
    let (key, session) = (key.to_owned(), session.to_owned());
    Command::Kv(KvCommand::Lock { key, flags: 0, value: Bytes::new(), session })
}

impl Idle {
    /// One that was made.
    fn new(id: String, asked: Duration, made: Duration) -> Self {
        Self { id, asked, made, gone: None, taken: None, heir: Client::new(made) }
    }

    /// Looks at what every server's state says, and has the heir ask for the lock.
    fn step(&mut self, sim: &mut Simulation, led_since: Option<Duration>, seed: u64) {
        let now = sim.now();
        for server in sim.servers() {
            let state = server.store().snapshot();
            let Some(pair) = state.kv.get(&self.id) else { continue };
            if state.sessions.get(&self.id).is_none() {
                self.gone.get_or_insert(now);
            }
            if pair.session == "heir" {
                self.taken.get_or_insert(now);
            }
        }
        let id = self.id.as_str();
        if self.gone == Some(now) {
            assert!(now >= self.asked + 2 * TTL, "seed {seed}: {id} ended early");
        }
        if self.taken == Some(now) {
            let gone = self.gone.unwrap_or(now);
            assert!(now + TICK >= gone + LOCK_DELAY, "seed {seed}: {id}'s lock was taken early");
        }
        let Some(led_since) = led_since else { return };
        if self.gone.is_none() {
            let latest = self.made.max(led_since) + 2 * TTL + SLACK;
            assert!(now <= latest, "seed {seed}: {id} does not end");
        }
        if let (Some(gone), None) = (self.gone, self.taken) {
            let latest = gone.max(led_since) + LOCK_DELAY + SLACK;
            assert!(now <= latest, "seed {seed}: {id}'s lock is never free");
            let command = lock(id, "heir");
            let asked = self.heir.step(sim, |server| async move { server.propose(command).await });
            if asked.is_some() {
                self.heir.next = now + Duration::from_millis(100);
            }
        }
    }
}

/// Since when the newest leader leads, as far as anybody leads.
#[derive(Default)]
struct Leadership {
    term: u64,
    since: Duration,
}

impl Leadership {
    fn step(&mut self, sim: &Simulation) -> Option<Duration> {
        let leaders = sim.servers().filter_map(|server| server.current_leader().ok());
        let term = leaders.filter(|leader| leader.is_self).map(|leader| leader.term).max()?;
        if term > self.term {
            *self = Self { term, since: sim.now() };
        }
        Some(self.since)
    }
}

/// Returns how many leaders there were, and how many sessions ended.
fn check(seed: u64) -> (u64, usize) {
    let faults = Duration::from_secs(25);
    let end = faults + 2 * TTL + LOCK_DELAY + 2 * SLACK;
    let mut sim = Simulation::start(seed, faults, |_, _| Box::pin(async {}));
    let node = RegisterRequest {
        node: "n".into(),
        address: "127.0.0.1".to_owned(),
        ..RegisterRequest::default()
    };
    sim.submit(0, Command::Register(Box::new(node))).unwrap();
    sim.submit(0, create("kept", TTL)).unwrap();
    sim.submit(0, create("heir", Duration::ZERO)).unwrap();
    let (mut renewer, mut leadership) = (Client::new(sim.now()), Leadership::default());
    let (mut idle, mut maker) = (Vec::<Idle>::new(), Client::new(sim.now()));
    while sim.now() < end {
        sim.step();
        let now = sim.now();
        let led_since = leadership.step(&sim);
        let renew = |server: Arc<Server>| async move { server.renew_session("kept").await };
        if let Some((_, renewed)) = renewer.step(&mut sim, renew) {
            assert!(renewed.is_some(), "seed {seed}: a session was not there to be renewed");
            // Up to one TTL late, which a client may be.
            renewer.next = now + sim.random.random_range(TTL / 3..TTL * 4 / 3);
        }
        for server in sim.servers() {
            let state = server.store().snapshot();
            let is_there = state.sessions.get("kept").is_some();
            assert!(is_there || state.sessions.get("heir").is_none(), "seed {seed}: ended early");
        }
        for one in &mut idle {
            one.step(&mut sim, led_since, seed);
        }
        if now < faults {
            let id = format!("idle/{now:?}");
            let make = |server: Arc<Server>| async move {
                server.submit(create(&id, TTL)).await?;
                server.propose(lock(&id, &id)).await.map(|locked| (id, locked))
            };
            if let Some((asked, (id, locked))) = maker.step(&mut sim, make) {
                assert!(locked, "seed {seed}: {id} was not locked");
                idle.push(Idle::new(id, asked, now));
                maker.next = now + Duration::from_secs(5);
            }
        }
    }
    assert!(idle.iter().all(|one| one.taken.is_some()), "seed {seed}: a lock was not taken");
    (leadership.term, idle.len())
}

#[test]
fn a_renewed_session_lives_another_ends_and_its_lock_is_free_after_the_delay() {
    let counts: Vec<(u64, usize)> = [21, 22, 23].map(check).to_vec();
    let leaders: u64 = counts.iter().map(|(leaders, _)| leaders).sum();
    assert!(leaders > 6 && counts.iter().all(|(_, ended)| *ended > 2), "{counts:?}");
}
