//! Registrations: what is refused, what is filled in, what a reload leaves alone, what survives.

use std::path::Path;

use lictor_api::{
    types::{catalog::ServiceKind, health::HealthCheck},
    wire,
};
use lictor_config::files;
use serde_json::{Value, json};

use super::*;

const NODE_ID: &str = "5f2d3a1c-0000-4000-8000-000000000001";

fn config(json: &Value) -> RuntimeConfig {
    let source = files::parse(Path::new("test.json"), &json.to_string()).unwrap();
    lictor_config::build(source, true, Vec::new()).unwrap()
}

fn open(json: &Value) -> LocalState {
    LocalState::open(&config(json), NODE_ID).unwrap()
}

fn service(json: &Value) -> ServiceDefinition {
    wire::from_value(json.clone()).unwrap()
}

fn register(local: &LocalState, json: &Value) -> Result<(), RegistrationError> {
    local.register_service(service(json), Source::Http, false)
}

fn check(local: &LocalState, id: &str) -> HealthCheck {
    local.snapshot().check(id).unwrap_or_else(|| panic!("no check {id}")).check.clone()
}

fn check_ids(local: &LocalState) -> Vec<String> {
    local.snapshot().checks().map(|local| local.check.check_id.to_string()).collect()
}

fn service_ids(local: &LocalState) -> Vec<String> {
    local.snapshot().services().map(|local| local.service.id.to_string()).collect()
}

/// Reports as the check's own runner would.
fn report(local: &LocalState, id: &str, status: CheckStatus, output: &str) {
    let generation = local.snapshot().check(id).unwrap().generation;
    local.update_check(&id.into(), generation, status, output);
}

#[test]
fn checks_get_the_ids_and_names_that_scripts_look_for() {
    let local = open(&json!({}));
    let one = json!({"Name": "web", "Check": {"TTL": "10s"}});
    let two = json!({"ID": "api-1", "Name": "api", "Checks": [
        {"HTTP": "http://x/", "Interval": "10s"}, {"Name": "mine", "TCP": "x:1", "Interval": "10ms"}]});
    register(&local, &one).unwrap();
    register(&local, &two).unwrap();
    assert_eq!(check_ids(&local), ["service:api-1:1", "service:api-1:2", "service:web"]);
    let web = check(&local, "service:web");
    assert_eq!((web.name.as_str(), web.check_type.as_str()), ("Service 'web' check", "ttl"));
    assert_eq!((web.status, &*web.service_name), (CheckStatus::Critical, "web"));
    assert_eq!(check(&local, "service:api-1:1").interval, "10s");
    let mine = check(&local, "service:api-1:2");
    assert_eq!((mine.name.as_str(), mine.interval.as_str()), ("mine", "1s"), "raised to 1 s");
}

#[test]
fn s4_12_a_service_and_its_check_may_have_the_same_id() {
    let local = open(&json!({
        "services": [{"id": "web", "name": "web", "port": 80}],
        "checks": [{"id": "web", "name": "web", "service_id": "web",
                    "http": "http://localhost:8080/", "interval": "10s", "timeout": "1s"}]}));
    let web = check(&local, "web");
    assert_eq!((&*web.check_id, web.name.as_str(), &*web.service_id), ("web", "web", "web"));
}

