//! Old formats stay readable: log entries and snapshots as earlier versions wrote them.
//!
//! `tests/golden/formats` holds them as hexadecimal text, each with a readable rendering. What is
//! there was written once and is never written again; `UPDATE_GOLDEN=1` only adds what is new. A
//! rendering may lack fields that were added since, or have a null that is now left out; nothing
//! else may differ.

mod entries;
mod samples;
mod snapshots;

use std::{fmt::Write, fs, io, path::PathBuf};

use serde_json::Value;

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/formats")).join(name)
}

/// Returns whether goldens that are missing are to be written.
fn may_add() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// Returns the text of a golden; empty if there is none yet.
fn read(name: &str) -> String {
    match fs::read_to_string(path(name)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => panic!("reading {name}: {error}"),
    }
}

fn write(name: &str, text: &str) {
    fs::write(path(name), text).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(48) {
        line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let value = |digit: char| {
        digit.to_digit(16).unwrap_or_else(|| panic!("{digit:?} is not a hexadecimal digit"))
    };
    let digits: Vec<u32> = text.chars().filter(|c| !c.is_whitespace()).map(value).collect();
    assert!(digits.len().is_multiple_of(2), "{} digits are no whole bytes", digits.len());
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

/// Returns `value` with byte strings, which JSON has as lists of numbers, as text.
fn readable(value: Value) -> Value {
    let byte = |item: &Value| item.as_u64().and_then(|number| u8::try_from(number).ok());
    match value {
        Value::Array(items) => {
            match items.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|b| !b.is_empty()) {
                Some(bytes) if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) => {
                    String::from_utf8(bytes).unwrap().into()
                }
                Some(bytes) => format!("{} bytes {}", bytes.len(), hex(&bytes)).trim_end().into(),
                None => Value::Array(items.into_iter().map(readable).collect()),
            }
        }
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, readable(value))).collect())
        }
        scalar => scalar,
    }
}

/// Fails unless `now` has every field of `then` with its value; `now` may have more, and a field
/// that was null may be gone.
fn assert_covers(now: &Value, then: &Value, place: &str) {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            for (name, then) in then {
                let now = now.get(name).unwrap_or(&Value::Null);
                assert_covers(now, then, &format!("{place}.{name}"));
            }
        }
        (Value::Array(now), Value::Array(then)) => {
            assert_eq!(now.len(), then.len(), "{place}");
            now.iter().zip(then).for_each(|(now, then)| assert_covers(now, then, place));
        }
        (now, then) => assert_eq!(now, then, "{place} is decoded to another value than before"),
    }
}

#[test]
fn a_rendering_may_gain_fields_and_lose_only_null_ones() {
    let then = serde_json::json!({"a": [{"b": 1}]});
    assert_covers(&serde_json::json!({"a": [{"b": 1, "c": 2}], "d": 3}), &then, "");
    assert_covers(&serde_json::json!({}), &serde_json::json!({"a": null}), "");
    for now in [
        serde_json::json!({"a": [{"c": 1}]}),
        serde_json::json!({"a": [{"b": 2}]}),
        serde_json::json!({"a": [{"b": 1}, {"b": 1}]}),
    ] {
        assert!(std::panic::catch_unwind(|| assert_covers(&now, &then, "")).is_err(), "{now}");
    }
}
