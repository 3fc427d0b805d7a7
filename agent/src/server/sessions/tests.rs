use lictor_api::types::catalog::RegisterRequest;
use lictor_core::{
    fsm::{self, KvCommand},
    state::watch::Touched,
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A state with node `n` and these sessions, `(ID, TTL)`.
fn state(sessions: &[(&str, &str)]) -> State {
    let mut state = State::default();
    let node = RegisterRequest {
        node: "n".into(),
        address: "127.0.0.1".to_owned(),
        ..RegisterRequest::default()
    };
    apply(&mut state, Command::Register(Box::new(node)));
    for (id, ttl) in sessions {
        create(&mut state, id, ttl);
    }
    state
}

fn create(state: &mut State, id: &str, ttl: &str) {
    let session = Session {
        id: id.to_owned(),
        node: "n".into(),
        ttl: ttl.to_owned(),
        lock_delay: 15 * SECOND,
        ..Session::default()
    };
    apply(state, Command::Session(Box::new(SessionCommand::Create(session))));
}

fn apply(state: &mut State, command: Command) -> fsm::Response {
    let index = state.index + 1;
    fsm::apply(state, index, command, &mut Touched::default())
}

fn lock(state: &mut State, session: &str) -> fsm::Response {
    let (key, value) = ("k".to_owned(), bytes::Bytes::new());
    let session = session.to_owned();
    apply(state, Command::Kv(KvCommand::Lock { key, flags: 0, value, session }))
}

/// The IDs of the sessions that are due at a time.
fn ended(clocks: &mut Clocks, state: &State, now: Instant) -> Vec<String> {
    due(clocks, state, now).sessions.into_iter().map(|(id, _)| id).collect()
}

/// What is due at a time, after following the state.
fn due(clocks: &mut Clocks, state: &State, now: Instant) -> Expired {
    clocks.follow(state, now);
    clocks.due(now).0
}

#[test]
fn a_session_ends_after_twice_its_ttl_and_not_before() {
    let (state, start) = (state(&[("a", "10s"), ("b", "30s"), ("c", "")]), Instant::now());
    let mut clocks = Clocks::default();
    assert_eq!(due(&mut clocks, &state, start), Expired::default());
    let early = start + 20 * SECOND - Duration::from_nanos(1);
    assert_eq!(due(&mut clocks, &state, early), Expired::default());
    assert_eq!(clocks.due(early).1, Some(start + 20 * SECOND));
    assert_eq!(ended(&mut clocks, &state, start + 20 * SECOND), ["a"]);
    assert_eq!(ended(&mut clocks, &state, start + 60 * SECOND), ["a", "b"]);
    assert_eq!(ended(&mut clocks, &state, start + 600_000 * SECOND), ["a", "b"]);
}

#[test]
fn a_renewal_starts_the_clock_again_until_the_end_is_proposed() {
    let (mut state, start) = (state(&[("a", "10s")]), Instant::now());
    let mut clocks = Clocks::default();
    clocks.follow(&state, start);
    let session = state.sessions.get("a").unwrap().clone();
    assert!(clocks.renew(&session, start + 19 * SECOND));
    assert_eq!(due(&mut clocks, &state, start + 38 * SECOND), Expired::default());
    let expired = due(&mut clocks, &state, start + 39 * SECOND);
    assert_eq!(expired.sessions.len(), 1);
    assert!(!clocks.renew(&session, start + 39 * SECOND), "its end is on its way");
    apply(&mut state, Command::Session(Box::new(SessionCommand::Expire(expired))));
    assert_eq!(due(&mut clocks, &state, start + 40 * SECOND), Expired::default());
    assert!(clocks.sessions.is_empty());
}

#[test]
fn a_session_that_takes_an_id_again_has_a_clock_of_its_own() {
    let (mut state, start) = (state(&[("a", "10s")]), Instant::now());
    let mut clocks = Clocks::default();
    clocks.follow(&state, start);
    let expired = due(&mut clocks, &state, start + 20 * SECOND);
    apply(&mut state, Command::Session(Box::new(SessionCommand::Destroy { id: "a".into() })));
    create(&mut state, "a", "10s");
    apply(&mut state, Command::Session(Box::new(SessionCommand::Expire(expired))));
    let session = state.sessions.get("a").expect("the end was another's").clone();
    assert_eq!(due(&mut clocks, &state, start + 21 * SECOND), Expired::default());
    assert!(clocks.renew(&session, start + 22 * SECOND));
}

#[test]
fn a_session_renewed_before_it_was_followed_has_its_whole_time() {
    let (state, start) = (state(&[("a", "10s")]), Instant::now());
    let mut clocks = Clocks::default();
    assert!(clocks.renew(state.sessions.get("a").unwrap(), start));
    assert_eq!(due(&mut clocks, &state, start + 19 * SECOND), Expired::default());
    assert_eq!(ended(&mut clocks, &state, start + 20 * SECOND), ["a"]);
}

#[test]
fn a_lost_lock_cannot_be_taken_until_its_delay_is_over() {
    let (mut state, start) = (state(&[("a", ""), ("b", "")]), Instant::now());
    let mut clocks = Clocks::default();
    assert_eq!(lock(&mut state, "a"), fsm::Response::Applied(true));
    apply(&mut state, Command::Session(Box::new(SessionCommand::Destroy { id: "a".into() })));
    assert_eq!(lock(&mut state, "b"), fsm::Response::Applied(false));
    assert_eq!(due(&mut clocks, &state, start), Expired::default());
    assert_eq!(due(&mut clocks, &state, start + 14 * SECOND), Expired::default());
    let expired = due(&mut clocks, &state, start + 15 * SECOND);
    assert_eq!(expired.delays.len(), 1);
    apply(&mut state, Command::Session(Box::new(SessionCommand::Expire(expired.clone()))));
    assert_eq!(lock(&mut state, "b"), fsm::Response::Applied(true));
    // The end of an older delay does not end a younger one.
    apply(&mut state, Command::Session(Box::new(SessionCommand::Destroy { id: "b".into() })));
    apply(&mut state, Command::Session(Box::new(SessionCommand::Expire(expired))));
    create(&mut state, "c", "");
    assert_eq!(lock(&mut state, "c"), fsm::Response::Applied(false));
}

#[test]
fn a_new_leader_gives_every_session_and_delay_its_whole_time() {
    let (mut state, start) = (state(&[("a", "10s"), ("b", "")]), Instant::now());
    lock(&mut state, "b");
    apply(&mut state, Command::Session(Box::new(SessionCommand::Destroy { id: "b".into() })));
    let mut old = Clocks::default();
    old.follow(&state, start);
    let takeover = start + 14 * SECOND;
    let mut new = Clocks::default();
    assert_eq!(due(&mut new, &state, takeover), Expired::default());
    assert_eq!(due(&mut new, &state, start + 28 * SECOND), Expired::default());
    assert_eq!(due(&mut new, &state, start + 29 * SECOND).delays.len(), 1);
    assert!(due(&mut new, &state, start + 33 * SECOND).sessions.is_empty());
    assert_eq!(ended(&mut new, &state, start + 34 * SECOND), ["a"]);
}

#[test]
fn many_ends_are_proposed_in_bounded_batches() {
    let ids: Vec<String> = (0..MAX_BATCH + 5).map(|i| format!("{i:04}")).collect();
    let sessions: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "10s")).collect();
    let (mut state, start) = (state(&sessions), Instant::now());
    let mut clocks = Clocks::default();
    clocks.follow(&state, start);
    let expired = due(&mut clocks, &state, start + 20 * SECOND);
    assert_eq!(expired.sessions.len(), MAX_BATCH);
    apply(&mut state, Command::Session(Box::new(SessionCommand::Expire(expired))));
    assert_eq!(due(&mut clocks, &state, start + 20 * SECOND).sessions.len(), 5);
}
