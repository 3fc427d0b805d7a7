//! What holds for every endpoint: paths, methods, parameters, headers, formats, blocking.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn paths_and_methods_are_routed_as_in_consul() {
    let agent = TestAgent::start().await;
    for (request, status, headers, expected) in [
        (
            "GET /v1/nope",
            404,
            &[TEXT][..],
            "Invalid URL path: not a recognized HTTP API endpoint\n",
        ),
        (
            "GET /v1/status/leader/",
            404,
            &[],
            "Invalid URL path: not a recognized HTTP API endpoint\n",
        ),
        (
            "GET /nope",
            404,
            &[TEXT],
            "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n",
        ),
        (
            "POST /v1/kv/a",
            405,
            &[TEXT, ("allow", "OPTIONS,GET,PUT,DELETE")],
            "method POST not allowed",
        ),
        ("PUT /v1/status/leader", 405, &[("allow", "OPTIONS,GET")], "method PUT not allowed"),
        ("OPTIONS /v1/kv/a", 200, &[("allow", "OPTIONS,GET,PUT,DELETE")], ""),
        (
            "GET /v1/kv//a/../b?raw&x=%20",
            301,
            &[("location", "/v1/kv/b?raw&x=%20"), ("content-type", "text/html; charset=utf-8")],
            "<a href=\"/v1/kv/b?raw&amp;x=%20\">Moved Permanently</a>.\n\n",
        ),
        ("PUT /v1/kv//a", 301, &[("location", "/v1/kv/a")], ""),
        (
            "GET /v1/kv",
            301,
            &[("location", "/v1/kv/")],
            "<a href=\"/v1/kv/\">Moved Permanently</a>.\n\n",
        ),
        ("GET /v1/status/peers", 200, &[JSON, ("vary", "Accept-Encoding")], "[\"127.0.0.1:0\"]"),
        ("GET /v1/status/leader", 200, &[JSON], "\"127.0.0.1:0\""),
    ] {
        agent.check(request, "", status, headers, expected).await;
    }
    assert_eq!(agent.send("HEAD /v1/kv/a", "").await.status, 405);
    agent.stop().await;
}

#[tokio::test]
async fn the_root_leads_to_the_ui_only_when_there_is_one() {
    let agent = TestAgent::start_with(|config| config.ui_enabled = false).await;
    let text = "Consul Agent: UI disabled. To enable, set ui_config.enabled=true in the agent configuration and restart.";
    agent.check("GET /", "", 200, &[TEXT], text).await;
    agent.stop().await;
    let agent = TestAgent::start_with(|config| config.ui_enabled = true).await;
    let answer = agent.get("/").await;
    assert_eq!((answer.status, answer.header("location")), (301, Some("/ui/")));
    agent.stop().await;
}

#[tokio::test]
async fn parameters_are_checked_before_anything_is_done() {
    let agent = TestAgent::start().await;
    for (query, status, expected) in [
        ("index=x", 400, "Invalid index"),
        ("index=-1", 400, "Invalid index"),
        ("wait=10", 400, "Invalid wait time"),
        ("wait=-1s", 400, "Invalid wait time"),
        ("max_stale=x", 400, "Invalid max_stale value \"x\""),
        ("stale&consistent", 400, "Cannot specify ?stale with ?consistent, conflicting semantics."),
        (
            "cached&consistent",
            400,
            "Cannot specify ?cached with ?consistent, conflicting semantics.",
        ),
        (
            "ns=x",
            400,
            "Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature",
        ),
        (
            "partition=x",
            400,
            "Invalid query parameter: \"partition\" - Partitions are a Consul Enterprise feature",
        ),
        ("dc=dc2", 500, "No path to datacenter"),
        ("dc=dc1&datacenter=dc2", 500, "No path to datacenter"),
        ("dc=dc2&datacenter=dc1", 200, "[]"),
        ("ns=&partition=&index=&wait=&token=x", 200, "[]"),
    ] {
        let request = format!("GET /v1/health/checks/none?{query}");
        agent.check(&request, "", status, &[], expected).await;
    }
    let namespace = [("X-Consul-Namespace", "x")];
    let answer = agent.send_with("GET /v1/kv/a", &namespace, "").await;
    assert_eq!(
        (answer.status, answer.text()),
        (
            400,
            "Invalid header: \"X-Consul-Namespace\" - Namespaces are a Consul Enterprise feature"
        )
    );
    agent.stop().await;
}

