//! Which changes a reload accepts.

use super::{
    super::{RestartNeeded, check_reload, keys::Reload},
    *,
};

/// Keys without an effect to test: one has a single value, the others only apply to server RPC.
const NOTHING_TO_CHANGE: [&str; 3] =
    ["connect.ca_provider", "tls.https.verify_server_hostname", "tls.grpc.verify_server_hostname"];

#[test]
fn every_setting_has_an_effect_and_reloads_as_the_table_says() {
    for row in settings() {
        let (Kind::Setting { reload, .. }, key) = (row.key.kind, row.dotted()) else { continue };
        if NOTHING_TO_CHANGE.contains(&key.as_str()) {
            continue;
        }
        let [old, new] = change_of(&row).unwrap_or_else(|| panic!("{key} changes nothing"));
        let names = |named: &str| key.starts_with(named) || named.starts_with(&key);
        match check_reload(&old, &new) {
            Ok(next_start) => {
                let found = if next_start.is_empty() { Reload::Live } else { Reload::NextStart };
                assert_eq!(found, reload, "{key}");
                assert!(next_start.iter().all(|named| names(named)), "{key}: {next_start:?}");
            }
            Err(RestartNeeded { keys }) => {
                assert_eq!(Reload::Restart, reload, "{key}: {keys:?}");
                assert!(keys.iter().all(|named| names(named)), "{key}: {keys:?}");
            }
        }
    }
}

/// Returns two configurations that differ in a key: with and without it, or with two values of it
/// if it requires other keys.
fn change_of(row: &Row) -> Option<[RuntimeConfig; 2]> {
    let with = |mut document: Value, value: Value| {
        put(&mut document, row, value);
        document
    };
    // A certificate needs its key and the other way round.
    let beside = |mut document: Value| {
        let other = match row.path.split_last().unwrap() {
            (&"cert_file", blocks) => [blocks, &["key_file"]].concat(),
            (&"key_file", blocks) => [blocks, &["cert_file"]].concat(),
            _ => return document,
        };
        put(&mut document, &Row { path: other, key: row.key }, example(row));
        document
    };
    [
        [small(true), with(small(true), example(row))],
        [full(), with(full(), another(&example(row)))],
        [small(true), beside(with(small(true), example(row)))],
        [small(false), with(small(false), example(row))],
    ]
    .iter()
    .filter_map(|[old, new]| Some([built(old).ok()?, built(new).ok()?]))
    .find(|[old, new]| format!("{old:?}") != format!("{new:?}"))
}

/// Returns another value that is likely to be valid, too.
fn another(value: &Value) -> Value {
    match value {
        Value::Bool(value) => json!(!value),
        Value::Number(value) => value.as_i64().map_or(json!(0.25), |value| json!(value + 1)),
        Value::String(text) if text.starts_with("127.") => json!("127.0.0.77"),
        Value::String(text) => json!(format!("{text}x")),
        Value::Array(items) => json!([&items[..], &items[..]].concat()),
        Value::Object(_) | Value::Null => Value::Null,
    }
}

/// Returns the outcome of a reload that changes these keys of a server.
fn reload(changed: &Value) -> Result<Vec<&'static str>, RestartNeeded> {
    reload_of(&json!({}), changed)
}

/// Returns the outcome of a reload from a server with some keys to one with others.
fn reload_of(given: &Value, changed: &Value) -> Result<Vec<&'static str>, RestartNeeded> {
    let with = |keys: &Value| {
        let mut document = small(true);
        for (key, value) in keys.as_object().unwrap() {
            document[key] = value.clone();
        }
        built(&document).unwrap()
    };
    check_reload(&with(given), &with(changed))
}

fn refused(changed: &Value) -> Vec<&'static str> {
    reload(changed).unwrap_err().keys
}

