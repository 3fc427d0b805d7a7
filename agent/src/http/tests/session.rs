//! Sessions and locks.

use serde_json::json;

use super::*;

/// The session made by this body.
async fn create(agent: &TestAgent, body: &str) -> String {
    let answer = agent.send("PUT /v1/session/create", body.to_owned()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["ID"].as_str().unwrap().to_owned()
}

/// An agent that has registered itself in the catalog, with node check `serfHealth`.
async fn agent() -> TestAgent {
    let agent = TestAgent::start().await;
    let registration = r#"{"Node":"agent-one","SkipNodeUpdate":true,
        "Check":{"CheckID":"serfHealth","Status":"passing"}}"#;
    agent.check("PUT /v1/catalog/register", registration, 200, &[], "true").await;
    agent
}

#[tokio::test]
async fn a_session_has_consuls_defaults_and_shape() {
    let agent = agent().await;
    let id = create(&agent, "").await;
    let session = format!(
        r#"[{{"ID":"{id}","Name":"","Node":"agent-one","LockDelay":15000000000,"Behavior":"release","TTL":"","NodeChecks":["serfHealth"],"ServiceChecks":null,"CreateIndex":N,"ModifyIndex":N}}]"#
    );
    let known = [JSON, ("x-consul-knownleader", "true")];
    for path in ["info/", "node/agent-one?x=", "node/Agent-One?x=", "list?x="] {
        let request = format!("GET /v1/session/{path}{id}");
        agent.check(&request, "", 200, &known, &session).await;
    }
    agent.check(&format!("PUT /v1/session/renew/{id}"), "", 200, &[JSON], &session).await;
    agent.check(&format!("PUT /v1/session/destroy/{id}"), "", 200, &[JSON], "true").await;
    agent.check(&format!("PUT /v1/session/destroy/{id}"), "", 200, &[], "true").await;
    let gone = format!("Session id '{id}' not found");
    agent.check(&format!("PUT /v1/session/renew/{id}"), "", 404, &[TEXT], &gone).await;
    for path in ["info/x", "node/other", "list"] {
        agent.check(&format!("GET /v1/session/{path}"), "", 200, &known, "[]").await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_session_is_made_as_it_is_asked_for() {
    let agent = agent().await;
    agent.register_redis().await;
    let body = r#"{"name":"n","node":"foo","lockdelay":"20s","behavior":"delete","ttl":"30s",
        "NodeChecks":[],"ServiceChecks":[{"ID":"redis1-check"}]}"#;
    let id = create(&agent, body).await;
    let session = &agent.get(&format!("/v1/session/info/{id}")).await.json()[0];
    for (field, value) in [
        ("Name", json!("n")),
        ("Node", json!("foo")),
        ("LockDelay", json!(20_000_000_000_u64)),
        ("Behavior", json!("delete")),
        ("TTL", json!("30s")),
        ("NodeChecks", json!([])),
        ("ServiceChecks", json!([{"ID": "redis1-check", "Namespace": ""}])),
    ] {
        assert_eq!(session[field], value, "{field}");
    }
    for (body, checks) in [
        (r#"{"Checks":["serfHealth"]}"#, json!(["serfHealth"])),
        (r#"{"Checks":[]}"#, json!([])),
        (r#"{"NodeChecks":null}"#, json!([])),
        (r#"{"ID":"mine","CreateIndex":7}"#, json!(["serfHealth"])),
    ] {
        let id = create(&agent, body).await;
        assert_eq!(
            agent.get(&format!("/v1/session/info/{id}")).await.json()[0]["NodeChecks"],
            checks
        );
    }
    agent.stop().await;
}

#[tokio::test]
async fn what_a_session_cannot_be_is_refused_in_consuls_words() {
    let agent = agent().await;
    agent.register_redis().await;
    let critical = r#"{"Node":"foo","SkipNodeUpdate":true,"Check":{"CheckID":"bad"}}"#;
    agent.check("PUT /v1/catalog/register", critical, 200, &[], "true").await;
    for (body, status, error) in [
        (r#"{"TTL":"5s"}"#, 500, "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]"),
        (
            r#"{"TTL":"25h"}"#,
            500,
            "Invalid Session TTL '90000000000000', must be between [10s=24h0m0s]",
        ),
        (r#"{"TTL":"soon"}"#, 500, "Session TTL 'soon' invalid: time: invalid duration \"soon\""),
        (r#"{"Behavior":"explode"}"#, 500, "Invalid Behavior setting 'explode'"),
        (r#"{"Node":"nobody"}"#, 500, "Missing node registration"),
        (r#"{"NodeChecks":["dne"]}"#, 500, "Missing check 'dne' registration"),
        (r#"{"Node":"foo","NodeChecks":["bad"]}"#, 500, "Check 'bad' is in critical state"),
        (r#"{"Nope":1}"#, 400, "Request decode failed: json: unknown field \"Nope\""),
    ] {
        agent.check("PUT /v1/session/create", body, status, &[TEXT], error).await;
    }
    for request in ["PUT /v1/session/destroy/", "PUT /v1/session/renew/", "GET /v1/session/info/"] {
        agent.check(request, "", 400, &[TEXT], "Missing session").await;
    }
    agent.check("GET /v1/session/node/", "", 400, &[TEXT], "Missing node name").await;
    agent
        .check(
            "GET /v1/session/create",
            "",
            405,
            &[("allow", "OPTIONS,PUT")],
            "method GET not allowed",
        )
        .await;
    agent.stop().await;
}

#[tokio::test]
async fn a_key_is_locked_by_one_session_at_a_time() {
    let agent = agent().await;
    let (one, two) = (create(&agent, "").await, create(&agent, "").await);
    for (query, body, answer) in [
        (format!("acquire={one}&flags=7"), "a", "true"),
        (format!("acquire={one}&flags=7"), "a", "true"),
        (format!("acquire={two}"), "b", "false"),
        (format!("release={two}"), "b", "false"),
        ("flags=7".to_owned(), "c", "true"),
    ] {
        agent.check(&format!("PUT /v1/kv/k?{query}"), body, 200, &[], answer).await;
    }
    let pair = format!(
        r#"[{{"LockIndex":1,"Key":"k","Flags":7,"Value":"Yw==","Session":"{one}","CreateIndex":N,"ModifyIndex":N}}]"#
    );
    agent.check("GET /v1/kv/k", "", 200, &[], &pair).await;
    agent.check(&format!("PUT /v1/kv/k?release={one}"), "", 200, &[], "true").await;
    agent.check(&format!("PUT /v1/kv/k?acquire={two}"), "", 200, &[], "true").await;
    assert_eq!(agent.get("/v1/kv/k").await.json()[0]["LockIndex"], 2);
    for (query, error) in [
        ("acquire=nobody", "invalid session \"nobody\""),
        ("acquire=", "missing session"),
        ("release=", "missing session"),
    ] {
        agent.check(&format!("PUT /v1/kv/k?{query}"), "", 500, &[TEXT], error).await;
    }
    agent.check("PUT /v1/kv/k?release=nobody", "", 200, &[], "false").await;
    agent.stop().await;
}

#[tokio::test]
async fn a_lost_session_gives_up_its_keys_and_its_lock_delay_holds() {
    let agent = agent().await;
    let release = create(&agent, "").await;
    let delete = create(&agent, r#"{"Behavior":"delete","LockDelay":0}"#).await;
    let other = create(&agent, r#"{"NodeChecks":[]}"#).await;
    for (key, session) in [("r", &release), ("d", &delete)] {
        agent.check(&format!("PUT /v1/kv/{key}?acquire={session}"), "v", 200, &[], "true").await;
    }
    let critical = r#"{"Node":"agent-one","SkipNodeUpdate":true,
        "Check":{"CheckID":"serfHealth","Status":"critical"}}"#;
    agent.check("PUT /v1/catalog/register", critical, 200, &[], "true").await;
    assert_eq!(agent.get("/v1/session/list").await.json()[0]["ID"], json!(other));
    let pair = &agent.get("/v1/kv/r").await.json()[0];
    assert_eq!((&pair["Session"], &pair["LockIndex"]), (&Value::Null, &json!(1)));
    agent.check("GET /v1/kv/d", "", 404, &[], "").await;
    agent.check(&format!("PUT /v1/kv/r?acquire={other}"), "", 200, &[], "false").await;
    agent.check(&format!("PUT /v1/kv/d?acquire={other}"), "", 200, &[], "true").await;
    agent.stop().await;
}

#[tokio::test]
async fn a_blocked_read_wakes_when_a_session_or_lock_is_lost() {
    let agent = agent().await;
    for path in
        ["/v1/session/info/ID", "/v1/session/node/agent-one", "/v1/session/list", "/v1/kv/k"]
    {
        let id = create(&agent, r#"{"LockDelay":0}"#).await;
        agent.check(&format!("PUT /v1/kv/k?acquire={id}"), "", 200, &[], "true").await;
        let path = path.replace("ID", &id);
        let index = agent.get(&path).await.index();
        let blocked = format!("{path}?index={index}&wait=60s");
        let (answer, ()) = tokio::join!(agent.get(&blocked), async {
            agent.until_someone_blocks().await;
            agent.send(&format!("PUT /v1/session/destroy/{id}"), "").await;
        });
        assert!(answer.index() > index, "{path}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn the_leader_ends_a_session_that_nobody_renews() {
    use lictor_core::fsm::{Command, SessionCommand};

    let agent = agent().await;
    let server = agent.running.agent().server().unwrap().clone();
    // Shorter than the API takes, so that the test need not wait long.
    let session = lictor_api::types::session::Session {
        id: "short".to_owned(),
        node: "agent-one".into(),
        ttl: "500ms".to_owned(),
        lock_delay: Duration::from_millis(20),
        ..Default::default()
    };
    let create = Command::Session(Box::new(SessionCommand::Create(session)));
    server.submit(create).await.unwrap();
    agent.check("PUT /v1/kv/k?acquire=short", "", 200, &[], "true").await;
    let ended = server.store().wait_for(|state, topics| {
        topics.add(lictor_core::state::Topic::Sessions);
        state.sessions.get("short").is_none().then_some(())
    });
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("it ends");
    agent.check("PUT /v1/session/renew/short", "", 404, &[], "Session id 'short' not found").await;
    let next = self::create(&agent, "").await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while agent.send(&format!("PUT /v1/kv/k?acquire={next}"), "").await.text() != "true" {
        assert!(Instant::now() < deadline, "the lock-delay does not end");
    }
    agent.stop().await;
}

#[tokio::test]
async fn the_shortest_ttl_is_the_configured_one() {
    let agent = TestAgent::start_with(|config| {
        config.session_ttl_min = Duration::from_secs(30);
    })
    .await;
    let registration = r#"{"Node":"agent-one","SkipNodeUpdate":true,
        "Check":{"CheckID":"serfHealth","Status":"passing"}}"#;
    agent.check("PUT /v1/catalog/register", registration, 200, &[], "true").await;
    let refused = "Invalid Session TTL '29000000000', must be between [30s=24h0m0s]";
    agent.check("PUT /v1/session/create", r#"{"TTL":"29s"}"#, 500, &[TEXT], refused).await;
    create(&agent, r#"{"TTL":"30s"}"#).await;
    create(&agent, r#"{"TTL":"0s"}"#).await;
    agent.stop().await;
}
