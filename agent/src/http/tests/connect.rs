//! Certificates and intentions.

use lictor_api::types::connect::{CaConfiguration, CaRootList, LeafCert};
use serde_json::json;

use super::{JSON, TEXT, TestAgent};

const EXACT: &str = "/v1/connect/intentions/exact?source=web&destination=db";

#[tokio::test]
async fn roots_are_shown_as_json_and_pem() {
    let agent = TestAgent::start().await;
    let list: CaRootList =
        serde_json::from_slice(&agent.get("/v1/connect/ca/roots").await.body).unwrap();
    assert!(list.trust_domain.ends_with(".consul") && list.roots.len() == 1);
    assert_eq!(list.roots[0].id, list.active_root_id);
    let local = agent.get("/v1/agent/connect/ca/roots").await;
    assert_eq!(serde_json::from_slice::<CaRootList>(&local.body).unwrap(), list);
    assert!(local.index() > 0);
    let pem = agent.get("/v1/connect/ca/roots?pem=true").await;
    assert_eq!(pem.header("content-type"), Some("application/pem-certificate-chain"));
    assert_eq!(pem.text(), list.roots[0].root_cert);
    agent.stop().await;
}

#[tokio::test]
async fn a_leaf_comes_with_its_index_and_is_blocked_on() {
    let agent = TestAgent::start().await;
    let answer = agent.get("/v1/agent/connect/ca/leaf/web").await;
    let leaf: LeafCert = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(leaf.service, "web");
    assert!(leaf.service_uri.ends_with("/svc/web"), "{}", leaf.service_uri);
    assert!(leaf.private_key_pem.contains("PRIVATE KEY"));
    assert_eq!(answer.index(), leaf.modify_index);
    let path = format!("/v1/agent/connect/ca/leaf/web?index={}&wait=20ms", leaf.modify_index);
    assert_eq!(serde_json::from_slice::<LeafCert>(&agent.get(&path).await.body).unwrap(), leaf);
    agent.check("GET /v1/agent/connect/ca/leaf/", "", 400, &[TEXT], "Missing service name").await;
    agent.stop().await;
}

#[tokio::test]
async fn without_a_mesh_there_are_no_certificates() {
    let agent = TestAgent::start_with(|config| config.connect.enabled = false).await;
    let text = "Connect must be enabled in order to use this endpoint";
    for path in ["/v1/connect/ca/roots", "/v1/agent/connect/ca/roots"] {
        agent.check(&format!("GET {path}"), "", 500, &[TEXT], text).await;
    }
    agent.check("GET /v1/agent/connect/ca/leaf/web", "", 500, &[TEXT], text).await;
    agent.stop().await;
}

#[tokio::test]
async fn the_authoritys_settings_change_without_a_new_root() {
    let agent = TestAgent::start().await;
    let path = "/v1/connect/ca/configuration";
    let before: CaConfiguration = serde_json::from_slice(&agent.get(path).await.body).unwrap();
    assert_eq!((before.provider.as_str(), before.state.as_ref()), ("consul", None));
    assert!(!before.config.contains_key("CSRMaxPerSecond"));
    let roots = agent.get("/v1/connect/ca/roots").await.json();
    let body = json!({"Provider": "consul", "Config": {
        "LeafCertTTL": "24h", "PrivateKey": "", "IntermediateCertTTL": 25_920_000_000_000_000u64,
        "test_state": {"foo": "bar"},
    }});
    agent.check(&format!("PUT {path}"), &body.to_string(), 200, &[], "").await;
    let after: CaConfiguration = serde_json::from_slice(&agent.get(path).await.body).unwrap();
    assert_eq!(after.config["LeafCertTTL"], "24h0m0s");
    assert_eq!(after.state.unwrap()["foo"], "bar");
    assert_eq!(agent.get("/v1/connect/ca/roots").await.json(), roots);

    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let body = json!({"Provider": "consul", "Config": {"PrivateKey": key}});
    agent.check(&format!("PUT {path}"), &body.to_string(), 200, &[], "").await;
    let rotated: CaRootList =
        serde_json::from_slice(&agent.get("/v1/connect/ca/roots").await.body).unwrap();
    assert_eq!(rotated.roots.len(), 2);
    assert!(!agent.get(path).await.text().contains("PRIVATE"));

    let body = json!({"Provider": "vault", "Config": {}});
    let answer = agent.send(&format!("PUT {path}"), body.to_string()).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("unknown CA provider \"vault\""), "{}", answer.text());
    agent.stop().await;
}

