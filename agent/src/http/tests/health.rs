use super::*;

const CHECK: &str = r#"{"Node":"foo","CheckID":"redis1-check","Name":"check of redis1","Status":"passing","Notes":"","Output":"","ServiceID":"redis1","ServiceName":"redis","ServiceTags":["v1","x"],"Type":"","Interval":"","Timeout":"","ExposedPort":0,"Definition":{},"CreateIndex":N,"ModifyIndex":N}"#;

#[tokio::test]
async fn checks_are_listed_by_node_service_and_state() {
    let agent = TestAgent::start().await;
    agent.register_redis().await;
    let one = format!("[{CHECK}]");
    for (path, expected) in [
        ("node/foo?filter=ServiceID==redis1", &*one),
        ("node/nothing", "[]"),
        ("checks/redis?filter=ServiceTags+contains+v1", &*one),
        ("checks/redis?node-meta=os:plan9", "[]"),
        ("checks/nothing", "[]"),
        ("state/passing?node-meta=os:linux", &*one),
        ("state/any?filter=CheckID+matches+`^redis1`", &*one),
        ("state/critical?node-meta=os:linux", "[]"),
        ("state/nonsense", "[]"),
        ("ingress/redis", "[]"),
        ("connect/redis", "[]"),
    ] {
        agent.check(&format!("GET /v1/health/{path}"), "", 200, &[JSON], expected).await;
    }
    for (path, expected) in [
        ("node/", "Missing node name"),
        ("checks/", "Missing service name"),
        ("service/", "Missing service name"),
        ("ingress/", "Missing service name"),
        ("state/", "Missing check state"),
        ("service/redis?passing=maybe", "Invalid value for ?passing"),
    ] {
        agent.check(&format!("GET /v1/health/{path}"), "", 400, &[TEXT], expected).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn instances_are_listed_with_their_checks() {
    let agent = TestAgent::start().await;
    agent.register_redis().await;
    let rows = agent.get("/v1/health/service/redis").await.json();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let passing = agent.get("/v1/health/service/redis?passing").await;
    let golden = passing.golden();
    assert!(golden.starts_with(r#"[{"Node":{"ID":"","Node":"foo","#), "{golden}");
    assert!(golden.ends_with(&format!(r#""Checks":[{CHECK}]}}]"#)), "{golden}");
    for (query, instances) in [
        ("passing=1", 1),
        ("passing=true", 1),
        ("passing=0", 2),
        ("passing=false&tag=v2", 1),
        ("tag=x", 2),
        ("tag=x&tag=v1", 1),
        ("filter=Service.Meta.version==v2", 1),
        ("filter=Checks.Status==warning", 1),
        ("filter=Node.Meta.os==linux", 2),
    ] {
        let rows = agent.get(&format!("/v1/health/service/redis?{query}")).await.json();
        assert_eq!(rows.as_array().unwrap().len(), instances, "{query}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_bad_filter_is_named() {
    let agent = TestAgent::start().await;
    for (filter, reason) in [
        ("Nope==1", "Selector \"Nope\" is not valid"),
        ("Node.Node===", "1:12 (11): no match found"),
    ] {
        agent
            .check(
                &format!("GET /v1/health/service/redis?filter={filter}"),
                "",
                500,
                &[TEXT],
                &format!("Failed to create boolean expression evaluator: {reason}"),
            )
            .await;
    }
    agent.stop().await;
}
