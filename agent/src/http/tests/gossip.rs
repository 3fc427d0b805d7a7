//! Members, events, coordinates and gossip keys.

use std::{
    net::{IpAddr, Ipv4Addr},
    process,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::{TEXT, TestAgent};

const PORT: u16 = 8301;
const KEY: &str = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=";
const OTHER: &str = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";

/// A loopback address that no other test has: on it, every port is free.
fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 1, low, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

async fn start(name: &str, encrypt: Option<&str>) -> TestAgent {
    let encrypt = encrypt.map(|key| lictor_config::runtime::GossipKey::from_base64(key).unwrap());
    TestAgent::start_with(|config| {
        let address = own_address();
        config.node_name = name.into();
        (config.serf_lan_bind, config.advertise_addr) = (address, address);
        config.serf_lan_port = PORT;
        config.gossip.encrypt = encrypt;
    })
    .await
}

/// Has the second agent join the first.
async fn join(one: &TestAgent, two: &TestAgent) {
    let address = one.running.agent().config.load().serf_lan_bind;
    two.check(&format!("PUT /v1/agent/join/{address}:{PORT}"), "", 200, &[], "").await;
}

async fn until(agent: &TestAgent, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let found = agent.get(path).await.json();
        if wanted(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} is {}", agent.get(path).await.text());
}

#[tokio::test]
async fn agents_join_and_see_each_other() {
    let (one, two) = (start("one", None).await, start("two", None).await);
    join(&one, &two).await;
    let members = until(&one, "/v1/agent/members", |m| m.as_array().unwrap().len() == 2).await;
    assert_eq!((&members[1]["Name"], &members[1]["Status"]), (&json!("two"), &json!(1)));
    assert_eq!(
        (&members[0]["Port"], &members[0]["Tags"]["role"]),
        (&json!(PORT), &json!("consul"))
    );
    let nobody = "agent: No node found with name 'nobody'";
    one.check("PUT /v1/agent/force-leave/nobody", "", 500, &[TEXT], nobody).await;
    two.stop().await;
    until(&one, "/v1/agent/members", |m| m[1]["Status"] == 4 || m[1]["Status"] == 3).await;
    one.check("PUT /v1/agent/force-leave/two?prune", "", 200, &[], "").await;
    until(&one, "/v1/agent/members", |m| m.as_array().unwrap().len() == 1).await;
    one.stop().await;
}

#[tokio::test]
async fn s1_12_an_event_reaches_those_whom_its_filters_name() {
    let (one, two) = (start("front", None).await, start("back-1", None).await);
    join(&one, &two).await;
    one.check("GET /v1/event/list", "", 200, &[("x-consul-index", "1")], "[]").await;
    let fired = one.send("PUT /v1/event/fire/hello?node=back.*", "I am consul!!").await.json();
    assert_eq!(fired["Payload"], "SSBhbSBjb25zdWwhIQ==");
    assert_eq!((&fired["Version"], &fired["LTime"]), (&json!(1), &json!(0)));
    let seen =
        until(&two, "/v1/event/list?name=hello", |e| !e.as_array().unwrap().is_empty()).await;
    assert_eq!((&seen[0]["ID"], &seen[0]["NodeFilter"]), (&fired["ID"], &json!("back.*")));
    one.send("PUT /v1/event/fire/other", "").await;
    let here = until(&one, "/v1/event/list", |e| !e.as_array().unwrap().is_empty()).await;
    assert_eq!((&here[0]["Name"], &here[0]["Payload"]), (&json!("other"), &Value::Null));
    let both = until(&two, "/v1/event/list", |e| e.as_array().unwrap().len() == 2).await;
    assert!(both[1]["LTime"].as_u64() > both[0]["LTime"].as_u64());
    for (request, status, text) in [
        ("PUT /v1/event/fire/", 400, "Missing name"),
        ("PUT /v1/event/fire/x?tag=v1", 400, "Cannot provide tag filter without service filter"),
    ] {
        one.check(request, "", status, &[TEXT], text).await;
    }
    two.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn lists_are_sorted_by_distance() {
    let agent = TestAgent::start().await;
    for (node, height) in [("far", 0.5), ("middle", 0.2), ("near", 0.001)] {
        let body =
            format!(r#"{{"Node":"{node}","Address":"10.0.0.1","Service":{{"Service":"db"}}}}"#);
        agent.check("PUT /v1/catalog/register", &body, 200, &[], "true").await;
        let coord = json!({"Vec":[0,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":height});
        let body = json!({"Node":node,"Segment":"","Coord":coord}).to_string();
        agent.check("PUT /v1/coordinate/update", &body, 200, &[], "").await;
    }
    for path in [
        "/v1/catalog/service/db?near=near",
        "/v1/catalog/nodes?near=near&filter=Address==\"10.0.0.1\"",
    ] {
        let rows = agent.get(&path.replace('"', "%22")).await.json();
        let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| &row["Node"]).collect();
        assert_eq!(names, ["near", "middle", "far"], "{path}");
    }
    let rows = agent.get("/v1/health/service/db?near=near").await.json();
    assert_eq!(rows[2]["Node"]["Node"], "far");
    let entry = agent.get("/v1/coordinate/node/far").await;
    assert_eq!((entry.status, &entry.json()[0]["Coord"]["Height"]), (200, &json!(0.5)));
    assert_eq!(agent.get("/v1/coordinate/node/unknown").await.status, 404);
    assert_eq!(agent.get("/v1/coordinate/nodes").await.json().as_array().unwrap().len(), 3);
    assert_eq!(agent.get("/v1/coordinate/datacenters").await.json()[0]["Datacenter"], "dc1");
    let short = r#"{"Node":"far","Coord":{"Vec":[0]}}"#;
    agent.check("PUT /v1/coordinate/update", short, 400, &[TEXT], "incompatible coordinate").await;
    agent.stop().await;
}

#[tokio::test]
async fn gossip_keys_are_changed_over_http() {
    let agent = start("one", Some(KEY)).await;
    let body = |key: &str| json!({ "Key": key }).to_string();
    agent.check("POST /v1/operator/keyring", &body(OTHER), 200, &[], "").await;
    agent.check("PUT /v1/operator/keyring", &body(OTHER), 200, &[], "").await;
    let rings = agent.get("/v1/operator/keyring").await.json();
    assert_eq!((&rings[0]["WAN"], &rings[0]["NumNodes"]), (&json!(false), &json!(1)));
    assert_eq!(rings[0]["Keys"], json!({ KEY: 1, OTHER: 1 }));
    assert_eq!(rings[0]["PrimaryKeys"], json!({ OTHER: 1 }));
    agent.check("DELETE /v1/operator/keyring", &body(KEY), 200, &[], "").await;
    let refused = agent.send("DELETE /v1/operator/keyring", body(OTHER)).await;
    assert_eq!(refused.status, 500);
    assert!(
        refused.text().contains("removing the primary key is not allowed"),
        "{}",
        refused.text()
    );
    let range = "Relay factor 6 is out of range; the range is [0, 5]";
    agent.check("GET /v1/operator/keyring?relay-factor=6", "", 400, &[TEXT], range).await;
    agent.stop().await;
}