#[tokio::test]
async fn every_read_says_how_fresh_it_is() {
    let agent = TestAgent::start().await;
    for (query, consistency) in [
        ("", "leader"),
        ("leader", "leader"),
        ("cached", "leader"),
        ("stale", "stale"),
        ("leader&stale", "leader"),
        ("max_stale=10s", "stale"),
        ("consistent", "consistent"),
    ] {
        let answer = agent.get(&format!("/v1/catalog/service/none?{query}")).await;
        assert!(answer.index() >= 1);
        for (name, value) in [
            ("x-consul-lastcontact", "0"),
            ("x-consul-knownleader", "true"),
            ("x-consul-effective-consistency", consistency),
            ("x-consul-query-backend", "blocking-query"),
            ("x-consul-default-acl-policy", "allow"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{query}: {name}");
        }
    }
    agent.stop().await;
}

#[tokio::test]
async fn json_is_written_as_go_writes_it() {
    let agent = TestAgent::start().await;
    agent.send("PUT /v1/kv/a%3Cb%3E%26%E2%80%A8", "").await;
    let compact = r#"["a\u003cb\u003e\u0026\u2028"]"#;
    agent.check("GET /v1/kv/?keys", "", 200, &[], compact).await;
    let pretty = "[\n    \"a\\u003cb\\u003e\\u0026\\u2028\"\n]\n";
    agent.check("GET /v1/kv/?keys&pretty", "", 200, &[], pretty).await;
    agent.stop().await;
    let agent = TestAgent::start_with(|config| config.pretty_json = true).await;
    agent.check("GET /v1/catalog/datacenters", "", 200, &[], "[\n    \"dc1\"\n]").await;
    agent.check("GET /v1/kv/?keys", "", 200, &[], "[]").await;
    agent.stop().await;
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_accept_it() {
    let agent = TestAgent::start().await;
    for (length, coding, compressed) in [
        (1399, "gzip", false),
        (1400, "deflate, gzip;q=0.5", true),
        (1400, "identity", false),
        (1400, "gzip;q=0", false),
    ] {
        let value = "v".repeat(length);
        agent.send("PUT /v1/kv/long", value.clone()).await;
        let accept = [("accept-encoding", coding)];
        let answer = agent.send_with("GET /v1/kv/long?raw", &accept, "").await;
        assert_eq!(answer.header("content-encoding"), compressed.then_some("gzip"), "{coding}");
        let mut decoded = String::new();
        if compressed {
            let mut decoder = flate2::read::GzDecoder::new(&answer.body[..]);
            std::io::Read::read_to_string(&mut decoder, &mut decoded).unwrap();
        } else {
            decoded.push_str(answer.text());
        }
        assert_eq!(decoded, value);
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_blocking_query_wakes_on_a_change_and_only_on_that() {
    let agent = TestAgent::start().await;
    agent.send("PUT /v1/kv/watched", "one").await;
    let index = agent.get("/v1/kv/watched").await.index();
    let path = format!("/v1/kv/watched?raw&index={index}&wait=60s");
    let answer = {
        let mut blocked = std::pin::pin!(agent.get(&path));
        let other = async {
            agent.until_someone_blocks().await;
            agent.send("PUT /v1/kv/other", "x").await
        };
        tokio::select! {
            answer = &mut blocked => panic!("woken by another key: {}", answer.text()),
            _ = other => {}
        }
        tokio::join!(blocked, agent.send("PUT /v1/kv/watched", "two")).0
    };
    assert_eq!(answer.text(), "two");
    assert!(answer.index() > index);
    agent.stop().await;
}

#[tokio::test]
async fn a_blocking_query_ends_at_its_wait_with_the_same_index() {
    let agent = TestAgent::start().await;
    let index = agent.get("/v1/kv/absent").await.index();
    let answer = agent.get(&format!("/v1/kv/absent?index={index}&wait=50ms")).await;
    assert_eq!((answer.status, answer.index()), (404, index));
    agent.stop().await;
}

#[tokio::test]
async fn ready_once_there_are_leader_and_roots() {
    let agent = TestAgent::start().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let answer = agent.get("/v1/agent/ready").await;
        match (answer.status, answer.text()) {
            (200, "ready") => break,
            (503, "no cluster leader" | "no mesh roots") => {}
            other => panic!("{other:?}"),
        }
        assert!(tokio::time::Instant::now() < deadline, "never ready");
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_panic_is_one_requests_error() {
    let answer = crate::http::dispatch::guarded(async { panic!("a defect") }).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (500, &b"internal error"[..]));
}