#[test]
fn each_wrong_definition_is_refused_with_consuls_text_and_changes_nothing() {
    let local = open(&json!({}));
    for (definition, text) in [
        (json!({}), "Missing service name"),
        (json!({"Name": "x", "Address": "0.0.0.0"}), "Invalid service address"),
        (
            json!({"Name": "x", "Weights": {"Passing": 0}}),
            "Invalid Weights: Passing must be greater than 0",
        ),
        (
            json!({"Name": "x", "Weights": {"Passing": 1, "Warning": 70000}}),
            "Invalid Weights: DNS Weight must be between 0 and 65535",
        ),
        (
            json!({"Name": "x", "Meta": {"a.b": "1"}}),
            "Invalid Service Meta: Couldn't load metadata pair ('a.b', '1'): Key contains invalid characters",
        ),
        (
            json!({"Name": "x", "Check": {"HTTP": "http://x/"}}),
            "Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks",
        ),
        (
            json!({"Name": "x", "Check": {"Interval": "1s", "TTL": "1s"}}),
            "Invalid check: Interval and TTL cannot both be specified",
        ),
        (json!({"Name": "x", "Check": {}}), "Invalid check: TTL must be > 0 for TTL checks"),
        (json!({"Name": "x", "Check": {"TTL": "1s", "Status": "good"}}), "Bad check status"),
        (
            json!({"Name": "x", "Check": {"Args": ["/bin/true"], "Interval": "1s"}}),
            "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true",
        ),
        (
            json!({"Name": "x", "Kind": "connect-proxy", "Port": 1}),
            "Validation failed: Proxy.DestinationServiceName must be non-empty for Connect proxy services",
        ),
        (
            json!({"Name": "x", "Connect": {"SidecarService": {"ID": "mine"}}}),
            "Invalid SidecarService: sidecar_service can't specify an ID, it is always the service's ID with \"-sidecar-proxy\"",
        ),
    ] {
        assert_eq!(register(&local, &definition).unwrap_err().to_string(), text, "{definition}");
        assert!(service_ids(&local).is_empty() && check_ids(&local).is_empty());
    }
}

#[test]
fn scripts_run_from_files_and_from_remote_calls_only_where_each_is_enabled() {
    let script = json!({"name": "x", "check": {"script": "true", "interval": "1s"}});
    let from_files = json!({"enable_local_script_checks": true, "service": script});
    let local = open(&from_files);
    assert_eq!(
        local.snapshot().check("service:x").unwrap().definition.args,
        ["/bin/sh", "-c", "true"]
    );
    assert_eq!(
        register(&local, &script).unwrap_err().to_string(),
        "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true"
    );
    register(&open(&json!({"enable_script_checks": true})), &script).unwrap();
}

#[test]
fn s3_4_a_sidecar_is_filled_in_from_its_service() {
    let local = open(&json!({"service": {"name": "socat", "port": 8181, "tags": ["t"],
        "meta": {"k": "v"}, "connect": {"sidecar_service": {}}}}));
    let table = local.snapshot();
    let sidecar = &table.service("socat-sidecar-proxy").unwrap().service;
    assert_eq!((sidecar.kind, sidecar.port), (ServiceKind::ConnectProxy, 21000));
    assert_eq!(*sidecar.service, *"socat-sidecar-proxy");
    assert_eq!((&sidecar.tags[..], sidecar.meta["k"].as_str()), (&["t".to_owned()][..], "v"));
    let proxy = &sidecar.proxy;
    assert_eq!(
        (proxy.destination_service_name.as_str(), proxy.destination_service_id.as_str()),
        ("socat", "socat")
    );
    assert_eq!(
        (proxy.local_service_address.as_str(), proxy.local_service_port),
        ("127.0.0.1", 8181)
    );
    let listening = check(&local, "service:socat-sidecar-proxy:1");
    assert_eq!(
        (listening.name.as_str(), listening.check_type.as_str(), listening.interval.as_str()),
        ("Connect Sidecar Listening", "tcp", "10s")
    );
    let aliasing = check(&local, "service:socat-sidecar-proxy:2");
    assert_eq!(
        (aliasing.name.as_str(), aliasing.check_type.as_str()),
        ("Connect Sidecar Aliasing socat", "alias")
    );
}

#[test]
fn sidecars_get_the_lowest_free_port_keep_it_and_go_with_their_service() {
    let local = open(&json!({"ports": {"sidecar_min_port": 21000, "sidecar_max_port": 21001}}));
    let with_sidecar = |name: &str| json!({"Name": name, "Connect": {"SidecarService": {}}});
    let port = |id: &str| local.snapshot().service(id).unwrap().service.port;
    register(&local, &with_sidecar("a")).unwrap();
    register(&local, &with_sidecar("b")).unwrap();
    register(&local, &with_sidecar("a")).unwrap();
    assert_eq!((port("a-sidecar-proxy"), port("b-sidecar-proxy")), (21000, 21001));
    assert_eq!(
        register(&local, &with_sidecar("c")).unwrap_err().to_string(),
        "Invalid SidecarService: no port provided for sidecar_service and none left in the configured range [21000, 21001]"
    );
    assert!(local.snapshot().service("c").is_none(), "nothing is half-registered");
    local.deregister_service(&"a".into()).unwrap();
    assert_eq!(service_ids(&local), ["b", "b-sidecar-proxy"]);
    register(&local, &with_sidecar("c")).unwrap();
    assert_eq!(port("c-sidecar-proxy"), 21000);
}

