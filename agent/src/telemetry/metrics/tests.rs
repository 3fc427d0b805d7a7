use std::{collections::BTreeSet, env, fmt::Write, fs, path::Path};

use lictor_config::Source;
use lictor_runtime::metrics::Unit;
use tokio::net::UdpSocket;

use super::*;

const INTRODUCTION: &str = "# Metrics of the agent

<!-- Generated from the table of metrics in the code; UPDATE_GOLDEN=1 in its tests writes it again. -->

`GET /v1/agent/metrics` shows the last ten seconds that are over as JSON, and with
`?format=prometheus` everything since the start as Prometheus text, if
`telemetry.prometheus_retention_time` is set. `telemetry.statsd_address` and
`telemetry.dogstatsd_addr` have it sent every ten seconds.

Whole names begin with `telemetry.metrics_prefix` (`consul`), those of gauges go on with the host's
name unless `telemetry.disable_hostname` is set: `consul.raft.apply`,
`consul.host-1.runtime.alloc_bytes`. Prometheus has `_` instead of dots. Samples are summaries there,
with quantiles of the last ten seconds.

Names are Consul's where Consul has the metric; those that begin with `lictor` are our own.

| Name | Kind | Unit | Labels | Meaning |
|---|---|---|---|---|
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for row in TABLE {
        let unit = match row.unit {
            Unit::Count => "number",
            Unit::Milliseconds => "ms",
            Unit::Bytes => "bytes",
            Unit::Flag => "0 or 1",
        };
        let labels: Vec<_> = row.handle.labels().iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (row.name, row.handle.kind(), row.help);
        writeln!(page, "| `{name}` | {kind} | {unit} | {} | {help} |", labels.join(", ")).unwrap();
    }
    page
}

#[test]
fn the_reference_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("METRICS.md");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, page(), "run this test with UPDATE_GOLDEN=1 and commit {path:?}");
}

#[test]
fn names_are_in_order_without_doubles_and_mean_something() {
    assert!(TABLE.windows(2).all(|pair| pair[0].name < pair[1].name));
    for row in TABLE {
        assert!(
            row.help.ends_with('.') && !row.help.contains("  "),
            "{}: {:?}",
            row.name,
            row.help
        );
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        assert!(row.name.chars().all(is_plain), "{}", row.name);
    }
}

/// A row that nothing counts would be 0 for ever.
#[test]
fn every_handle_of_the_table_is_used_where_something_is_counted() {
    let table = include_str!("table.rs");
    let own = table.lines().filter_map(|line| line.split_once("\" => ")?.1.split_once(' '));
    let handles: Vec<&str> =
        own.map(|(handle, _)| handle).filter(|handle| !handle.starts_with('(')).collect();
    assert!(handles.len() > 40, "{handles:?}");
    let mut words = BTreeSet::new();
    read_words(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut words);
    for handle in handles {
        assert!(words.contains(handle), "nothing counts with {handle}");
    }
}

/// Collects the words of all sources below `directory` but the table and tests.
fn read_words(directory: &Path, words: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests") || path.ends_with("tests.rs") || path.ends_with("table.rs") {
            continue;
        }
        if path.is_dir() {
            read_words(&path, words);
            continue;
        }
        let source = fs::read_to_string(path).unwrap();
        let ends_word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        words.extend(source.split(ends_word).map(str::to_owned));
    }
}

#[tokio::test]
async fn every_configured_server_receives_gauges_and_what_was_counted() {
    let (statsd, dogstatsd) = (
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
    );
    let source = Source { node_name: Some("one".into()), ..Source::default() };
    let mut config = lictor_config::build(source, true, Vec::new()).unwrap();
    config.telemetry.disable_hostname = true;
    config.telemetry.statsd_address = Some(statsd.local_addr().unwrap().to_string());
    config.telemetry.dogstatsd_address = Some(dogstatsd.local_addr().unwrap().to_string());
    config.telemetry.dogstatsd_tags = vec!["team:mesh".to_owned()];
    // Nothing else is sent, so that the gauge is in the first packet.
    config.telemetry.filter_default = false;
    config.telemetry.prefix_filter.allowed = vec!["consul.version".to_owned()];
    VERSION.with(&["1.2.3"]).set(1.0);
    let mut receivers = Receivers::new(&config.telemetry);
    assert!(!receivers.is_empty());
    receivers.send(&settings(&config), SystemTime::now()).await;
    for (socket, expected) in [
        (&statsd, "consul.version.1.2.3:1|g"),
        (&dogstatsd, "consul.version:1|g|#team:mesh,version:1.2.3"),
    ] {
        let mut packet = [0; 2000];
        let length = socket.recv(&mut packet).await.unwrap();
        let lines: Vec<&str> = str::from_utf8(&packet[..length]).unwrap().lines().collect();
        assert!(lines.contains(&expected), "{lines:?}");
    }
}
