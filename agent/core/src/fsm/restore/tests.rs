use proptest::prelude::*;

use super::*;
use crate::{
    fsm::{Command, KvCommand, apply},
    state::Topic,
};

/// A state and its log's end.
#[derive(Default)]
struct Replica {
    state: State,
    raft_index: u64,
}

impl Replica {
    fn apply(&mut self, command: Command) -> Response {
        self.raft_index += 1;
        // As it comes out of the log.
        let command = Command::decode(&command.encode().unwrap()).unwrap();
        apply(&mut self.state, self.raft_index, command, &mut Touched::default())
    }

    fn set(&mut self, key: &str) -> u64 {
        // A value of its own: writing the same again changes nothing.
        let value = Bytes::from(self.raft_index.to_string());
        let command = KvCommand::Set { key: key.to_owned(), flags: 0, value };
        self.apply(Command::Kv(command));
        self.state.kv.get(key).unwrap().modify_index
    }

    fn restore(&mut self, id: &str, bytes: &[u8]) -> Response {
        let id = id.to_owned();
        self.apply(Command::Restore(RestoreCommand::Begin { id: id.clone() }));
        for (number, part) in bytes.chunks(64).enumerate() {
            let data = Bytes::copy_from_slice(part);
            let part = RestoreCommand::Part { id: id.clone(), number: number as u64, data };
            assert_eq!(self.apply(Command::Restore(part)), Response::Done);
        }
        let (length, checksum) = (bytes.len() as u64, crc32fast::hash(bytes));
        self.apply(Command::Restore(RestoreCommand::Commit { id, length, checksum }))
    }

    fn key_index(&self, key: &str) -> u64 {
        self.state.topic_index(&Topic::KvKey(key.into()))
    }
}

fn saved(keys: &[&str], before: u64) -> (Vec<u8>, State) {
    let mut replica = Replica { raft_index: before, ..Replica::default() };
    for key in keys {
        replica.set(key);
    }
    (replica.state.to_snapshot().unwrap(), replica.state)
}

fn keys(state: &State) -> Vec<String> {
    state.kv.list("").map(|pair| pair.key.clone()).collect()
}

#[test]
fn a_restore_replaces_everything_at_once_and_keeps_the_rows_indexes() {
    let (bytes, old) = saved(&["a", "b"], 10_000);
    let mut replica = Replica::default();
    replica.set("c");
    assert_eq!(replica.restore("r", &bytes), Response::Done);
    assert_eq!(keys(&replica.state), ["a", "b"]);
    for key in ["a", "b"] {
        let (now, then) = (replica.state.kv.get(key).unwrap(), old.kv.get(key).unwrap());
        assert_eq!(now.modify_index, then.modify_index);
    }
    assert_eq!(replica.state.staging, None);
}

#[test]
fn indexes_go_on_above_a_state_that_is_ahead() {
    let (bytes, old) = saved(&["a"], 10_000);
    let mut replica = Replica::default();
    replica.set("c");
    replica.restore("r", &bytes);
    assert!(replica.state.index > old.index);
    assert_eq!(replica.state.raft_index(), replica.raft_index);
    let restored = replica.key_index("a");
    assert_eq!(restored, replica.state.index);
    assert!(replica.set("a") > restored);
    assert_eq!(replica.state.raft_index(), replica.raft_index);
}

#[test]
fn indexes_go_on_above_what_clients_saw_when_the_state_is_older() {
    let mut replica = Replica::default();
    replica.set("a");
    let bytes = replica.state.to_snapshot().unwrap();
    let lost = replica.set("b");
    let seen = (replica.key_index("a"), replica.key_index("b"));
    assert_eq!(replica.restore("r", &bytes), Response::Done);
    assert_eq!(keys(&replica.state), ["a"]);
    assert!(replica.key_index("a") > seen.0 && replica.key_index("b") > seen.1);
    // The index of a lost write is never given again, so nobody's compare-and-set meets it.
    assert!(replica.set("b") > lost);
}

