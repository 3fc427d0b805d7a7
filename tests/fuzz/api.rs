//! What `lictor-api` reads: JSON written for Go, durations, identities, upstreams.

use std::collections::BTreeMap;

use lictor_api::{GoDuration, SpiffeId, upstream, wire};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A type with a field of every kind.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Row {
    name: String,
    port: u16,
    offset: i64,
    enable_tag: bool,
    tags: Vec<String>,
    meta: BTreeMap<String, String>,
    inner: Option<Box<Row>>,
    rows: Vec<Row>,
}

/// Kinds of fields, for the model.
enum Kind {
    Scalar,
    List,
    Map,
    Row,
    Rows,
}

const FIELDS: [(&str, Kind); 8] = [
    ("Name", Kind::Scalar),
    ("Port", Kind::Scalar),
    ("Offset", Kind::Scalar),
    ("EnableTag", Kind::Scalar),
    ("Tags", Kind::List),
    ("Meta", Kind::Map),
    ("Inner", Kind::Row),
    ("Rows", Kind::Rows),
];

/// Decodes as a model does that rewrites the document first and lets serde decode it then.
pub(crate) fn wire(input: &[u8]) {
    let model = serde_json::from_slice(input).ok().and_then(row);
    let model = model.and_then(|value| serde_json::from_value::<Row>(value).ok());
    match (wire::from_slice::<Row>(input), model) {
        (Ok(decoded), Some(model)) => assert_eq!(decoded, model),
        (Err(error), None) => assert!(!error.to_string().is_empty()),
        (decoded, model) => panic!("{decoded:?} is not {model:?}"),
    }
}

/// The document with every key as the type spells it and without nulls; `None` if it is not a row.
fn row(value: Value) -> Option<Value> {
    let fields = match value {
        Value::Null => Map::new(),
        Value::Object(fields) => fields,
        _ => return None,
    };
    let mut last = BTreeMap::new();
    for (key, value) in fields {
        let field = FIELDS.iter().find(|(name, _)| plain(name) == plain(&key))?;
        last.insert(field.0, (&field.1, value));
    }
    let mut row = Map::new();
    for (name, (kind, value)) in last {
        if value.is_null() {
            continue;
        }
        let value = match (kind, value) {
            (Kind::Scalar, Value::Array(_) | Value::Object(_)) => return None,
            (Kind::Scalar, value) => value,
            (Kind::Row, value) => self::row(value)?,
            (Kind::List, Value::Array(items)) => items.into_iter().map(text).collect(),
            (Kind::Rows, Value::Array(items)) => {
                Value::Array(items.into_iter().map(self::row).collect::<Option<_>>()?)
            }
            (Kind::Map, Value::Object(entries)) => {
                Value::Object(entries.into_iter().map(|(key, value)| (key, text(value))).collect())
            }
            _ => return None,
        };
        row.insert(name.to_owned(), value);
    }
    Some(Value::Object(row))
}

fn text(value: Value) -> Value {
    if value.is_null() { "".into() } else { value }
}

fn plain(key: &str) -> String {
    key.replace('_', "").to_ascii_lowercase()
}

/// Two keys are the same if they are without underscores and capitals.
pub(crate) fn same_key(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (a, b) = text.split_once('\n').unwrap_or((&text, ""));
    assert_eq!(wire::same_key(a, b), plain(a) == plain(b));
}

/// What is printed reads as the same, and no number is taken that does not.
pub(crate) fn duration(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let from_json = serde_json::from_str::<GoDuration>(&text).ok();
    for duration in text.parse::<GoDuration>().ok().into_iter().chain(from_json) {
        let printed = duration.to_string();
        assert_eq!(printed.parse::<GoDuration>(), Ok(duration), "{printed}");
        assert!(duration.0.as_nanos() <= i64::MAX as u128 && printed.len() <= 32, "{printed}");
    }
}

/// What is read is written the same way but for the case of the trust domain, and has only the
/// characters of a SPIFFE ID.
pub(crate) fn spiffe(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(id) = text.parse::<SpiffeId>() else { return };
    let written = id.to_string();
    assert_eq!(written.parse::<SpiffeId>(), Ok(id));
    assert!(written.eq_ignore_ascii_case(&text) && written.starts_with("spiffe://"));
    let allowed = |c: char| c.is_ascii_alphanumeric() || "./-_".contains(c);
    assert!(written["spiffe://".len()..].chars().all(allowed), "{written}");
}

/// A list that is read is read again from its canonical text, and no two want the same port.
pub(crate) fn upstream(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let list = match upstream::parse(&text) {
        Ok(list) => list,
        Err(error) => {
            assert!(text.contains(&error.item) || error.to_string().contains("already taken"));
            return;
        }
    };
    let printed: Vec<String> = list.iter().map(ToString::to_string).collect();
    assert_eq!(upstream::parse(&printed.join(",")).as_ref(), Ok(&list), "{printed:?}");
    for (position, one) in list.iter().enumerate() {
        assert!(list[..position].iter().all(|other| other.bind() != one.bind()));
        let name = one.env_name();
        assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'));
    }
}
