//! `/v1/agent/`: registration, reports, health codes, self.

use serde_json::Value;

use super::{JSON, TEXT, TestAgent};

#[tokio::test]
async fn s3_13_a_registration_over_http_reaches_the_catalog() {
    let agent = TestAgent::start().await;
    let body = r#"{"Name":"web","Tags":["rails"],"Port":80,"Meta":{"v":"1"},"Check":{"TTL":"1h","Status":"passing"}}"#;
    let index = agent.get("/v1/health/service/web").await.index();
    agent.check("PUT /v1/agent/service/register", body, 200, &[], "").await;
    let rows = agent.get(&format!("/v1/health/service/web?index={index}&wait=10s")).await.json();
    assert_eq!(rows[0]["Service"]["Tags"][0], "rails");
    assert_eq!(rows[0]["Checks"].as_array().unwrap().len(), 2, "serfHealth and its own");
    let row = r#"{"web":{"ID":"web","Service":"web","Tags":["rails"],"Meta":{"v":"1"},"Port":80,"Address":"","Weights":{"Passing":1,"Warning":1},"EnableTagOverride":false,"Datacenter":"dc1"}}"#;
    agent.check("GET /v1/agent/services", "", 200, &[JSON], row).await;
    agent.check("GET /v1/agent/services?filter=Port==81", "", 200, &[JSON], "{}").await;
    let check = r#"{"service:web":{"Node":"agent-one","CheckID":"service:web","Name":"Service 'web' check","Status":"passing","Notes":"","Output":"","ServiceID":"web","ServiceName":"web","ServiceTags":["rails"],"Type":"ttl","Interval":"0s","Timeout":"0s","ExposedPort":0,"Definition":{},"CreateIndex":N,"ModifyIndex":N}}"#;
    agent.check("GET /v1/agent/checks", "", 200, &[JSON], check).await;
    agent.check("PUT /v1/agent/service/deregister/web", "", 200, &[], "").await;
    agent.check("GET /v1/agent/services", "", 200, &[JSON], "{}").await;
    agent.stop().await;
}

