use super::*;

const NODE: &str = r#"{"ID":"","Node":"foo","Address":"192.168.10.10","Datacenter":"dc1","TaggedAddresses":{},"Meta":{"os":"linux"},"CreateIndex":N,"ModifyIndex":N}"#;
const REDIS1: &str = r#"{"ID":"redis1","Service":"redis","Tags":["v1","x"],"Address":"","Meta":{"version":"v1"},"Port":6379,"Weights":{"Passing":1,"Warning":1},"EnableTagOverride":false,"Proxy":{"MeshGateway":{},"Expose":{}},"Connect":{},"PeerName":"","CreateIndex":N,"ModifyIndex":N}"#;

#[tokio::test]
async fn what_is_registered_is_listed() {
    let agent = TestAgent::start().await;
    agent.register_redis().await;
    let row = r#"[{"ID":"","Node":"foo","Address":"192.168.10.10","Datacenter":"dc1","TaggedAddresses":{},"NodeMeta":{"os":"linux"},"ServiceKind":"","ServiceID":"redis1","ServiceName":"redis","ServiceTags":["v1","x"],"ServiceAddress":"","ServiceWeights":{"Passing":1,"Warning":1},"ServiceMeta":{"version":"v1"},"ServicePort":6379,"ServiceSocketPath":"","ServiceEnableTagOverride":false,"ServiceProxy":{"MeshGateway":{},"Expose":{}},"ServiceConnect":{},"CreateIndex":N,"ModifyIndex":N}]"#;
    let nodes = format!("[{NODE}]");
    let node = format!(r#"{{"Node":{NODE},"Services":{{"redis1":{REDIS1}}}}}"#);
    let list = format!(r#"{{"Node":{NODE},"Services":[{REDIS1}]}}"#);
    for (path, expected) in [
        ("datacenters", r#"["dc1"]"#),
        ("nodes?filter=Node==foo", &nodes),
        ("nodes?node-meta=os:linux", &nodes),
        ("nodes?node-meta=os:linux&node-meta=rack:2", "[]"),
        ("services?node-meta=os:linux", r#"{"redis":["v1","v2","x"]}"#),
        ("services?filter=ServiceTags+contains+v1", r#"{"redis":["v1","x"]}"#),
        ("service/redis?tag=v1", row),
        ("service/redis?tag=X&tag=V1", row),
        ("service/REDIS?filter=ServiceMeta.version==v1", row),
        ("service/redis?tag=v1&tag=v2", "[]"),
        ("service/redis?node-meta=os:plan9", "[]"),
        ("service/nothing", "[]"),
        ("service/redis?tag=v1&near=_agent&merge-central-config&passing", row),
        ("connect/redis", "[]"),
        ("node/foo?filter=ID==redis1", &node),
        ("node/nothing", "null"),
        ("node-services/foo?filter=ID==redis1", &list),
        ("node-services/nothing", r#"{"Node":null,"Services":[]}"#),
    ] {
        let headers = [JSON, ("x-consul-default-acl-policy", "allow")];
        agent.check(&format!("GET /v1/catalog/{path}"), "", 200, &headers, expected).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn what_is_deregistered_is_gone() {
    let agent = TestAgent::start().await;
    agent.register_redis().await;
    let deregister = "PUT /v1/catalog/deregister";
    agent.check(deregister, r#"{"Node":"foo","ServiceID":"redis1"}"#, 200, &[], "true").await;
    assert_eq!(agent.get("/v1/catalog/service/redis").await.json().as_array().unwrap().len(), 1);
    agent.check(deregister, r#"{"node":"foo","check_id":"redis2-check"}"#, 200, &[], "true").await;
    assert_eq!(agent.get("/v1/health/checks/redis").await.text(), "[]");
    agent.check(deregister, r#"{"Node":"foo"}"#, 200, &[], "true").await;
    assert_eq!(agent.get("/v1/catalog/node/foo").await.text(), "null");
    agent.stop().await;
}

#[tokio::test]
async fn a_proxy_is_a_mesh_endpoint_of_its_destination() {
    let agent = TestAgent::start().await;
    let proxy = r#"{"Node":"n","Address":"10.0.0.1","Service":{"Kind":"connect-proxy","Service":"web-proxy",
        "Port":21000,"Proxy":{"DestinationServiceName":"web"}}}"#;
    agent.check("PUT /v1/catalog/register", proxy, 200, &[], "true").await;
    let rows = agent.get("/v1/catalog/connect/web").await.json();
    assert_eq!(
        (&rows[0]["ServiceName"], &rows[0]["ServicePort"]),
        (&"web-proxy".into(), &21000.into())
    );
    agent.stop().await;
}

/// The Go client writes zero values of fields that it does not mean.
#[tokio::test]
async fn a_registration_of_the_go_client_is_understood() {
    let agent = TestAgent::start().await;
    let body = r#"{"ID":"","Node":"foo","Address":"10.0.0.1","TaggedAddresses":null,"NodeMeta":null,"Datacenter":"",
        "Service":null,"SkipNodeUpdate":false,"Locality":{"Region":"r","Zone":"z"},
        "Check":{"Node":"","CheckID":"c","Name":"c","Status":"passing","Notes":"","Output":"","ServiceID":"",
          "ServiceName":"","Type":"","ExposedPort":0,"Definition":{"Interval":"10s","Timeout":"0s",
          "DeregisterCriticalServiceAfter":"0s","HTTP":"","Header":null,"Method":"","Body":"","TLSServerName":"",
          "TLSSkipVerify":false,"TCP":"","TCPUseTLS":false,"UDP":"","GRPC":"","OSService":"","GRPCUseTLS":false}},
        "Checks":null}"#;
    agent.check("PUT /v1/catalog/register", body, 200, &[], "true").await;
    let nodes = agent.get("/v1/catalog/nodes?filter=Node==foo").await.json();
    assert_eq!(nodes[0]["Locality"], serde_json::json!({"Region": "r", "Zone": "z"}));
    agent.stop().await;
}

#[tokio::test]
async fn an_instance_may_be_registered_before_its_node() {
    let agent = TestAgent::start().await;
    for body in [
        r#"{"Node":"late","SkipNodeUpdate":true,"Service":{"Service":"web"}}"#,
        r#"{"Node":"late","Address":"10.0.0.9","ID":"c6e7a976-8f4f-44b5-bdd3-631be7e8ecac"}"#,
    ] {
        agent.check("PUT /v1/catalog/register", body, 200, &[], "true").await;
    }
    let rows = agent.get("/v1/catalog/service/web").await.json();
    assert_eq!((&rows[0]["Node"], &rows[0]["Address"]), (&"late".into(), &"10.0.0.9".into()));
    agent.stop().await;
}

#[tokio::test]
async fn a_bad_registration_changes_nothing() {
    let agent = TestAgent::start().await;
    for (path, body, status, expected) in [
        ("register", "{", 400, "Request decode failed: "),
        ("register", r#"{"Prot":1}"#, 400, "Request decode failed: json: unknown field \"Prot\""),
        (
            "register",
            r#"{"Namespace":"x"}"#,
            400,
            "Request decode failed: json: unknown field \"Namespace\" - Namespaces are a Consul Enterprise feature",
        ),
        ("register", r#"{"Node":"bad"}"#, 500, "Must provide address if SkipNodeUpdate is not set"),
        ("register", r#"{"Address":"1.1.1.1"}"#, 500, "Must provide node"),
        (
            "register",
            r#"{"Node":"bad","Address":"1.1.1.1","Datacenter":"dc9"}"#,
            500,
            "No path to datacenter",
        ),
        (
            "register",
            r#"{"Node":"bad","Address":"1.1.1.1","Service":{"ID":"x"}}"#,
            500,
            "Must provide service name (Service.Service) when service ID is provided",
        ),
        (
            "register",
            r#"{"Node":"bad","Address":"1.1.1.1","Check":{"CheckID":"c","Status":"meh"}}"#,
            400,
            "Request decode failed: ",
        ),
        ("deregister", "{}", 500, "Must provide node"),
        ("deregister", "", 400, "Request decode failed: "),
    ] {
        let answer = agent.send(&format!("PUT /v1/catalog/{path}"), body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.text().starts_with(expected), "{body}: {}", answer.text());
    }
    assert_eq!(agent.get("/v1/catalog/node/bad").await.text(), "null");
    for (path, expected) in [
        ("/v1/catalog/service/", "Missing service name"),
        ("/v1/catalog/connect/", "Missing service name"),
        ("/v1/catalog/node/", "Missing node name"),
        ("/v1/catalog/node-services/", "Missing node name"),
    ] {
        agent.check(&format!("GET {path}"), "", 400, &[TEXT], expected).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn no_cluster_is_peered_and_there_are_no_sameness_groups() {
    let agent = TestAgent::start().await;
    agent.register_redis().await;
    let sameness = "sameness groups are not supported in consul CE";
    for (path, empty) in [
        ("/v1/catalog/nodes", "[]"),
        ("/v1/catalog/services", "{}"),
        ("/v1/catalog/service/redis", "[]"),
        ("/v1/catalog/connect/redis", "[]"),
        ("/v1/catalog/node/foo", "null"),
        ("/v1/catalog/node-services/foo", r#"{"Node":null,"Services":[]}"#),
        ("/v1/health/node/foo", "[]"),
        ("/v1/health/checks/redis", "[]"),
        ("/v1/health/state/any", "[]"),
        ("/v1/health/service/redis", "[]"),
        ("/v1/health/connect/redis", "[]"),
    ] {
        agent.check(&format!("GET {path}?peer=p"), "", 200, &[JSON], empty).await;
        assert!(agent.get(&format!("{path}?peer=p")).await.index() > 0);
        agent.check(&format!("GET {path}?sg=p"), "", 500, &[TEXT], sameness).await;
    }
    assert_eq!(
        agent.get("/v1/health/service/redis?peer=").await.json().as_array().unwrap().len(),
        2
    );
    agent.stop().await;
}
