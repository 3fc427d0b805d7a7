//! Reloads: as a whole or not at all.

use std::path::Path;

use lictor_config::{Source, files, runtime::Listen};
use serde_json::{Value, json};

use super::*;
use crate::app::Running;

fn config(data_dir: &Path, json: &Value) -> RuntimeConfig {
    let source = files::parse(Path::new("test.json"), &json.to_string()).unwrap();
    let name = Source { node_name: Some("agent-one".into()), ..Source::default() };
    let source = files::overlay(source, name);
    let mut config = lictor_config::build(source, true, Vec::new()).unwrap();
    config.listen = Listen::default();
    (config.server_port, config.serf_lan_port, config.serf_wan_port) = (0, 0, 0);
    config.data_dir = Some(data_dir.to_owned());
    config
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
    assert_eq!((&*config.domain, config.queries.max_wait.as_secs()), ("consul.", 600));
    let table = agent.local.snapshot();
    assert_eq!(table.service("web").unwrap().service.port, 1);
    assert!(table.service("bad").is_none());
    drop(config);
    running.shutdown().await;
}
