//! Tests of the table of keys: every key works, is documented, and reloads as the table states.
//!
//! Generated files are in `agent/config`; `UPDATE_GOLDEN=1` writes them again.

mod full;
mod reference;
mod reload;
mod table;

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    ConfigError, RuntimeConfig, build, files,
    keys::{Kind, Row},
    source::Source,
};

/// Keys of the table that exclude others in the full configuration of a server.
const NOT_WITH_THE_REST: [&str; 2] = ["bootstrap", "auto_encrypt.tls"];

/// Returns the rows of the table except blocks.
fn settings() -> Vec<Row> {
    let mut rows = Source::table().rows();
    rows.retain(|row| row.key.kind != Kind::Block);
    rows
}

fn example(row: &Row) -> Value {
    serde_json::from_str(row.key.example)
        .unwrap_or_else(|error| panic!("the example of {}: {error}", row.dotted()))
}

/// Sets the value of a row in a document.
fn put(document: &mut Value, row: &Row, value: Value) {
    let mut place = document;
    for name in &row.path {
        place = &mut place[*name];
    }
    *place = value;
}

/// Returns a server's document with every key of the table except [`NOT_WITH_THE_REST`].
fn full() -> Value {
    let mut document = json!({});
    for row in settings() {
        if !NOT_WITH_THE_REST.contains(&row.dotted().as_str()) {
            put(&mut document, &row, example(&row));
        }
    }
    document
}

/// Returns a small document that builds without reading anything from the machine.
fn small(server: bool) -> Value {
    json!({
        "server": server, "node_name": "n0", "bind_addr": "192.0.2.100", "data_dir": "/data",
    })
}

fn built(document: &Value) -> Result<RuntimeConfig, ConfigError> {
    build(source(document), false, Vec::new())
}

fn source(document: &Value) -> Source {
    files::parse(Path::new("x.json"), &document.to_string()).unwrap()
}

/// Compares with a committed file, or writes it with `UPDATE_GOLDEN=1`.
fn expect_file(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let line =
        actual.lines().zip(expected.lines()).position(|(actual, expected)| actual != expected);
    assert!(
        actual == expected,
        "{} is stale, first at line {}; UPDATE_GOLDEN=1 writes it again",
        path.display(),
        line.map_or_else(|| "its end".to_owned(), |line| (line + 1).to_string()),
    );
}