#[test]
fn s1_7_a_reload_takes_changes_over_without_flapping_a_check() {
    let declared = |tags: Value| {
        json!({"service": {"name": "application", "tags": tags,
            "check": {"tcp": "127.0.0.1:1", "interval": "10s"}}})
    };
    let local = open(&declared(json!([])));
    register(&local, &json!({"Name": "http", "Check": {"TTL": "1h"}})).unwrap();
    report(&local, "service:application", CheckStatus::Passing, "fine");
    let before = local.snapshot();
    local.reload(&config(&declared(json!(["production"])))).unwrap();
    let after = local.snapshot();
    assert_eq!(after.service("application").unwrap().service.tags, ["production"]);
    let runner = |table: &Table| table.check("service:application").unwrap().generation;
    assert_eq!(runner(&before), runner(&after), "the running check is not disturbed");
    let check = check(&local, "service:application");
    assert_eq!((check.status, check.output.as_str()), (CheckStatus::Passing, "fine"));
    assert_eq!(check.service_tags, ["production"]);
    assert!(after.service("http").is_some(), "what HTTP registered stays");
}

#[test]
fn a_changed_check_keeps_its_state_until_its_first_result() {
    let declared = |port: u16| {
        json!({"service": {"name": "web",
            "check": {"tcp": format!("127.0.0.1:{port}"), "interval": "10s"}}})
    };
    let local = open(&declared(1));
    let old = local.snapshot().check("service:web").unwrap().generation;
    report(&local, "service:web", CheckStatus::Passing, "fine");
    local.reload(&config(&declared(2))).unwrap();
    assert_eq!(check(&local, "service:web").status, CheckStatus::Passing);
    local.update_check(&"service:web".into(), old, CheckStatus::Critical, "late");
    assert_eq!(check(&local, "service:web").status, CheckStatus::Passing, "of the old definition");
    report(&local, "service:web", CheckStatus::Critical, "refused");
    assert_eq!(check(&local, "service:web").output, "refused");
}

#[test]
fn s3_9_a_reload_replaces_a_definition_and_removes_what_is_no_longer_declared() {
    let local = open(&json!({
        "services": [{"name": "web", "port": 80, "tags": ["rails"], "check": {"ttl": "1h"}},
                     {"name": "old", "connect": {"sidecar_service": {}}}],
        "checks": [{"name": "disk", "ttl": "1h"}]}));
    let new = json!({"service": {"name": "web", "port": 8080, "connect": {"sidecar_service": {}}}});
    local.reload(&config(&new)).unwrap();
    assert_eq!(service_ids(&local), ["web", "web-sidecar-proxy"]);
    assert_eq!(local.snapshot().service("web").unwrap().service.port, 8080);
    assert_eq!(
        check_ids(&local),
        ["service:web-sidecar-proxy:1", "service:web-sidecar-proxy:2"],
        "the checks of the old definitions are gone"
    );
}

#[test]
fn a_wrong_definition_in_a_reload_changes_nothing() {
    let local = open(&json!({"service": {"name": "web", "port": 80}}));
    let bad = json!({"services": [{"name": "web", "port": 81}],
        "checks": [{"name": "c", "service_id": "nope", "ttl": "1s"}]});
    assert_eq!(
        local.reload(&config(&bad)).unwrap_err().to_string(),
        "ServiceID \"nope\" does not exist"
    );
    assert_eq!(local.snapshot().service("web").unwrap().service.port, 80);
}

