//! Reloads: as a whole or not at all.

use std::path::Path;

use lictor_config::{Source, files, runtime::Listen};
use serde_json::{Value, json};

use super::*;
use crate::app::Running;

fn config(data_dir: &Path, json: &Value) -> RuntimeConfig {
    let source = files::parse(Path::new("test.json"), &json.to_string()).unwrap();
    let name = Source { node_name: Some("agent-one".into()), ..Source::default() };
    let source = files::overlay(name, source);
    let mut config = lictor_config::build(source, true, Vec::new()).unwrap();
    config.listen = Listen::default();
    (config.server_port, config.serf_lan_port, config.serf_wan_port) = (0, 0, 0);
    config.data_dir = Some(data_dir.to_owned());
    config
}

#[tokio::test]
async fn a_reload_that_needs_a_restart_is_refused_by_key_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(config(dir.path(), &json!({}))).await.unwrap();
    let agent = running.agent();
    let web = json!([{"name": "web", "port": 1}]);
    for (changed, key) in [
        (json!({"datacenter": "dc2", "services": web}), "datacenter"),
        (json!({"node_name": "other", "services": web}), "node_name"),
        (json!({"bind_addr": "127.0.0.5", "services": web}), "bind_addr"),
    ] {
        let refused = agent.reload(config(dir.path(), &changed)).await.unwrap_err().to_string();
        let expected = format!("{key} cannot change while the agent runs; ");
        assert!(refused.starts_with(&expected), "{refused}");
        let in_force = agent.config.load();
        assert_eq!((&*in_force.datacenter, &*in_force.node_name), ("dc1", "agent-one"));
        assert_eq!(in_force.bind_addr.to_string(), "127.0.0.1");
        assert_eq!(&*agent.local.node().name, "agent-one");
        assert!(agent.local.snapshot().service("web").is_none());
    }
    agent.reload(config(dir.path(), &json!({"services": web}))).await.unwrap();
    assert!(agent.local.snapshot().service("web").is_some());
    running.shutdown().await;
}

#[tokio::test]
async fn a_refused_reload_changes_nothing_and_says_why_once() {
    let dir = tempfile::tempdir().unwrap();
    let old = config(dir.path(), &json!({"service": {"name": "web", "port": 1}}));
    let running = Running::start(old).await.unwrap();
    let agent = running.agent();
    let changed = json!({"domain": "other.", "max_query_time": "1m", "services": [
        {"name": "web", "port": 2}, {"name": "bad", "check": {"ttl": "1s", "interval": "1s"}}]});
    let refused = agent.reload(config(dir.path(), &changed)).await.unwrap_err();
    assert_eq!(
        format!("{:#}", anyhow::Error::from(refused)),
        "registering the configured services and checks: \
         Invalid check: Interval and TTL cannot both be specified"
    );
    let config = agent.config.load();
    assert_eq!((&*config.domain, config.queries.max_wait.as_secs()), ("consul", 600));
    let table = agent.local.snapshot();
    assert_eq!(table.service("web").unwrap().service.port, 1);
    assert!(table.service("bad").is_none());
    drop(config);
    running.shutdown().await;
}