#[tokio::test]
async fn what_is_wrong_or_unknown_is_answered_in_consuls_words() {
    let agent = TestAgent::start().await;
    let register = "PUT /v1/agent/service/register";
    let check = "PUT /v1/agent/check/register";
    agent.check(register, r#"{"Name":"web","Check":{"TTL":"1h"}}"#, 200, &[], "").await;
    for (request, body, status, text) in [
        (register, "{}", 400, "Missing service name"),
        (register, r#"{"Nam":"x"}"#, 400, "Request decode failed: json: unknown field \"Nam\""),
        (
            register,
            r#"{"Name":"x","Check":{"Args":["/bin/true"],"Interval":"1s"}}"#,
            500,
            "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true",
        ),
        (check, r#"{"TTL":"1s"}"#, 400, "Missing check name"),
        (check, r#"{"Name":"x","TTL":"1s","Status":"y"}"#, 400, "Bad check status"),
        (
            check,
            r#"{"Name":"x","TTL":"1s","ServiceID":"nope"}"#,
            404,
            "ServiceID \"nope\" does not exist",
        ),
        (
            "PUT /v1/agent/service/deregister/nope",
            "",
            404,
            "Unknown service ID \"nope\". Ensure that the service ID is passed, not the service name.",
        ),
        (
            "PUT /v1/agent/check/pass/nope",
            "",
            404,
            "Unknown check ID \"nope\". Ensure that the check ID is passed, not the check name.",
        ),
        (
            "PUT /v1/agent/check/update/service:web",
            r#"{"Status":"good"}"#,
            400,
            "Invalid check status: 'good'",
        ),
        ("PUT /v1/agent/service/maintenance/web", "", 400, "Missing value for enable"),
        ("PUT /v1/agent/maintenance?enable=x", "", 400, "Invalid value for enable: \"x\""),
        ("GET /v1/agent/service/nope", "", 404, "unknown service ID: nope"),
        (
            "PUT /v1/agent/join/192.0.2.1",
            "",
            500,
            "this agent is not in that pool: its port is off in the configuration",
        ),
    ] {
        agent.check(request, body, status, &[TEXT], text).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn load_balancers_read_health_from_the_status_code() {
    let agent = TestAgent::start().await;
    let body = r#"{"Name":"web","Check":{"TTL":"1h"}}"#;
    agent.check("PUT /v1/agent/service/register", body, 200, &[], "").await;
    let by_id = "GET /v1/agent/health/service/id/web?format=text";
    for (report, status, word) in
        [("pass", 200, "passing"), ("warn", 429, "warning"), ("fail", 503, "critical")]
    {
        let report = format!("PUT /v1/agent/check/{report}/service:web?note=why");
        agent.check(&report, "", 200, &[], "").await;
        agent.check(by_id, "", status, &[TEXT, ("x-consul-reason", word)], word).await;
        let name = agent.get("/v1/agent/health/service/name/web").await;
        assert_eq!((name.status, &name.json()[0]["AggregatedStatus"]), (status, &word.into()));
        assert_eq!(name.json()[0]["Checks"][0]["Output"], "why");
    }
    let maintenance = "PUT /v1/agent/service/maintenance/web?enable=true&reason=moving";
    agent.check(maintenance, "", 200, &[], "").await;
    agent.check(by_id, "", 503, &[TEXT], "maintenance").await;
    let unknown = "GET /v1/agent/health/service/name/nope";
    agent.check(unknown, "", 404, &[TEXT], "ServiceName nope Not Found").await;
    agent.stop().await;
}

#[tokio::test]
async fn a_service_read_blocks_on_the_hash_of_its_content() {
    let agent = TestAgent::start().await;
    let register = |port: u16| {
        let body = format!(r#"{{"Name":"web","Port":{port}}}"#);
        let agent = &agent;
        async move { agent.check("PUT /v1/agent/service/register", &body, 200, &[], "").await }
    };
    register(80).await;
    let first = agent.get("/v1/agent/service/web").await;
    let hash = first.header("x-consul-contenthash").unwrap();
    assert_eq!(first.json()["ContentHash"], hash);
    assert_eq!(first.header("x-consul-index"), None);
    let blocking = format!("/v1/agent/service/web?hash={hash}&wait=10s");
    let (changed, ()) = tokio::join!(agent.get(&blocking), async {
        // Says nothing new: does not wake the reader.
        register(80).await;
        register(81).await;
    });
    assert_eq!(changed.json()["Port"], 81);
    let hash = changed.header("x-consul-contenthash").unwrap();
    let unchanged = agent.get(&format!("/v1/agent/service/web?hash={hash}&wait=20ms")).await;
    assert_eq!(unchanged.header("x-consul-contenthash"), Some(hash));
    agent.stop().await;
}

#[tokio::test]
async fn self_has_what_clients_read() {
    let agent = TestAgent::start().await;
    let own = agent.get("/v1/agent/self").await.json();
    for (part, key, value) in [
        ("Config", "NodeName", Value::from("agent-one")),
        ("Config", "Datacenter", "dc1".into()),
        ("Config", "Server", true.into()),
        ("Config", "Version", lictor_api::CONSUL_VERSION.into()),
        ("DebugConfig", "ConnectEnabled", true.into()),
        ("DebugConfig", "DNSPort", (-1).into()),
        ("DebugConfig", "GRPCPort", (-1).into()),
        ("DebugConfig", "SerfAdvertiseAddrLAN", "tcp://127.0.0.1:0".into()),
        ("Member", "Status", 1.into()),
        ("Meta", "consul-network-segment", "".into()),
    ] {
        assert_eq!(own[part][key], value, "{part}.{key}");
    }
    assert_eq!(own["Member"]["Tags"]["role"], "consul");
    assert_eq!(own["Member"]["Tags"]["segment"], "");
    assert!(own["Coord"].is_null() && own["Stats"]["raft"].is_object());
    let members = agent.get("/v1/agent/members").await.json();
    assert_eq!(members[0], own["Member"]);
    let wan = agent.get("/v1/agent/members?wan=1").await.json();
    assert_eq!(wan[0]["Name"], "agent-one.dc1");
    agent.stop().await;
}