#[test]
fn whatever_is_not_whole_changes_nothing() {
    let (bytes, _) = saved(&["a"], 5);
    let mut replica = Replica::default();
    replica.set("c");
    let floor = replica.key_index("c");
    let begin = |id: &str| Command::Restore(RestoreCommand::Begin { id: id.to_owned() });
    let part = |id: &str, number, data: &[u8]| {
        let data = Bytes::copy_from_slice(data);
        Command::Restore(RestoreCommand::Part { id: id.to_owned(), number, data })
    };
    let commit = |id: &str, length: usize, checksum| {
        let (id, length) = (id.to_owned(), length as u64);
        Command::Restore(RestoreCommand::Commit { id, length, checksum })
    };
    let checksum = crc32fast::hash(&bytes);
    let none = Response::Rejected(Rejection::NoRestore);
    assert_eq!(replica.apply(part("r", 0, &bytes)), none);
    assert_eq!(replica.apply(commit("r", bytes.len(), checksum)), none);
    replica.apply(begin("r"));
    assert!(matches!(replica.apply(part("r", 1, &bytes)), Response::Rejected(_)));
    replica.apply(part("r", 0, &bytes[..40]));
    // Another restore begins: the first can go no further.
    replica.apply(begin("s"));
    assert_eq!(replica.apply(part("r", 1, &bytes[40..])), none);
    replica.apply(part("s", 0, &bytes));
    assert!(matches!(replica.apply(commit("s", bytes.len(), checksum ^ 1)), Response::Rejected(_)));
    // A failed commit drops what was staged.
    assert_eq!(replica.apply(commit("s", bytes.len(), checksum)), none);
    replica.apply(begin("t"));
    replica.apply(part("t", 0, &bytes));
    replica.apply(Command::Restore(RestoreCommand::Abandon { id: "other".to_owned() }));
    assert!(replica.state.staging.is_some());
    replica.apply(Command::Restore(RestoreCommand::Abandon { id: "t".to_owned() }));
    assert_eq!(replica.state.staging, None);
    let garbage = b"LICTSNAPnot at all".as_slice();
    assert!(matches!(replica.restore("u", garbage), Response::Rejected(_)));
    assert_eq!((keys(&replica.state), replica.key_index("c")), (vec!["c".to_owned()], floor));
}

#[test]
fn a_server_that_joins_in_the_middle_completes_the_restore_like_the_others() {
    let (bytes, _) = saved(&["a", "b", "c"], 900);
    let mut first = Replica::default();
    first.set("x");
    let id = "r".to_owned();
    first.apply(Command::Restore(RestoreCommand::Begin { id: id.clone() }));
    let parts: Vec<&[u8]> = bytes.chunks(50).collect();
    let mut second = Replica::default();
    for (number, part) in parts.iter().enumerate() {
        if number == 2 {
            let snapshot = first.state.to_snapshot().unwrap();
            second.state = State::from_snapshot(&snapshot).unwrap();
            second.raft_index = first.raft_index;
        }
        let data = Bytes::copy_from_slice(part);
        let command = RestoreCommand::Part { id: id.clone(), number: number as u64, data };
        first.apply(Command::Restore(command.clone()));
        if number >= 2 {
            second.apply(Command::Restore(command));
        }
    }
    let (length, checksum) = (bytes.len() as u64, crc32fast::hash(&bytes));
    let commit = Command::Restore(RestoreCommand::Commit { id, length, checksum });
    assert_eq!(
        (first.apply(commit.clone()), second.apply(commit)),
        (Response::Done, Response::Done)
    );
    assert_eq!(first.set("y"), second.set("y"));
    assert_eq!(first.state.to_snapshot().unwrap(), second.state.to_snapshot().unwrap());
}

#[test]
fn an_index_that_no_log_reached_is_refused() {
    let state = State { index: u64::MAX, ..State::default() };
    let mut replica = Replica::default();
    let answer = replica.restore("r", &state.to_snapshot().unwrap());
    assert!(matches!(answer, Response::Rejected(Rejection::Unrestorable(_))), "{answer:?}");
}

proptest! {
    #[test]
    fn no_index_is_given_twice_and_none_goes_back(
        steps in proptest::collection::vec((0u8..4, 0usize..5), 1..60)
    ) {
        let mut replica = Replica::default();
        let mut saves = vec![saved(&["k0", "k3"], 1_000).0, saved(&["k1"], 0).0];
        let (mut given, mut seen) = (0, [0; 5]);
        for (step, n) in steps {
            match step {
                0 | 1 => {
                    let index = replica.set(&format!("k{n}"));
                    prop_assert!(index > given);
                    given = index;
                }
                2 => saves.push(replica.state.to_snapshot().unwrap()),
                _ => {
                    let bytes = saves[n % saves.len()].clone();
                    prop_assert_eq!(replica.restore("r", &bytes), Response::Done);
                    given = given.max(replica.state.index);
                }
            }
            prop_assert_eq!(replica.state.raft_index(), replica.raft_index);
            for (n, seen) in seen.iter_mut().enumerate() {
                let index = replica.key_index(&format!("k{n}"));
                prop_assert!(index >= *seen);
                *seen = index;
            }
        }
    }
}
