//! `GET /v1/agent/metrics`: what this agent has counted (Consul "View metrics").
//!
//! COMPAT: the JSON is that of Go's go-metrics: the last window that is over, and the gauges as they
//! are now. Counters and samples that nothing was counted in are left out.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::StatusCode;
use jiff::{Timestamp, tz::TimeZone};
use lictor_core::acl::Access;
use lictor_runtime::metrics::{Distribution, Reading, Settings, Value, WINDOW, Window, prometheus};
use serde::Serialize;

use super::{Context, HttpError, Request, Response};
use crate::telemetry::metrics::{self, REGISTRY};

/// The metrics of a window.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    timestamp: String,
    gauges: Vec<Gauge>,
    /// Values one by one: there are none.
    points: [(); 0],
    counters: Vec<Aggregate>,
    samples: Vec<Aggregate>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Gauge {
    name: String,
    value: f64,
    labels: Labels,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Aggregate {
    name: String,
    count: u64,
    /// The sum in a second.
    rate: f64,
    sum: f64,
    min: f64,
    max: f64,
    mean: f64,
    stddev: f64,
    labels: Labels,
}

type Labels = BTreeMap<&'static str, String>;

/// `GET /v1/agent/metrics`; `?format=prometheus` for the text that Prometheus scrapes.
pub(super) async fn show(cx: Context, request: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Agent { write: false })?;
    let (settings, now) = (metrics::settings(&cx.agent.config.load()), SystemTime::now());
    let is_prometheus = request.param("format") == Some("prometheus");
    if is_prometheus && settings.retention.is_zero() {
        return Err(HttpError::PrometheusOff);
    }
    cx.agent.read_gauges();
    if is_prometheus {
        let page = prometheus::render(&REGISTRY, &settings, now);
        return Ok(Response { body: page.into(), ..Response::empty(StatusCode::OK) }
            .with_header("content-type", prometheus::CONTENT_TYPE));
    }
    Response::json(&summary(&REGISTRY.last_window(now), &REGISTRY.gauges(), &settings))
}

fn summary(window: &Window, gauges: &[Reading], settings: &Settings) -> Summary {
    let mut summary = Summary {
        timestamp: timestamp(window.started),
        gauges: Vec::new(),
        points: [],
        counters: Vec::new(),
        samples: Vec::new(),
    };
    for reading in gauges.iter().chain(&window.readings) {
        let is_gauge = matches!(reading.value, Value::Level(_));
        let name = settings.name(reading.row.name, is_gauge);
        if !settings.filter.shows(&name) {
            continue;
        }
        let labels = reading.labels.iter().cloned().collect();
        match &reading.value {
            Value::Level(value) => summary.gauges.push(Gauge { name, value: *value, labels }),
            Value::Events(events) => summary.counters.push(aggregate(name, events, labels)),
            Value::Observations(observed) => {
                summary.samples.push(aggregate(name, observed, labels));
            }
        }
    }
    summary
}

fn aggregate(name: String, counted: &Distribution, labels: Labels) -> Aggregate {
    Aggregate {
        name,
        count: counted.count,
        rate: counted.sum / WINDOW.as_secs_f64(),
        sum: counted.sum,
        min: counted.min,
        max: counted.max,
        mean: counted.mean(),
        stddev: counted.stddev(),
        labels,
    }
}

/// Returns a time in the form that Go prints it in.
fn timestamp(unix_seconds: u64) -> String {
    let at = Timestamp::try_from(UNIX_EPOCH + Duration::from_secs(unix_seconds));
    let at = at.unwrap_or_default().to_zoned(TimeZone::UTC);
    at.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

#[cfg(test)]
mod tests {
    use lictor_runtime::metrics::{Counter, Family, Filter, Handle, Registry, Row, Sample, Unit};

    use super::*;

    static APPLIED: Counter = Counter::new();
    static NODES: lictor_runtime::metrics::Gauge = lictor_runtime::metrics::Gauge::new();
    static CALLS: Family<Sample> = Family::new(&["method", "path"]);
    static ROWS: &[Row] = &[
        Row { name: "raft.apply", unit: Unit::Count, help: "", handle: Handle::Counter(&APPLIED) },
        Row { name: "state.nodes", unit: Unit::Count, help: "", handle: Handle::Gauge(&NODES) },
        Row {
            name: "api.http",
            unit: Unit::Milliseconds,
            help: "",
            handle: Handle::Samples(&CALLS),
        },
    ];
    static REGISTRY: Registry = Registry::new(ROWS);

    #[test]
    fn the_summary_has_consuls_shape() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        REGISTRY.close_window(at(1_136_214_240));
        APPLIED.add(3);
        NODES.set(2.0);
        CALLS.with(&["GET", "v1.kv._"]).observe(2.0);
        CALLS.with(&["GET", "v1.kv._"]).observe(4.0);
        let window = REGISTRY.close_window(at(1_136_214_250)).unwrap();
        let mut settings = Settings {
            prefix: "consul".to_owned(),
            host: Some("one".to_owned()),
            filter: Filter::default(),
            retention: Duration::ZERO,
        };
        let json = |settings: &Settings| {
            serde_json::to_string(&summary(&window, &REGISTRY.gauges(), settings)).unwrap()
        };
        let expected = concat!(
            r#"{"Timestamp":"2006-01-02 15:04:00 +0000 UTC","#,
            r#""Gauges":[{"Name":"consul.one.state.nodes","Value":2.0,"Labels":{}}],"Points":[],"#,
            r#""Counters":[{"Name":"consul.raft.apply","Count":3,"Rate":0.3,"Sum":3.0,"Min":1.0,"#,
            r#""Max":1.0,"Mean":1.0,"Stddev":0.0,"Labels":{}}],"#,
            r#""Samples":[{"Name":"consul.api.http","Count":2,"Rate":0.6,"Sum":6.0,"Min":2.0,"#,
            r#""Max":4.0,"Mean":3.0,"Stddev":1.4142135623730951,"#,
            r#""Labels":{"method":"GET","path":"v1.kv._"}}]}"#
        );
        assert_eq!(json(&settings), expected);
        settings.filter.blocked = vec!["consul.one".to_owned(), "consul.api".to_owned()];
        let filtered = json(&settings);
        assert!(filtered.contains(r#""Gauges":[]"#), "{filtered}");
        assert!(filtered.contains(r#""Samples":[]"#), "{filtered}");
        assert!(filtered.contains("consul.raft.apply"), "{filtered}");
    }
}