#[test]
fn older_checks_stay_unless_they_are_replaced() {
    let local = open(&json!({}));
    let with = |id: &str| json!({"Name": "web", "Check": {"CheckID": id, "TTL": "1h"}});
    register(&local, &with("one")).unwrap();
    register(&local, &with("two")).unwrap();
    assert_eq!(check_ids(&local), ["one", "two"]);
    local.set_maintenance(Some(&"web".into()), Some("")).unwrap();
    local.register_service(service(&with("three")), Source::Http, true).unwrap();
    assert_eq!(check_ids(&local), ["_service_maintenance:web", "three"]);
}

#[test]
fn maintenance_is_a_critical_check_with_its_reason() {
    let local = open(&json!({"service": {"name": "web"}}));
    local.set_maintenance(Some(&"web".into()), Some("")).unwrap();
    local.set_maintenance(None, Some("moving")).unwrap();
    let of_service = check(&local, "_service_maintenance:web");
    assert_eq!(
        (of_service.name.as_str(), of_service.status),
        ("Service Maintenance Mode", CheckStatus::Critical)
    );
    assert_eq!(
        of_service.notes,
        "Maintenance mode is enabled for this service, but no reason was provided. This is a default message."
    );
    assert_eq!(check(&local, "_node_maintenance").notes, "moving");
    local.set_maintenance(Some(&"web".into()), None).unwrap();
    local.set_maintenance(None, None).unwrap();
    assert!(check_ids(&local).is_empty());
}

#[test]
fn what_http_registered_survives_a_restart_and_what_it_deregistered_does_not_return() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&json!({"service": {"name": "file"}}));
    config.data_dir = Some(dir.path().to_owned());
    let start = || LocalState::open(&config, NODE_ID).unwrap();
    let local = start();
    let api = json!({"Name": "api", "Checks": [{"TTL": "1h"}, {"TTL": "2h"}],
        "Connect": {"SidecarService": {}}});
    register(&local, &api).unwrap();
    register(&local, &json!({"Name": "gone"})).unwrap();
    let disk: CheckDefinition = wire::from_value(json!({"Name": "disk", "TTL": "1h"})).unwrap();
    local.register_check(disk.clone(), Source::Http).unwrap();
    let of_file = CheckDefinition { name: "extra".into(), service_id: "file".into(), ..disk };
    local.register_check(of_file, Source::Http).unwrap();
    local.deregister_service(&"gone".into()).unwrap();
    local.deregister_check(&"service:api:2".into()).unwrap();
    local.set_maintenance(None, Some("moving")).unwrap();
    let before = local.snapshot();
    drop(local);
    let local = start();
    let after = local.snapshot();
    let services = |table: &Table| table.services().map(|s| (**s).clone()).collect::<Vec<_>>();
    let checks = |table: &Table| {
        table.checks().map(|c| (c.definition.clone(), c.source, c.of_service)).collect::<Vec<_>>()
    };
    assert_eq!(services(&before), services(&after));
    assert_eq!(checks(&before), checks(&after));
    assert_eq!(service_ids(&local), ["api", "api-sidecar-proxy", "file"]);
}

#[test]
fn the_configuration_wins_over_what_was_registered_before() {
    let dir = tempfile::tempdir().unwrap();
    let with = |json: Value| {
        let mut config = config(&json);
        config.data_dir = Some(dir.path().to_owned());
        LocalState::open(&config, NODE_ID).unwrap()
    };
    register(&with(json!({})), &json!({"Name": "web", "Port": 1})).unwrap();
    let declared = with(json!({"service": {"name": "web", "port": 2}}));
    assert_eq!(declared.snapshot().service("web").unwrap().service.port, 2);
    drop(declared);
    assert!(service_ids(&with(json!({}))).is_empty(), "the older registration is forgotten");
}

