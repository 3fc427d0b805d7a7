//! Transactions.

use serde_json::json;

use super::*;

/// Runs a transaction and returns its status, results and errors.
async fn txn(agent: &TestAgent, operations: Value) -> (u16, Value, Value) {
    let answer = agent.send("PUT /v1/txn", operations.to_string()).await;
    assert_eq!(answer.header("content-type"), Some("application/json"), "{}", answer.text());
    let mut body = answer.json();
    (answer.status, body["Results"].take(), body["Errors"].take())
}

fn kv(verb: &str, key: &str) -> Value {
    json!({"KV": {"Verb": verb, "Key": key, "Value": "dg=="}})
}

#[tokio::test]
async fn all_operations_are_carried_out_or_none() {
    let agent = TestAgent::start().await;
    let (status, results, errors) =
        txn(&agent, json!([kv("set", "a"), kv("set", "b"), kv("get", "a"), kv("delete", "b")]))
            .await;
    assert_eq!((status, &errors), (200, &Value::Null));
    let values: Vec<_> =
        results.as_array().unwrap().iter().map(|row| &row["KV"]["Value"]).collect();
    assert_eq!(values, [&Value::Null, &Value::Null, &json!("dg==")]);
    let (status, results, errors) = txn(
        &agent,
        json!([kv("set", "c"), kv("get", "missing"), kv("check-not-exists", "a"), kv("get", "c")]),
    )
    .await;
    assert_eq!((status, results), (409, Value::Null));
    assert_eq!(
        errors,
        json!([
            {"OpIndex": 1, "What": "key \"missing\" doesn't exist"},
            {"OpIndex": 2, "What": "key \"a\" exists"},
        ])
    );
    agent.check("GET /v1/kv/?keys", "", 200, &[], r#"["a"]"#).await;
    agent.stop().await;
}

#[tokio::test]
async fn every_kv_verb_does_what_it_says() {
    let agent = TestAgent::start().await;
    let session = agent.send("PUT /v1/session/create", r#"{"NodeChecks":[]}"#).await.json();
    let session = session["ID"].as_str().unwrap();
    agent.send("PUT /v1/kv/t/1", "one").await;
    agent.send("PUT /v1/kv/t/2", "two").await;
    let index = agent.get("/v1/kv/t/1").await.json()[0]["ModifyIndex"].as_u64().unwrap();
    let with = |verb: &str, key: &str, index: u64| json!([{"KV": {"Verb": verb, "Key": key, "Index": index, "Session": session, "Value": "eA=="}}]);
    for (operation, status, what) in [
        (with("cas", "t/1", 0), 409, "failed to set key \"t/1\", index is stale"),
        (with("cas", "t/1", index), 200, ""),
        (
            with("check-index", "t/1", index),
            409,
            "failed index check for key \"t/1\", current modify index",
        ),
        (with("check-index", "no", 1), 409, "failed to check index, key \"no\" doesn't exist"),
        (
            with("check-session", "t/1", 0),
            409,
            "failed session check for key \"t/1\", current session \"\" !=",
        ),
        (with("check-session", "no", 0), 409, "failed to check session, key \"no\" doesn't exist"),
        (
            with("unlock", "t/1", 0),
            409,
            "failed to unlock key \"t/1\", lock isn't held, or is held by another session",
        ),
        (with("lock", "t/1", 0), 200, ""),
        (with("check-session", "t/1", 0), 200, ""),
        (with("lock", "t/1", 0), 200, ""),
        (with("unlock", "t/1", 0), 200, ""),
        (with("check-not-exists", "no", 0), 200, ""),
        (with("get-or-empty", "no", 0), 200, ""),
        (with("get-tree", "t/", 0), 200, ""),
        (with("delete-cas", "t/1", index), 409, "failed to delete key \"t/1\", index is stale"),
        (with("delete-tree", "t/", 0), 200, ""),
        (with("get", "t/2", 0), 409, "key \"t/2\" doesn't exist"),
        (with("delete-cas", "t/1", 1), 200, ""),
        (with("explode", "x", 0), 409, "unknown KV verb \"explode\""),
        (with("set", "", 0), 409, "Must provide key"),
        (json!([{"KV": {"Verb": "lock", "Key": "l"}}]), 409, "missing session"),
        (
            json!([{"KV": {"Verb": "lock", "Key": "l", "Session": "s"}}]),
            409,
            "invalid session \"s\"",
        ),
    ] {
        let (found, _, errors) = txn(&agent, operation.clone()).await;
        assert_eq!(found, status, "{operation}: {errors}");
        let said = errors[0]["What"].as_str().unwrap_or_default();
        assert!(said.starts_with(what), "{operation}: {said}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_lock_in_a_transaction_respects_holders_and_lock_delays() {
    let agent = TestAgent::start().await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let answer = agent.send("PUT /v1/session/create", r#"{"NodeChecks":[]}"#).await.json();
        sessions.push(answer["ID"].as_str().unwrap().to_owned());
    }
    let lock = |session: &str| json!([{"KV": {"Verb": "lock", "Key": "l", "Session": session}}]);
    assert_eq!(txn(&agent, lock(&sessions[0])).await.0, 200);
    let (_, _, errors) = txn(&agent, lock(&sessions[1])).await;
    assert_eq!(errors[0]["What"], "failed to lock key \"l\", lock is already held");
    agent.send(&format!("PUT /v1/session/destroy/{}", sessions[0]), "").await;
    let (_, _, errors) = txn(&agent, lock(&sessions[1])).await;
    assert_eq!(errors[0]["What"], "failed to lock key \"l\" due to lock delay");
    agent.stop().await;
}

#[tokio::test]
async fn catalog_rows_are_read_and_written() {
    let agent = TestAgent::start().await;
    let node = json!({"Node": {"Verb": "set", "Node": {"Node": "n", "Address": "10.0.0.1"}}});
    let service = json!({"Service": {"Verb": "set", "Node": "n",
        "Service": {"ID": "web1", "Service": "web", "Port": 80, "Weights": {"Passing": 0, "Warning": 0}}}});
    let check = json!({"Check": {"Verb": "set", "Check": {"Node": "n", "CheckID": "c",
        "ServiceID": "web1", "Status": "passing", "Definition": {"TCP": "x:1", "Interval": "5s"}}}});
    let (status, results, errors) = txn(&agent, json!([node, service, check])).await;
    assert_eq!((status, errors), (200, Value::Null));
    assert_eq!(results[0]["Node"]["Datacenter"], "dc1");
    assert_eq!(results[0]["Node"]["Meta"], Value::Null);
    assert_eq!(results[1]["Service"]["Weights"]["Passing"], 1);
    let row = &results[2]["Check"];
    assert_eq!((&row["ServiceName"], &row["Type"]), (&json!("web"), &json!("tcp")));
    assert_eq!(
        agent.get("/v1/health/service/web?passing").await.json().as_array().unwrap().len(),
        1
    );
    let index = row["ModifyIndex"].as_u64().unwrap();
    for (operation, status, what) in [
        (json!({"Node": {"Verb": "get", "Node": {"Node": "x"}}}), 409, "node \"x\" doesn't exist"),
        (json!({"Node": {"Verb": "get", "Node": {"Node": "N"}}}), 200, ""),
        (
            json!({"Node": {"Verb": "cas", "Node": {"Node": "n", "Address": "10.0.0.2"}}}),
            409,
            "failed to set node \"n\", index is stale",
        ),
        (
            json!({"Node": {"Verb": "set", "Node": {"Address": "10.0.0.2"}}}),
            409,
            "Must provide node",
        ),
        (json!({"Node": {"Verb": "nope"}}), 409, "unknown Node verb \"nope\""),
        (
            json!({"Service": {"Verb": "get", "Node": "n", "Service": {"ID": "x"}}}),
            409,
            "service \"x\" on node \"n\" doesn't exist",
        ),
        (
            json!({"Service": {"Verb": "cas", "Node": "n", "Service": {"Service": "web", "ID": "web1"}}}),
            409,
            "failed to set service \"web1\" on node \"n\", index is stale",
        ),
        (
            json!({"Service": {"Verb": "set", "Node": "x", "Service": {"Service": "web"}}}),
            409,
            "Missing node registration",
        ),
        (
            json!({"Service": {"Verb": "delete-cas", "Node": "n", "Service": {"ID": "web1"}}}),
            409,
            "failed to delete service \"web1\" on node \"n\", index is stale",
        ),
        (
            json!({"Check": {"Verb": "get", "Check": {"Node": "n", "CheckID": "x"}}}),
            409,
            "check \"x\" on node \"n\" doesn't exist",
        ),
        (
            json!({"Check": {"Verb": "set", "Check": {"Node": "n", "CheckID": "x", "ServiceID": "x"}}}),
            409,
            "Missing service registration",
        ),
        (
            json!({"Check": {"Verb": "delete-cas", "Check": {"Node": "n", "CheckID": "c", "ModifyIndex": index + 1}}}),
            409,
            "failed to delete check \"c\" on node \"n\", index is stale",
        ),
        (
            json!({"Check": {"Verb": "delete-cas", "Check": {"Node": "n", "CheckID": "c", "ModifyIndex": index}}}),
            200,
            "",
        ),
        (json!({"Service": {"Verb": "delete", "Node": "n", "Service": {"ID": "web1"}}}), 200, ""),
        (json!({"Node": {"Verb": "delete", "Node": {"Node": "n"}}}), 200, ""),
    ] {
        let (found, _, errors) = txn(&agent, json!([operation])).await;
        assert_eq!(found, status, "{operation}: {errors}");
        assert_eq!(errors[0]["What"].as_str().unwrap_or_default(), what, "{operation}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_critical_check_in_a_transaction_ends_sessions() {
    let agent = TestAgent::start().await;
    agent.register_redis().await;
    let session = agent
        .send("PUT /v1/session/create", r#"{"Node":"foo","NodeChecks":["redis1-check"]}"#)
        .await
        .json();
    let id = session["ID"].as_str().unwrap();
    agent.check(&format!("PUT /v1/kv/k?acquire={id}"), "", 200, &[], "true").await;
    let critical = json!({"Check": {"Verb": "set", "Check": {"Node": "foo",
        "CheckID": "redis1-check", "ServiceID": "redis1", "Status": "critical"}}});
    let failing = json!([critical, kv("get", "missing")]);
    assert_eq!(txn(&agent, failing).await.0, 409);
    assert_eq!(agent.get("/v1/kv/k").await.json()[0]["Session"], json!(id));
    assert_eq!(txn(&agent, json!([critical])).await.0, 200);
    assert_eq!(agent.get("/v1/kv/k").await.json()[0]["Session"], Value::Null);
    agent.stop().await;
}

#[tokio::test]
async fn reads_alone_accept_consistency_modes_and_are_no_log_entry() {
    let agent = TestAgent::start().await;
    agent.send("PUT /v1/kv/a", "v").await;
    let index = agent.get("/v1/kv/a").await.index();
    let body = json!([kv("get", "a")]).to_string();
    for (query, mode) in [("", "leader"), ("?stale", "stale"), ("?consistent", "consistent")] {
        let answer = agent.send(&format!("PUT /v1/txn{query}"), body.clone()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-consul-effective-consistency"), Some(mode));
        assert_eq!(answer.header("x-consul-knownleader"), Some("true"));
    }
    let written = agent.send("PUT /v1/kv/a", "w").await;
    assert_eq!(written.text(), "true");
    assert!(agent.get("/v1/kv/a").await.index() > index);
    let conflict = "Cannot specify ?stale with ?consistent, conflicting semantics.";
    agent.check("PUT /v1/txn?stale&consistent", &body, 400, &[TEXT], conflict).await;
    agent.stop().await;
}

#[tokio::test]
async fn what_is_no_transaction_is_refused() {
    let agent = TestAgent::start().await;
    let many = Value::from(vec![kv("set", "a"); 129]).to_string();
    let too_many = "Transaction contains too many operations (129 > 128)";
    agent.check("PUT /v1/txn", &many, 413, &[TEXT], too_many).await;
    assert_eq!(txn(&agent, Value::from(vec![kv("set", "a"); 128])).await.0, 200);
    let unknown = "Failed to parse body: json: unknown field \"Nope\"";
    agent.check("PUT /v1/txn", r#"[{"Nope":1}]"#, 400, &[TEXT], unknown).await;
    let large = format!("[{}]", " ".repeat(524_288));
    let answer = agent.send("PUT /v1/txn", large).await;
    assert_eq!(answer.status, 413);
    assert!(answer.text().starts_with("Request body(524290 bytes) too large"));
    agent.stop().await;
}
