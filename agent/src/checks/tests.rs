//! The runners of a whole table, in paused time: nothing here waits for real.

use std::path::Path;

use lictor_api::{
    types::catalog::{NodeService, RegisterRequest},
    wire,
};
use lictor_config::files;
use lictor_core::{
    fsm::{self, Command},
    state::{State, watch::Touched},
};
use serde_json::{Value, json};

use super::*;
use crate::local::Source;

struct Runners {
    local: Arc<LocalState>,
    store: Arc<Store>,
    tasks: Tasks,
}

impl Runners {
    fn start(services: &Value) -> Self {
        let text = json!({ "services": services }).to_string();
        let source = files::parse(Path::new("test.json"), &text).unwrap();
        let config = lictor_config::build(source, true, Vec::new()).unwrap();
        let local = Arc::new(LocalState::open(&config, "id").unwrap());
        let (store, tasks) = (Arc::new(Store::default()), Tasks::new());
        tasks.spawn("checks", run(local.clone(), store.clone(), tasks.clone()));
        Self { local, store, tasks }
    }

    fn find(&self, id: &str) -> Option<(CheckStatus, String)> {
        let table = self.local.snapshot();
        table.check(id).map(|local| (local.check.status, local.check.output.clone()))
    }

    /// Returns once the check is as asked; paused time passes meanwhile.
    async fn until(&self, id: &str, status: CheckStatus, output: &str) {
        let mut changes = self.local.changes();
        let wanted = Some((status, output.to_owned()));
        let changed = async {
            while self.find(id) != wanted {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(3600), changed).await.is_err() {
            panic!("{id} is {:?}, not {wanted:?}", self.find(id));
        }
    }

    fn report(&self, id: &str, status: CheckStatus, output: &str) {
        self.local.update_ttl(&id.into(), status, output).unwrap();
    }

    async fn stop(self) {
        assert_eq!(self.tasks.stop(Duration::from_secs(5)).await, Vec::<&str>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_panics_begins_again_and_no_other_notices() {
    crate::plant::plant_panic(RUNNER, "service:planted");
    let services = json!([{"name": "planted", "check": {"ttl": "10s"}}, {"name": "b", "check": {"ttl": "5s"}}]);
    let runners = Runners::start(&services);
    runners.until("service:b", CheckStatus::Critical, "TTL expired").await;
    runners.until("service:planted", CheckStatus::Critical, "TTL expired").await;
    assert!(crate::plant::has_panicked(RUNNER, "service:planted"));
    assert!(lictor_runtime::panics::by_task().iter().any(|(task, _)| *task == RUNNER));
    runners.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_ttl_check_expires_when_no_report_comes_and_recovers_with_the_next() {
    let runners = Runners::start(&json!([{"name": "web", "check": {"ttl": "10s"}}]));
    let id = "service:web";
    let begin = Instant::now();
    runners.until(id, CheckStatus::Critical, "TTL expired").await;
    assert_eq!(begin.elapsed().as_secs(), 10);
    runners.report(id, CheckStatus::Passing, "fine");
    tokio::time::sleep(Duration::from_secs(9)).await;
    runners.report(id, CheckStatus::Passing, "fine");
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(runners.find(id), Some((CheckStatus::Passing, "fine".to_owned())));
    let expired = "TTL expired (last output before timeout follows): fine";
    runners.until(id, CheckStatus::Critical, expired).await;
    assert_eq!(begin.elapsed().as_secs(), 10 + 9 + 10);
    runners.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_alias_is_as_bad_as_the_worst_check_of_its_instance() {
    let runners = Runners::start(&json!([
        {"name": "web", "port": 80, "checks": [{"ttl": "1h"}, {"name": "db", "ttl": "1h"}],
         "connect": {"sidecar_service": {"checks": [{"alias_service": "web"}]}}}]));
    let alias = "service:web-sidecar-proxy";
    let failing = "Aliased check \"Service 'web' check\" failing: ";
    runners.report("service:web:2", CheckStatus::Warning, "slow");
    runners.until(alias, CheckStatus::Critical, failing).await;
    runners.report("service:web:1", CheckStatus::Passing, "");
    let warning = "Aliased check \"db\" failing: slow";
    runners.until(alias, CheckStatus::Warning, warning).await;
    runners.report("service:web:2", CheckStatus::Passing, "");
    runners.until(alias, CheckStatus::Passing, "All checks passing.").await;
    runners.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_alias_of_another_node_follows_the_catalog() {
    let runners = Runners::start(&json!([{"name": "far",
        "check": {"alias_node": "n2", "alias_service": "db"}}]));
    let missing = "Service db could not be found on node n2";
    runners.until("service:far", CheckStatus::Critical, missing).await;
    let mut state = State::default();
    let mut touched = Touched::default();
    let request = RegisterRequest {
        node: "n2".into(),
        address: "192.0.2.2".to_owned(),
        service: Some(NodeService {
            id: "db".into(),
            service: "db".into(),
            ..NodeService::default()
        }),
        ..RegisterRequest::default()
    };
    fsm::apply(&mut state, 5, Command::Register(Box::new(request)), &mut touched);
    runners.store.publish(state, &touched);
    runners.until("service:far", CheckStatus::Passing, "No checks found.").await;
    runners.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_stays_critical_is_removed_when_its_check_asks_for_it() {
    let runners = Runners::start(&json!([
        {"name": "gone", "check": {"ttl": "10s", "deregister_critical_service_after": "1m"}},
        {"name": "kept", "check": {"ttl": "10s"}}]));
    let begin = Instant::now();
    let mut definitions = runners.local.definitions();
    definitions.changed().await.unwrap();
    let table = runners.local.snapshot();
    assert!(table.service("gone").is_none() && table.service("kept").is_some());
    let after = begin.elapsed();
    assert!((Duration::from_secs(60)..=Duration::from_secs(91)).contains(&after), "{after:?}");
    runners.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_check_runs_as_long_as_it_is_registered() {
    let runners = Runners::start(&json!([]));
    let check = wire::from_value(json!({"Name": "late", "TTL": "10s"})).unwrap();
    runners.local.register_check(check, Source::Http).unwrap();
    runners.until("late", CheckStatus::Critical, "TTL expired").await;
    runners.local.deregister_check(&"late".into()).unwrap();
    assert_eq!(runners.find("late"), None);
    runners.stop().await;
}

#[tokio::test]
async fn s1_17_a_program_that_comes_up_turns_passing_by_itself() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let tcp = address.to_string();
    let runners = Runners::start(&json!([{"name": "nginx",
        "check": {"tcp": tcp, "interval": "1s", "timeout": "1s"}}]));
    let refused = format!("dial tcp {tcp}: connect: connection refused");
    assert_eq!(runners.find("service:nginx"), Some((CheckStatus::Critical, String::new())));
    runners.until("service:nginx", CheckStatus::Critical, &refused).await;
    let _listening = tokio::net::TcpListener::bind(address).await.unwrap();
    let success = format!("TCP connect {tcp}: Success");
    runners.until("service:nginx", CheckStatus::Passing, &success).await;
    runners.stop().await;
}

#[tokio::test]
async fn a_datagram_that_nobody_refuses_is_a_success() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let check = lictor_api::types::agent::CheckDefinition {
        udp: address.clone(),
        timeout: lictor_api::GoDuration(Duration::from_millis(50)),
        ..Default::default()
    };
    let dialer = Dialer::new();
    let success = Outcome::passing(format!("UDP connect {address}: Success"));
    assert_eq!(udp::run(&check, &dialer).await, success);
    drop(socket);
    let refused = format!("read udp {address}: connection refused");
    assert_eq!(udp::run(&check, &dialer).await, Outcome::critical(refused));
}
