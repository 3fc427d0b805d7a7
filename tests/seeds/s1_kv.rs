//! s1: keys and values.

use std::process::Command;

use harness::{Agent, tools};
use serde_json::json;

#[test]
fn s1_13_a_key_is_put_read_and_deleted() {
    let agent = Agent::dev(json!({}));
    let url = agent.url("/v1/kv/hello");
    assert_eq!(tools::stdout("curl", &["-s", "-X", "PUT", "-d", "World", &url]), "true");
    let pair = &agent.get_json("/v1/kv/hello")[0];
    assert_eq!(pair["Value"], "V29ybGQ=");
    assert_eq!((pair["LockIndex"].as_u64(), pair["Flags"].as_u64()), (Some(0), Some(0)));
    assert_eq!(pair["Key"], "hello");
    assert!(pair["CreateIndex"].as_u64().unwrap() > 0 && pair["ModifyIndex"].as_u64().unwrap() > 0);
    let raw = tools::run("curl", &["-s", &format!("{url}?raw")]).stdout;
    assert_eq!(raw, b"World");
    assert_eq!(tools::stdout("curl", &["-s", "-X", "DELETE", &url]), "true");
    assert_eq!(
        tools::stdout("curl", &["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]),
        "404"
    );
}

#[test]
fn s1_20_a_body_is_stored_byte_for_byte() {
    let agent = Agent::dev(json!({}));
    let url = agent.url("/v1/kv/f");
    let status = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-X", "PUT", "-d", "a=b&c=%41+d", &url])
        .status();
    assert!(status.unwrap().success());
    assert_eq!(tools::run("curl", &["-s", &format!("{url}?raw")]).stdout, b"a=b&c=%41+d");
}
