//! A real Prometheus scrapes a real agent: what it stores is what the agent counted.

use std::{fs, process::Command};

use harness::{Agent, Process, eventually, ports, tools};
use serde_json::{Value, json};

/// Keys that are written, each one entry of the Raft log.
const WRITES: usize = 20;

#[test]
fn prometheus_stores_what_the_agent_counts() {
    if !tools::has("prometheus") {
        return;
    }
    let agent = Agent::dev(json!({
        "telemetry": {"prometheus_retention_time": "60s", "disable_hostname": true},
    }));
    for key in 0..WRITES {
        assert_eq!(agent.put(&format!("/v1/kv/{key}"), "x"), "true");
    }
    let port = ports::free();
    let config = agent.dir().join("prometheus.yml");
    // JSON is YAML.
    let scrape = json!({
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{
            "job_name": "lictor",
            "metrics_path": "/v1/agent/metrics",
            "params": {"format": ["prometheus"]},
            "static_configs": [{"targets": [format!("127.0.0.1:{}", agent.ports.http)]}],
        }],
    });
    fs::write(&config, scrape.to_string()).unwrap();
    let _prometheus = Process::start(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", agent.dir().join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
        &agent.dir().join("prometheus.log"),
    );
    let ask = |path: &str| -> Option<Value> {
        let url = format!("http://127.0.0.1:{port}/api/v1/{path}");
        serde_json::from_str(&tools::stdout("curl", &["-s", &url])).ok()
    };
    let sample = |query: &str| -> Option<f64> {
        let result = ask(&format!("query?query={query}"))?;
        result["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    let count = |query: &str| eventually(query, || sample(query));
    assert_eq!(count("up"), 1.0);
    assert!(count("consul_kvs_apply_count") >= WRITES as f64);
    assert!(count("consul_raft_apply") >= WRITES as f64);
    assert_eq!(count("consul_autopilot_healthy"), 1.0);
    assert!(count("count(%7B__name__=~%22consul_.%2B%22%7D)") > 40.0);
    let targets = ask("targets").unwrap();
    assert_eq!(targets["data"]["activeTargets"][0]["lastError"], "");
    let kinds = ask("metadata?metric=consul_raft_apply").unwrap();
    assert_eq!(kinds["data"]["consul_raft_apply"][0]["type"], "counter");
}