#[tokio::test]
async fn authorize_names_the_intention_that_decided() {
    let agent = TestAgent::start().await;
    let roots: CaRootList =
        serde_json::from_slice(&agent.get("/v1/connect/ca/roots").await.body).unwrap();
    let authorize = "POST /v1/agent/connect/authorize";
    let ask = |source: &str| {
        let uri = format!("spiffe://{}/ns/default/dc/dc1/svc/{source}", roots.trust_domain);
        json!({"Target": "db", "ClientCertURI": uri, "ClientCertSerial": "1"}).to_string()
    };
    let default = r#"{"Authorized":true,"Reason":"Default behavior configured by ACLs"}"#;
    agent.check(authorize, &ask("web"), 200, &[JSON], default).await;
    agent.check(&format!("PUT {EXACT}"), r#"{"Action":"deny"}"#, 200, &[], "true").await;
    let denied = concat!(
        r#"{"Authorized":false,"Reason":"Matched L4 intention: default/web =\u003e default/db "#,
        r#"(Precedence: 9, Action: DENY)"}"#
    );
    agent.check(authorize, &ask("web"), 200, &[JSON], denied).await;
    agent.check(authorize, &ask("api"), 200, &[JSON], default).await;
    agent.check(authorize, "{}", 400, &[TEXT], "Target service must be specified").await;
    let bad = r#"{"Target":"db","ClientCertURI":"x"}"#;
    let text = "ClientCertURI not a valid Connect identifier";
    agent.check(authorize, bad, 400, &[TEXT], text).await;
    let foreign = json!({"Target": "db", "ClientCertURI": "spiffe://x/ns/default/dc/d/svc/web"});
    let answer = agent.send(authorize, foreign.to_string()).await;
    assert_eq!(answer.json()["Authorized"], false);
    agent.stop().await;
}

#[tokio::test]
async fn an_intention_is_written_read_matched_and_deleted() {
    let agent = TestAgent::start().await;
    let put = |body: &'static str| (format!("PUT {EXACT}"), body);
    let (request, body) = put(r#"{"Action":"allow","Description":"shop"}"#);
    agent.check(&request, body, 200, &[JSON], "true").await;
    let row = concat!(
        r#"{"Description":"shop","SourceNS":"default","SourceName":"web","#,
        r#""DestinationNS":"default","DestinationName":"db","SourceType":"consul","#,
        r#""Action":"allow","Precedence":9,"CreateIndex":N,"ModifyIndex":N}"#
    );
    agent.check(&format!("GET {EXACT}"), "", 200, &[JSON], row).await;
    agent.check("GET /v1/connect/intentions", "", 200, &[JSON], &format!("[{row}]")).await;
    let by = "GET /v1/connect/intentions/match?by=source&name=default/web";
    agent.check(by, "", 200, &[JSON], &format!(r#"{{"default/web":[{row}]}}"#)).await;
    let check = "GET /v1/connect/intentions/check?source=web&destination=db";
    agent.check(check, "", 200, &[JSON], r#"{"Allowed":true}"#).await;
    agent.check(&format!("DELETE {EXACT}"), "", 200, &[JSON], "true").await;
    let gone = "Intention not found";
    agent.check(&format!("GET {EXACT}"), "", 404, &[TEXT], gone).await;
    agent.check(&format!("DELETE {EXACT}"), "", 404, &[TEXT], gone).await;
    agent.check("GET /v1/connect/intentions", "", 200, &[JSON], "[]").await;
    agent.stop().await;
}

#[tokio::test]
async fn an_intention_with_an_id_is_the_same_intention() {
    let agent = TestAgent::start().await;
    let body = r#"{"SourceName":"web","DestinationName":"db","Action":"deny","CreatedAt":"x"}"#;
    let created = agent.send("POST /v1/connect/intentions", body).await.json();
    let path = format!("/v1/connect/intentions/{}", created["ID"].as_str().unwrap());
    assert_eq!(agent.get(&path).await.json()["SourceName"], "web");
    let twice = agent.send("POST /v1/connect/intentions", body).await;
    assert_eq!(twice.status, 500);
    assert!(twice.text().starts_with("duplicate intention found: default/web => default/db (ID: "));
    let moved = r#"{"SourceName":"api","DestinationName":"db","Action":"deny"}"#;
    assert_eq!(agent.send(&format!("PUT {path}"), moved).await.status, 200);
    assert_eq!(agent.get(&path).await.json()["SourceName"], "api");
    assert_eq!(agent.get(EXACT).await.status, 404);
    // The same names with what is understood written out.
    let same = moved.replace("api", "default/api").replace("db", "default/db");
    assert_eq!(agent.send(&format!("PUT {path}"), same.clone()).await.status, 200);
    assert_eq!(agent.send("POST /v1/connect/intentions", same).await.status, 500);
    assert_eq!(agent.get(&path).await.json()["SourceName"], "api");
    let text =
        "Cannot modify Destination partition/namespace/name for an intention once it exists.";
    let elsewhere = moved.replace("db", "cache");
    agent.check(&format!("PUT {path}"), &elsewhere, 400, &[TEXT], text).await;
    assert_eq!(agent.get("/v1/connect/intentions").await.json().as_array().unwrap().len(), 1);
    agent.check(&format!("DELETE {path}"), "", 200, &[JSON], "true").await;
    agent.check(&format!("GET {path}"), "", 404, &[TEXT], "Intention not found").await;
    let text = "failed intention lookup: index error: UUID must be 36 characters";
    agent.check("GET /v1/connect/intentions/hello", "", 400, &[TEXT], text).await;
    agent.stop().await;
}

#[tokio::test]
async fn wrong_intentions_are_named_and_change_nothing() {
    let agent = TestAgent::start().await;
    let exact = "/v1/connect/intentions/exact";
    for (request, body, status, text) in [
        ("GET", "", 500, "required query parameter 'source' not set"),
        ("PUT ?source=web&destination=db", "{}", 500, "Action must be set to 'allow' or 'deny'"),
        (
            "PUT ?source=we*&destination=db",
            r#"{"Action":"deny"}"#,
            500,
            "SourceName: wildcard character '*' cannot be used with partial values",
        ),
        (
            "PUT ?source=web&destination=*b",
            r#"{"Action":"deny"}"#,
            500,
            "DestinationName: wildcard character '*' cannot be used with partial values",
        ),
        (
            "PUT ?source=web&destination=db",
            r#"{"Permissions":[{"Action":"allow","HTTP":{"PathExact":"/"}}]}"#,
            500,
            "service \"db\" has protocol \"tcp\", which is incompatible with L7 intentions permissions",
        ),
        (
            "PUT ?source=web&destination=db",
            r#"{"Action":"deny","Meta":{"owner":"shop"}}"#,
            500,
            "Meta must not be specified; it belongs to the service-intentions config entry",
        ),
        (
            "PUT ?source=team/web&destination=db",
            r#"{"Action":"deny"}"#,
            400,
            "error parsing source \"team/web\": only the default namespace and partition exist",
        ),
    ] {
        let (method, query) = request.split_once(' ').unwrap_or((request, ""));
        agent.check(&format!("{method} {exact}{query}"), body, status, &[TEXT], text).await;
    }
    let by = "GET /v1/connect/intentions/match";
    agent.check(by, "", 500, &[TEXT], "required query parameter 'by' not set").await;
    let text = "'by' parameter must be one of 'source' or 'destination'";
    agent.check(&format!("{by}?by=x&name=web"), "", 500, &[TEXT], text).await;
    agent.check("GET /v1/connect/intentions", "", 200, &[JSON], "[]").await;
    agent.stop().await;
}

#[tokio::test]
async fn an_intention_with_an_id_has_meta_of_its_own() {
    let agent = TestAgent::start().await;
    let with = |owner: &str| {
        json!({"SourceName": "web", "DestinationName": "db", "Action": "deny",
               "Meta": {"owner": owner}})
        .to_string()
    };
    let created = agent.send("POST /v1/connect/intentions", with("shop")).await.json();
    let path = format!("/v1/connect/intentions/{}", created["ID"].as_str().unwrap());
    assert_eq!(agent.get(&path).await.json()["Meta"], json!({"owner": "shop"}));
    assert_eq!(agent.send(&format!("PUT {path}"), with("stock")).await.status, 200);
    assert_eq!(agent.get(&path).await.json()["Meta"], json!({"owner": "stock"}));
    let long = with(&"x".repeat(513));
    let text = "invalid Meta: Value is too long (limit: 512 characters)";
    agent.check(&format!("PUT {path}"), &long, 500, &[TEXT], text).await;
    agent.stop().await;
}

#[tokio::test]
async fn settings_that_the_authority_does_not_have_are_refused_by_name() {
    let agent = TestAgent::start().await;
    let put = async |config: serde_json::Value| {
        let body = json!({"Provider": "consul", "Config": config}).to_string();
        let answer = agent.send("PUT /v1/connect/ca/configuration", body).await;
        (answer.status, answer.text().to_owned())
    };
    for (config, text) in [
        (
            json!({"PrivateKeyType": "rsa"}),
            "PrivateKeyType cannot be \"rsa\": keys are always \"ec\"",
        ),
        (
            json!({"private_key_bits": 2048}),
            "PrivateKeyBits cannot be \"2048\": keys always have 256 bits",
        ),
        (json!({"CSRMaxConcurrent": 2}), "CSRMaxConcurrent cannot be \"2\": use CSRMaxPerSecond"),
        (
            json!({"RotationPeriod": "90h"}),
            "RotationPeriod cannot be \"90h\": roots are rotated on request",
        ),
    ] {
        let text = format!("invalid certificate authority configuration: {text}");
        assert_eq!(put(config).await, (500, text));
    }
    let same = json!({"PrivateKeyType": "ec", "PrivateKeyBits": 256, "CSRMaxConcurrent": 0});
    assert_eq!(put(same).await.0, 200);
    agent.stop().await;
}