#[test]
fn another_datacenter_needs_a_restart() {
    assert_eq!(refused(&json!({"datacenter": "dc2"})), ["datacenter"]);
    assert_eq!(refused(&json!({"datacenter": "dc2", "primary_datacenter": "dc1"})), ["datacenter"],);
    assert_eq!(refused(&json!({"primary_datacenter": "dc2"})), ["primary_datacenter"]);
}

#[test]
fn another_name_or_address_needs_a_restart() {
    assert_eq!(refused(&json!({"node_name": "other"})), ["node_name"]);
    assert_eq!(refused(&json!({"bind_addr": "192.0.2.101"})), ["bind_addr"]);
    assert_eq!(refused(&json!({"advertise_addr": "192.0.2.101"})), ["advertise_addr"]);
    assert_eq!(
        refused(&json!({"bind_addr": "192.0.2.101", "advertise_addr_wan": "198.51.100.1"})),
        ["bind_addr", "advertise_addr_wan"],
    );
}

#[test]
fn every_key_that_needs_a_restart_is_named_with_what_to_do() {
    let error = reload(&json!({
        "ports": {"http": 80, "dns": -1}, "data_dir": "/elsewhere", "client_addr": "192.0.2.100",
        "snapshot": {"retain": 3}, "domain": "live.example", "log_level": "debug",
    }))
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "data_dir, snapshot, ports.dns, ports.http, client_addr cannot change while the agent \
         runs; restart the agent to change them, or restore the old values and reload again; \
         nothing was changed",
    );
    let one = reload(&json!({"server": false})).unwrap_err();
    assert_eq!(
        one.to_string(),
        "server cannot change while the agent runs; restart the agent to change it, or restore \
         the old value and reload again; nothing was changed",
    );
}

#[test]
fn one_protocols_address_is_named_and_all_of_them_are_the_clients() {
    assert_eq!(refused(&json!({"addresses": {"dns": "127.0.0.2"}})), ["addresses.dns"]);
    assert_eq!(
        refused(&json!({"addresses": {"http": "127.0.0.1 unix:///run/x.sock"}})),
        ["addresses.http"],
    );
    assert_eq!(refused(&json!({"client_addr": "0.0.0.0"})), ["client_addr"]);
}

#[test]
fn what_is_live_or_counts_at_the_next_start_is_taken() {
    let live = json!({
        "domain": "other.example", "node_meta": {"a": "b"}, "services": [{"name": "web"}],
        "recursors": ["192.0.2.53"], "limits": {"rpc_rate": 5}, "ui": true, "start_join": [],
        "tls": {"internal_rpc": {"tls_min_version": "TLSv1_3"}}, "max_query_time": "1m",
    });
    assert_eq!(reload(&live), Ok(Vec::new()));
    let joined = json!({"retry_join": ["192.0.2.9"], "autopilot": {"min_quorum": 3}});
    assert_eq!(reload(&joined), Ok(vec!["autopilot", "retry_join"]));
    assert_eq!(reload(&json!({})), Ok(Vec::new()));
}

#[test]
fn a_certificate_cannot_take_the_place_of_the_meshs_or_vanish_while_the_agent_runs() {
    let files = |protocol: &str, auto: bool| json!({"tls": {"auto": auto, protocol: {"cert_file": "/c", "key_file": "/k"}}});
    let without = |auto: bool| json!({"tls": {"auto": auto}});
    let key = |result: Result<_, RestartNeeded>| result.unwrap_err().keys;
    assert_eq!(reload_of(&without(false), &files("https", false)), Ok(Vec::new()));
    assert_eq!(key(reload_of(&without(true), &files("https", true))), ["tls.https.cert_file"]);
    assert_eq!(key(reload_of(&files("https", false), &without(false))), ["tls.https.cert_file"]);
    assert_eq!(key(reload_of(&without(false), &files("grpc", false))), ["tls.grpc.cert_file"]);
    let mut newer = files("grpc", false);
    newer["tls"]["grpc"]["tls_min_version"] = json!("TLSv1_3");
    assert_eq!(reload_of(&files("grpc", false), &newer), Ok(Vec::new()));
}
