use super::*;

#[tokio::test]
async fn intentions_are_written_read_and_deleted() {
    let agent = TestAgent::start().await;
    let entry = r#"{"Kind":"service-intentions","Name":"api","Sources":[{"Name":"web","Action":"allow","Precedence":9,"Type":"consul"}],"CreateIndex":N,"ModifyIndex":N}"#;
    let list = format!("[{entry}]");
    let missing = "Config entry not found for \"service-intentions\" / \"api\"";
    for (request, body, status, expected) in [
        ("GET /v1/config/service-intentions/api", "", 404, missing),
        ("GET /v1/config/service-intentions", "", 200, "[]"),
        ("DELETE /v1/config/service-intentions/api", "", 200, "{}"),
        (
            "PUT /v1/config",
            r#"{"kind":"service-intentions","name":"api","sources":[{"name":"web","action":"allow"}]}"#,
            200,
            "true",
        ),
        ("GET /v1/config/service-intentions/api", "", 200, entry),
        ("GET /v1/config/service-intentions", "", 200, &list),
        (
            "PUT /v1/config?cas=0",
            r#"{"Kind":"service-intentions","Name":"api","Sources":[{"Name":"web","Action":"deny"}]}"#,
            200,
            "false",
        ),
        ("DELETE /v1/config/service-intentions/api?cas=1", "", 200, "false"),
        ("DELETE /v1/config/service-intentions/api", "", 200, "{}"),
        ("GET /v1/config/service-intentions/api", "", 404, missing),
        ("GET /v1/config/service-defaults", "", 200, "[]"),
        ("GET /v1/config/", "", 404, "Must provide either a kind or both kind and name"),
        ("DELETE /v1/config/x", "", 404, "Must provide both a kind and name to delete"),
    ] {
        agent.check(request, body, status, &[], expected).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_bad_entry_is_refused() {
    let agent = TestAgent::start().await;
    let sources = |sources: &str| {
        format!(r#"{{"Kind":"service-intentions","Name":"api","Sources":{sources}}}"#)
    };
    for (body, status, expected) in [
        ("{}".to_owned(), 400, "Payload does not contain a kind/Kind key"),
        ("[]".to_owned(), 400, "Payload does not contain a kind/Kind key"),
        (r#"{"Kind":"mesh"}"#.to_owned(), 400, "invalid config entry kind: \"mesh\""),
        (sources("1"), 400, "Request decode failed: "),
        (sources("[]"), 500, "At least one source is required"),
        (sources(r#"[{"Action":"allow"}]"#), 500, "Sources[0].Name is required"),
        (sources(r#"[{"Name":"a*","Action":"allow"}]"#), 500, "Sources[0].Name: wildcard"),
        (sources(r#"[{"Name":"a"}]"#), 500, "Sources[0].Action must be set to 'allow' or 'deny'"),
        (sources(r#"[{"Name":"a","Action":"maybe"}]"#), 400, "Request decode failed: "),
        (
            sources(r#"[{"Name":"a","Action":"deny"},{"Name":"a","Action":"allow"}]"#),
            500,
            "Sources[1] defines \"a\" more than once",
        ),
    ] {
        let answer = agent.send("PUT /v1/config", body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.text().contains(expected), "{body}: {}", answer.text());
    }
    assert_eq!(agent.get("/v1/config/service-intentions").await.text(), "[]");
    agent.stop().await;
}
