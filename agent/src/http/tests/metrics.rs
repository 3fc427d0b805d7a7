use super::*;

/// Returns the value of a series on a Prometheus page; 0 when it is not there.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

async fn scraped() -> TestAgent {
    TestAgent::start_with(|config| {
        config.telemetry.prometheus_retention = Duration::from_secs(3600);
        config.telemetry.disable_hostname = true;
    })
    .await
}

#[tokio::test]
async fn requests_are_counted_by_method_and_endpoint() {
    let agent = scraped().await;
    let page = || async { agent.get("/v1/agent/metrics?format=prometheus").await };
    let count =
        |method: &str| format!("consul_api_http_count{{method=\"{method}\",path=\"v1.kv._\"}}");
    let before = page().await;
    for request in ["PUT /v1/kv/a", "GET /v1/kv/a", "GET /v1/kv/none"] {
        agent.send(request, "x").await;
    }
    let after = page().await;
    assert_eq!(
        (after.status, after.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    // Agents of other tests count in the same process.
    for (series, at_least) in [
        (&*count("GET"), 2.0),
        (&*count("PUT"), 1.0),
        ("consul_kvs_apply_count", 1.0),
        ("consul_raft_apply", 1.0),
        ("consul_raft_commitTime_count", 1.0),
        ("consul_raft_fsm_apply_count", 1.0),
        ("consul_raft_boltdb_storeLogs_count", 1.0),
        ("consul_rpc_query", 2.0),
    ] {
        let counted = value(after.text(), series) - value(before.text(), series);
        assert!(counted >= at_least, "{series}: {counted}\n{}", after.text());
    }
    for (series, at_least) in [
        ("consul_state_nodes{datacenter=\"dc1\"}", 0.0),
        ("consul_raft_last_index", 1.0),
        ("consul_raft_peers", 1.0),
        ("consul_runtime_alloc_bytes", 1e6),
        ("consul_runtime_num_goroutines", 1.0),
    ] {
        assert!(after.text().contains(&format!("\n{series} ")), "{}", after.text());
        assert!(value(after.text(), series) >= at_least, "{}", after.text());
    }
    agent.stop().await;
}

#[tokio::test]
async fn without_a_retention_time_there_is_no_prometheus_page() {
    let agent = TestAgent::start().await;
    let refusal = "Prometheus is not enabled since its retention time is not positive";
    agent.check("GET /v1/agent/metrics?format=prometheus", "", 415, &[TEXT], refusal).await;
    agent.stop().await;
}

#[tokio::test]
async fn the_summary_has_a_gauge_of_memory_under_the_name_that_clients_look_for() {
    let agent = TestAgent::start().await;
    let summary = agent.get("/v1/agent/metrics").await;
    assert_eq!((summary.status, summary.header("content-type")), (200, Some("application/json")));
    let summary = summary.json();
    let gauges = summary["Gauges"].as_array().unwrap();
    let is_memory =
        |name: &str| name.starts_with("consul") && name.ends_with("runtime.alloc_bytes");
    assert!(
        gauges.iter().any(|gauge| is_memory(gauge["Name"].as_str().unwrap())
            && gauge["Value"].as_f64().unwrap() > 1e6),
        "{summary}"
    );
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert!(
        gauges.iter().all(|gauge| {
            gauge["Name"].as_str().unwrap().starts_with(&format!("consul.{host}."))
        }),
        "{summary}"
    );
    for list in ["Points", "Counters", "Samples"] {
        assert!(summary[list].is_array(), "{summary}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_reload_changes_which_metrics_are_shown() {
    let agent = scraped().await;
    let mut config = agent.running.agent().config.load().as_ref().clone();
    config.telemetry.prefix_filter.blocked = vec!["consul.raft".to_owned()];
    agent.running.agent().config.store(config.into());
    let page = agent.get("/v1/agent/metrics?format=prometheus").await;
    assert!(!page.text().contains("consul_raft"), "{}", page.text());
    assert!(page.text().contains("consul_rpc_query "), "{}", page.text());
    agent.stop().await;
}