#[test]
fn reports_are_for_ttl_checks_and_bounded() {
    let local = open(&json!({"service": {"name": "web", "checks": [
        {"ttl": "1h"}, {"tcp": "x:1", "interval": "1s"}]}}));
    let pass = |id: &str, output: &str| {
        local.update_ttl(&id.into(), CheckStatus::Passing, output).map_err(|e| e.to_string())
    };
    assert_eq!(
        pass("service:web:2", "").unwrap_err(),
        "CheckID \"service:web:2\" does not have associated TTL"
    );
    pass("service:web:1", &"x".repeat(4096)).unwrap();
    assert_eq!(check(&local, "service:web:1").output.len(), 4096);
    pass("service:web:1", &"x".repeat(4097)).unwrap();
    assert_eq!(
        check(&local, "service:web:1").output,
        format!("{} ... (captured 4096 of 4097 bytes)", "x".repeat(4096))
    );
}

/// An agent that keeps its registrations in a directory.
fn open_in(dir: &Path, json: &Value) -> LocalState {
    let mut config = config(json);
    config.data_dir = Some(dir.to_owned());
    LocalState::open(&config, NODE_ID).unwrap()
}

/// Puts a directory where a file is or would be: nothing can be written or removed there.
fn obstruct(path: &Path) {
    if path.exists() {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::create_dir_all(path.join("in the way")).unwrap();
}

fn only_file(dir: &Path) -> std::path::PathBuf {
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn a_change_of_several_files_that_the_disk_interrupts_is_completed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let local = open_in(dir.path(), &json!({}));
    register(&local, &json!({"Name": "web", "Port": 1})).unwrap();
    let check = json!({"ID": "old", "Name": "old", "ServiceID": "web", "TTL": "1h"});
    local.register_check(wire::from_value(check).unwrap(), Source::Http).unwrap();
    let file = only_file(&dir.path().join("checks"));
    obstruct(&file);
    let replacing = service(&json!({"Name": "web", "Port": 2}));
    local.register_service(replacing, Source::Http, true).unwrap();
    let shown = |local: &LocalState| {
        (local.snapshot().service("web").map(|web| web.service.port), check_ids(local))
    };
    assert_eq!(shown(&local), (Some(2), Vec::new()), "it is in force");
    drop(local);
    std::fs::remove_dir_all(&file).unwrap();
    let disk = PersistedCheck {
        check: CheckDefinition {
            id: "old".into(),
            name: "old".into(),
            service_id: "web".into(),
            ttl: lictor_api::GoDuration::from_secs(3600),
            ..CheckDefinition::default()
        },
        maintenance: false,
    };
    std::fs::write(&file, serde_json::to_vec(&disk).unwrap()).unwrap();
    let local = open_in(dir.path(), &json!({}));
    assert_eq!(shown(&local), (Some(2), Vec::new()), "and after a restart, too");
    assert!(!dir.path().join("registrations.journal").exists());
}

#[test]
fn a_change_that_the_disk_refuses_changes_nothing_now_or_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let before = json!({"service": {"name": "file", "port": 1}});
    let local = open_in(dir.path(), &before);
    for id in ["api", "web"] {
        register(&local, &json!({"Name": id, "Port": 1})).unwrap();
        let check = json!({"ID": format!("{id}-1"), "Name": "c", "ServiceID": id, "TTL": "1h"});
        local.register_check(wire::from_value(check).unwrap(), Source::Http).unwrap();
    }
    let shown = |local: &LocalState| {
        let table = local.snapshot();
        let ports =
            table.services().map(|local| (local.service.id.to_string(), local.service.port));
        (ports.collect::<Vec<_>>(), check_ids(local))
    };
    let all = shown(&local);
    let journal = dir.path().join("registrations.journal");
    obstruct(&journal);
    let replacing = service(&json!({"Name": "web", "Port": 2}));
    local.register_service(replacing, Source::Http, true).unwrap_err();
    local.deregister_service(&"api".into()).unwrap_err();
    let declared = json!({"services": [
        {"name": "web", "port": 3}, {"name": "api", "port": 3}, {"name": "file", "port": 3}]});
    local.reload(&config(&declared)).unwrap_err();
    assert_eq!(shown(&local), all);
    drop(local);
    std::fs::remove_dir_all(&journal).unwrap();
    assert_eq!(shown(&open_in(dir.path(), &before)), all);
}
