use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::net::UdpSocket;

use super::{
    prometheus,
    statsd::{self, Dialect},
    *,
};

/// Declares metrics of one test: they are static, so tests would count in each other's.
macro_rules! fixture {
    ($registry:ident, $counter:ident, $calls:ident, $gauge:ident, $sample:ident) => {
        static $counter: Counter = Counter::new();
        static $calls: Family<Sample> = Family::new(&["method", "path"]);
        static $gauge: Gauge = Gauge::new();
        static $sample: Sample = Sample::new();
        static ROWS: &[Row] = &[
            row("raft.apply", Unit::Count, Handle::Counter(&$counter)),
            row("api.http", Unit::Milliseconds, Handle::Samples(&$calls)),
            row("state.nodes", Unit::Count, Handle::Gauge(&$gauge)),
            row("kvs.apply", Unit::Milliseconds, Handle::Sample(&$sample)),
        ];
        static $registry: Registry = Registry::new(ROWS);
    };
}

const fn row(name: &'static str, unit: Unit, handle: Handle) -> Row {
    Row { name, unit, help: "What it \\ tells.", handle }
}

fn settings() -> Settings {
    Settings {
        prefix: "consul".to_owned(),
        host: None,
        filter: Filter::default(),
        retention: Duration::from_secs(60),
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn names(window: &Window) -> Vec<&str> {
    window.readings.iter().map(|reading| reading.row.name).collect()
}

#[test]
fn a_window_holds_what_was_counted_while_it_was_open() {
    fixture!(REGISTRY, APPLIED, CALLS, NODES, WRITES);
    assert!(REGISTRY.close_window(at(1003)).is_none());
    APPLIED.add(3);
    WRITES.observe(2.0);
    WRITES.observe(4.0);
    let open = REGISTRY.last_window(at(1009));
    assert_eq!((open.started, names(&open)), (1000, vec!["kvs.apply", "raft.apply"]));

    let closed = REGISTRY.close_window(at(1010)).unwrap();
    assert_eq!(closed.started, 1000);
    let [Value::Observations(writes), Value::Events(applied)] =
        [&closed.readings[0].value, &closed.readings[1].value]
    else {
        panic!("{closed:?}")
    };
    assert_eq!((writes.count, writes.sum, writes.min, writes.max), (2, 6.0, 2.0, 4.0));
    assert_eq!((writes.mean(), writes.stddev()), (3.0, 2f64.sqrt()));
    assert_eq!((applied.count, applied.sum, applied.stddev()), (3, 3.0, 0.0));

    APPLIED.increment();
    let last = REGISTRY.last_window(at(1012));
    assert_eq!(names(&last), ["kvs.apply", "raft.apply"], "the window under way is not shown");
    let closed = REGISTRY.close_window(at(1020)).unwrap();
    assert_eq!((closed.started, names(&closed)), (1010, vec!["raft.apply"]));
    assert_eq!(names(&REGISTRY.close_window(at(1030)).unwrap()), [] as [&str; 0]);
    assert_eq!((APPLIED.total(), WRITES.totals()), (4, (2, 6.0)), "totals are of all windows");
    assert!(NODES.value().is_none() && CALLS.series().is_empty());
}

#[test]
fn windows_begin_at_multiples_of_their_length() {
    let millis = |millis| UNIX_EPOCH + Duration::from_millis(millis);
    assert_eq!(until_next_window(millis(1_000_000)), WINDOW);
    assert_eq!(until_next_window(millis(1_009_750)), Duration::from_millis(250));
}

#[test]
fn nothing_is_counted_twice_or_lost_while_windows_close() {
    fixture!(REGISTRY, APPLIED, CALLS, NODES, WRITES);
    let (threads, each) = (4, 10_000);
    let mut counted = (0, 0);
    let mut add = |window: &Window| {
        for reading in &window.readings {
            match &reading.value {
                Value::Events(events) => counted.0 += events.count,
                Value::Observations(observed) => counted.1 += observed.count,
                Value::Level(_) => panic!("{reading:?}"),
            }
        }
    };
    REGISTRY.close_window(at(10));
    let mut now = 10;
    thread::scope(|scope| {
        let count = || {
            for _ in 0..each {
                APPLIED.increment();
                WRITES.observe(1.0);
            }
        };
        let counting: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        while counting.iter().any(|thread| !thread.is_finished()) {
            now += 10;
            add(&REGISTRY.close_window(at(now)).unwrap());
        }
    });
    add(&REGISTRY.close_window(at(now + 10)).unwrap());
    assert_eq!(counted, (threads * each, threads * each));
    assert_eq!(WRITES.totals(), (threads * each, (threads * each) as f64));
    NODES.set(None);
    assert!(CALLS.series().is_empty());
}

#[test]
fn quantiles_are_wrong_by_six_percent_at_most() {
    let sample = Sample::new();
    for value in 1..=10_000 {
        sample.observe(f64::from(value));
    }
    let observed = sample.open();
    for (q, exact) in [(0.5, 5000.0), (0.9, 9000.0), (0.99, 9900.0), (0.0001, 1.0), (1.0, 1e4)] {
        let quantile = observed.quantile(q);
        assert!((quantile - exact).abs() <= exact * 0.063, "{q}: {quantile}");
    }
    assert!(Sample::new().open().quantile(0.5).is_nan());
}

#[test]
fn values_beyond_the_buckets_count_in_the_outermost_ones() {
    let sample = Sample::new();
    for value in [-1.0, f64::NAN, 0.0, 1e-9, 1e12, f64::INFINITY] {
        sample.observe(value);
    }
    let observed = sample.open();
    assert_eq!((observed.count, observed.min, observed.max), (6, 0.0, f64::INFINITY));
    assert_eq!(observed.values().map(|(_, count)| count).collect::<Vec<_>>(), [4, 2]);
}

#[test]
fn a_series_is_the_same_for_the_same_labels() {
    fixture!(REGISTRY, APPLIED, CALLS, NODES, WRITES);
    let first: *const Sample = CALLS.with(&["GET", "v1.kv._"]);
    assert!(std::ptr::eq(first, CALLS.with(&["GET", "v1.kv._"])));
    assert!(!std::ptr::eq(first, CALLS.with(&["PUT", "v1.kv._"])));
    assert_eq!(REGISTRY.rows()[1].handle.labels(), ["method", "path"]);
    assert_eq!((APPLIED.total(), NODES.value(), WRITES.totals().0), (0, None, 0));
}

#[test]
fn the_prometheus_page_is_in_the_text_format() {
    fixture!(REGISTRY, APPLIED, CALLS, NODES, WRITES);
    REGISTRY.close_window(at(1000));
    APPLIED.add(7);
    NODES.set(3.0);
    CALLS.with(&["GET", "v1.kv._"]).observe(2.0);
    CALLS.with(&["PUT", "a\"b\\c\nd"]).observe(0.5);
    let settings = Settings { host: Some("host-1.example".to_owned()), ..settings() };
    let expected = "\
# HELP consul_api_http What it \\\\ tells.
# TYPE consul_api_http summary
consul_api_http{method=\"GET\",path=\"v1.kv._\",quantile=\"0.5\"} 2
consul_api_http{method=\"GET\",path=\"v1.kv._\",quantile=\"0.9\"} 2
consul_api_http{method=\"GET\",path=\"v1.kv._\",quantile=\"0.99\"} 2
consul_api_http_sum{method=\"GET\",path=\"v1.kv._\"} 2
consul_api_http_count{method=\"GET\",path=\"v1.kv._\"} 1
consul_api_http{method=\"PUT\",path=\"a\\\"b\\\\c\\nd\",quantile=\"0.5\"} 0.5
consul_api_http{method=\"PUT\",path=\"a\\\"b\\\\c\\nd\",quantile=\"0.9\"} 0.5
consul_api_http{method=\"PUT\",path=\"a\\\"b\\\\c\\nd\",quantile=\"0.99\"} 0.5
consul_api_http_sum{method=\"PUT\",path=\"a\\\"b\\\\c\\nd\"} 0.5
consul_api_http_count{method=\"PUT\",path=\"a\\\"b\\\\c\\nd\"} 1
# HELP consul_kvs_apply What it \\\\ tells.
# TYPE consul_kvs_apply summary
consul_kvs_apply{quantile=\"0.5\"} NaN
consul_kvs_apply{quantile=\"0.9\"} NaN
consul_kvs_apply{quantile=\"0.99\"} NaN
consul_kvs_apply_sum 0
consul_kvs_apply_count 0
# HELP consul_raft_apply What it \\\\ tells.
# TYPE consul_raft_apply counter
consul_raft_apply 7
# HELP consul_host_1_example_state_nodes What it \\\\ tells.
# TYPE consul_host_1_example_state_nodes gauge
consul_host_1_example_state_nodes 3
";
    assert_eq!(prometheus::render(&REGISTRY, &settings, at(1005)), expected);
    WRITES.observe(1.0);
}

#[test]
fn prometheus_reads_totals_and_the_quantiles_of_the_last_window() {
    fixture!(REGISTRY, APPLIED, CALLS, NODES, WRITES);
    REGISTRY.close_window(at(1000));
    WRITES.observe(1.0);
    REGISTRY.close_window(at(1010));
    WRITES.observe(8.0);
    let page = prometheus::render(&REGISTRY, &settings(), at(1015));
    assert!(page.contains("consul_kvs_apply{quantile=\"0.99\"} 1\n"), "{page}");
    assert!(page.contains("consul_kvs_apply_sum 9\nconsul_kvs_apply_count 2\n"), "{page}");
    let page = prometheus::render(&REGISTRY, &settings(), at(1035));
    assert!(page.contains("consul_kvs_apply_count 2\n"), "{page}");
    assert_eq!((APPLIED.total(), NODES.value(), CALLS.series().len()), (0, None, 0));
}

#[test]
fn prometheus_does_not_see_a_series_that_nothing_was_counted_in_for_the_retention() {
    fixture!(REGISTRY, APPLIED, CALLS, NODES, WRITES);
    REGISTRY.close_window(at(1000));
    CALLS.with(&["GET", "old"]).observe(1.0);
    REGISTRY.close_window(at(1010));
    let shows = |seconds, series: &str| {
        let page = prometheus::render(&REGISTRY, &settings(), at(seconds));
        page.contains(&format!("path=\"{series}\""))
    };
    assert!(shows(1065, "old"));
    assert!(!shows(1080, "old"));
    CALLS.with(&["GET", "old"]).observe(1.0);
    assert!(shows(1081, "old"));
    APPLIED.increment();
    NODES.set(1.0);
    WRITES.observe(1.0);
}

#[test]
fn the_longest_prefix_says_whether_a_metric_is_shown() {
    let list = |prefixes: &[&str]| prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    let filter = Filter {
        allowed: list(&["consul.raft", "consul.http.GET", "consul.same"]),
        blocked: list(&["consul.raft.fsm", "consul.http", "consul.same"]),
        default: true,
    };
    for (name, shown) in [
        ("consul.raft.apply", true),
        ("consul.raft.fsm.apply", false),
        ("consul.http.PUT", false),
        ("consul.http.GET.v1", true),
        ("consul.same.x", false),
        ("consul.kvs.apply", true),
    ] {
        assert_eq!(filter.shows(name), shown, "{name}");
    }
    let strict = Filter { default: false, ..filter };
    assert!(!strict.shows("consul.kvs.apply") && strict.shows("consul.raft.apply"));
    assert!(Filter::default().shows("anything"));
}

#[test]
fn filtered_metrics_are_neither_shown_nor_sent() {
    fixture!(REGISTRY, APPLIED, CALLS, NODES, WRITES);
    REGISTRY.close_window(at(1000));
    APPLIED.increment();
    NODES.set(1.0);
    let blocked = vec!["consul.raft".to_owned()];
    let settings = Settings { filter: Filter { blocked, ..Filter::default() }, ..settings() };
    let page = prometheus::render(&REGISTRY, &settings, at(1001));
    assert!(page.contains("consul_state_nodes 1") && !page.contains("consul_raft"), "{page}");
    let window = REGISTRY.close_window(at(1010)).unwrap();
    assert!(statsd::lines(&window.readings, &settings, &Dialect::Statsd).is_empty());
    CALLS.with(&["GET", "x"]).observe_since(Instant::now());
    WRITES.observe(1.0);
}

#[tokio::test]
async fn a_statsd_server_receives_a_line_for_each_series() {
    fixture!(REGISTRY, APPLIED, CALLS, NODES, WRITES);
    REGISTRY.close_window(at(1000));
    APPLIED.add(5);
    NODES.set(2.5);
    CALLS.with(&["GET", "v1.kv:_"]).observe(3.0);
    (0..4).for_each(|_| WRITES.observe(1.5));
    let window = REGISTRY.close_window(at(1010)).unwrap();
    let readings: Vec<_> = window.readings.iter().cloned().chain(REGISTRY.gauges()).collect();
    let settings = Settings { host: Some("one".to_owned()), ..settings() };
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = receiver.local_addr().unwrap().to_string();
    let mut packet = [0; 2000];
    for (dialect, expected) in [
        (
            Dialect::Statsd,
            "consul.api.http.GET.v1.kv__:3|ms\nconsul.kvs.apply:1.5|ms|@0.25\n\
             consul.raft.apply:5|c\nconsul.one.state.nodes:2.5|g",
        ),
        (
            Dialect::DogStatsd { tags: vec!["team:mesh".to_owned()] },
            "consul.api.http:3|ms|#team:mesh,method:GET,path:v1.kv:_\n\
             consul.kvs.apply:1.5|ms|@0.25|#team:mesh\nconsul.raft.apply:5|c|#team:mesh\n\
             consul.state.nodes:2.5|g|#team:mesh",
        ),
    ] {
        statsd::send(&address, &statsd::lines(&readings, &settings, &dialect)).await;
        let length = receiver.recv(&mut packet).await.unwrap();
        assert_eq!(str::from_utf8(&packet[..length]).unwrap(), expected);
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_counted_and_long_texts_are_several_packets() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = receiver.local_addr().unwrap().to_string();
    let lines: Vec<String> = (0..200).map(|n| format!("consul.metric.{n}:1|c")).collect();
    statsd::send(&address, &lines).await;
    let (mut received, mut packet) = (Vec::new(), [0; 2000]);
    while received.len() < lines.len() {
        let length = receiver.recv(&mut packet).await.unwrap();
        assert!(length <= 1400);
        let text = String::from_utf8(packet[..length].to_vec()).unwrap();
        received.extend(text.lines().map(str::to_owned));
    }
    assert_eq!(received, lines);
    let lost = statsd::SEND_ERRORS.total();
    statsd::send("unix:///nonexistent/statsd.socket", &lines[..1]).await;
    assert_eq!(statsd::SEND_ERRORS.total(), lost + 1);
}

/// How much an observation costs, printed with `--nocapture`; fails only at a hundred times that.
#[test]
fn an_observation_costs_nanoseconds() {
    static SAMPLE: Sample = Sample::new();
    let (rounds, started) = (100_000_u32, Instant::now());
    for _ in 0..rounds {
        SAMPLE.observe_since(Instant::now());
    }
    let each = started.elapsed() / rounds;
    println!("an observation with both clock readings takes {each:?}");
    assert!(each < Duration::from_micros(20), "{each:?}");
}
