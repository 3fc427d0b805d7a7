//! Snapshots: a state with rows in every table, as each version of the tables wrote it.

use serde_json::Value;

use super::{assert_covers, hex, may_add, path, read, readable, samples, unhex, write};
use crate::{
    fsm,
    state::{State, snapshot, watch::Touched},
};

/// A floor needs thousands of deleted keys; it is a number like `kv_index`.
const MAY_BE_EMPTY: &[&str] = &["graveyard_floor"];

fn rendering(bytes: &[u8]) -> Value {
    readable(snapshot::rendering(bytes))
}

fn names() -> Vec<String> {
    let numbered = (1..).map(|number| format!("snapshot-{number}.txt"));
    numbered.take_while(|name| path(name).exists()).collect()
}

fn parse(name: &str) -> (Vec<u8>, Value) {
    let text = read(name);
    let (bytes, said) = text.split_at(text.find('{').unwrap());
    (unhex(bytes), serde_json::from_str(said).unwrap())
}

/// Returns the state that every sample made.
fn sampled() -> State {
    let mut state = State::default();
    for (index, command) in (1..).zip(samples::all()) {
        fsm::apply(&mut state, index, command, &mut Touched::default());
    }
    state
}

/// Returns the tables of today that `said` has nothing in.
fn missing(said: &Value) -> Vec<String> {
    let today = rendering(&State::default().to_snapshot().unwrap());
    let tables = today.as_object().unwrap().keys();
    let is_empty = |table: &&String| match &said[table.as_str()] {
        Value::Null => true,
        Value::Array(rows) => rows.is_empty(),
        Value::Number(number) => number.as_u64() == Some(0),
        _ => false,
    };
    tables.filter(is_empty).filter(|name| !MAY_BE_EMPTY.contains(&name.as_str())).cloned().collect()
}

#[test]
fn every_old_snapshot_is_read_as_it_was_written() {
    let names = names();
    assert!(!names.is_empty() || may_add(), "no golden snapshot");
    for name in names {
        let (bytes, said) = parse(&name);
        let state = State::from_snapshot(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_covers(&rendering(&state.to_snapshot().unwrap()), &said, &name);
    }
}

#[test]
fn the_newest_golden_snapshot_has_rows_in_every_table() {
    let newest = names().pop().map(|name| parse(&name).1).unwrap_or(Value::Null);
    let tables = missing(&newest);
    if tables.is_empty() {
        return;
    }
    assert!(may_add(), "no golden has {tables:?}; UPDATE_GOLDEN=1 adds one from samples.rs");
    let bytes = sampled().to_snapshot().unwrap();
    let said = rendering(&bytes);
    assert_eq!(missing(&said), Vec::<String>::new(), "no sample writes to these");
    let said = serde_json::to_string_pretty(&said).unwrap();
    let name = format!("snapshot-{}.txt", names().len() + 1);
    write(&name, &format!("{}{said}\n", hex(&bytes)));
}
