//! What is synced, what waits, and what is removed.

use lictor_api::types::{
    agent::{CheckDefinition, ServiceDefinition},
    health::CheckStatus,
};
use lictor_core::{
    fsm,
    state::{State, watch::Touched},
};

use super::*;
use crate::local::{ScriptPolicy, Source};

const DEFER: Duration = Duration::from_secs(300);

struct Pair {
    local: Table,
    node: Node,
    state: State,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        let node = Node {
            name: "n1".into(),
            address: "127.0.0.1".to_owned(),
            datacenter: "dc1".to_owned(),
            ..Node::default()
        };
        let local = Table::new(node.name.clone());
        Self { local, node, state: State::default(), now: Instant::now() }
    }

    fn register(&mut self, definition: ServiceDefinition) {
        let planned = self
            .local
            .plan_service(definition, Source::File, ScriptPolicy::default(), &(21000..=21255))
            .unwrap();
        self.local.upsert(&planned, Source::File, self.now);
    }

    fn plan(&self, scope: Scope) -> Vec<Step> {
        plan(&self.local, &self.node, &self.state.catalog, scope, self.now)
    }

    fn apply(&mut self, command: Command) {
        let index = self.state.index + 1;
        fsm::apply(&mut self.state, index, command, &mut Touched::default());
    }

    /// Syncs once, and says in short what was done.
    fn sync(&mut self, scope: Scope) -> Vec<String> {
        let steps = self.plan(scope);
        let snapshot = self.local.clone();
        for step in &steps {
            self.apply(step.command(&self.node));
        }
        self.local.forget_removed(&snapshot);
        steps
            .iter()
            .map(|step| match step {
                Step::Node => "node".to_owned(),
                Step::Service(service, checks) => format!("{}+{}", service.id, checks.len()),
                Step::Check(check) => format!("{}={}", check.check_id, check.status),
                Step::DeregisterService(id) => format!("-{id}"),
                Step::DeregisterCheck(id) => format!("-check {id}"),
            })
            .collect()
    }

    fn report(&mut self, id: &str, status: CheckStatus, output: &str) {
        let generation = self.local.check(id).unwrap().generation;
        self.local.set_status(&id.into(), generation, status, output, self.now, DEFER);
    }
}

fn web() -> ServiceDefinition {
    let check = CheckDefinition { ttl: DEFER.into(), ..CheckDefinition::default() };
    ServiceDefinition { name: "web".into(), check: Some(check), ..ServiceDefinition::default() }
}

#[test]
fn an_instance_is_never_seen_without_its_checks() {
    let mut pair = Pair::new();
    pair.register(web());
    assert_eq!(pair.sync(Scope::Own), ["node", "web+1"]);
    assert!(pair.sync(Scope::Everything).is_empty(), "nothing is left to say");
    let check = pair.state.catalog.check("n1", "service:web").unwrap();
    assert_eq!((check.status, &*check.service_name), (CheckStatus::Critical, "web"));
}

#[test]
fn a_status_is_synced_at_once_and_an_output_alone_when_it_is_due() {
    let mut pair = Pair::new();
    pair.register(web());
    pair.sync(Scope::Own);
    pair.report("service:web", CheckStatus::Critical, "the first output");
    assert_eq!(pair.sync(Scope::Own), ["service:web=critical"]);
    pair.report("service:web", CheckStatus::Passing, "up");
    assert_eq!(pair.sync(Scope::Own), ["service:web=passing"]);
    pair.report("service:web", CheckStatus::Passing, "still up");
    assert!(pair.sync(Scope::Everything).is_empty());
    pair.now += DEFER;
    assert_eq!(pair.sync(Scope::Own), ["service:web=passing"]);
    assert_eq!(pair.state.catalog.check("n1", "service:web").unwrap().output, "still up");
}

#[test]
fn a_status_takes_a_waiting_output_along() {
    let mut pair = Pair::new();
    pair.register(web());
    pair.report("service:web", CheckStatus::Passing, "up");
    pair.sync(Scope::Own);
    pair.report("service:web", CheckStatus::Passing, "still up");
    pair.report("service:web", CheckStatus::Warning, "slow");
    assert_eq!(pair.sync(Scope::Own), ["service:web=warning"]);
    assert_eq!(pair.state.catalog.check("n1", "service:web").unwrap().output, "slow");
}

#[test]
fn what_is_deregistered_here_leaves_the_catalog_with_its_checks() {
    let mut pair = Pair::new();
    pair.register(web());
    pair.sync(Scope::Own);
    pair.local.remove_check(&"service:web".into());
    assert_eq!(pair.sync(Scope::Own), ["-check service:web"]);
    pair.register(web());
    pair.sync(Scope::Own);
    pair.local.remove_service(&"web".into());
    assert_eq!(pair.sync(Scope::Own), ["-web"]);
    assert!(pair.state.catalog.check("n1", "service:web").is_none());
    assert!(pair.sync(Scope::Everything).is_empty());
}

#[test]
fn a_full_sync_removes_what_others_wrote_but_not_what_leaders_keep() {
    let mut pair = Pair::new();
    pair.sync(Scope::Own);
    for id in ["consul", "foreign"] {
        let service = NodeService { id: id.into(), service: id.into(), ..NodeService::default() };
        let check_id = if id == "consul" { SERF_CHECK_ID } else { "foreign-check" };
        let check = HealthCheck {
            node: "n1".into(),
            check_id: check_id.into(),
            name: check_id.to_owned(),
            ..HealthCheck::default()
        };
        pair.apply(Command::Register(Box::new(RegisterRequest {
            node: "n1".into(),
            skip_node_update: true,
            service: Some(service),
            check: Some(check),
            ..RegisterRequest::default()
        })));
    }
    assert!(pair.sync(Scope::Own).is_empty(), "a change of ours does not remove theirs");
    assert_eq!(pair.sync(Scope::Everything), ["-foreign", "-check foreign-check"]);
    assert!(pair.state.catalog.service("n1", "consul").is_some());
    assert!(pair.state.catalog.check("n1", SERF_CHECK_ID).is_some());
}

#[test]
fn with_tag_override_the_catalogs_tags_win() {
    for (allowed, tags, steps) in
        [(true, vec!["theirs".to_owned()], vec![]), (false, vec![], vec!["web+0"])]
    {
        let mut pair = Pair::new();
        pair.register(ServiceDefinition { enable_tag_override: allowed, ..web() });
        pair.sync(Scope::Own);
        let mut service = (**pair.state.catalog.service("n1", "web").unwrap()).clone();
        service.tags = vec!["theirs".to_owned()];
        pair.apply(Command::Register(Box::new(RegisterRequest {
            node: "n1".into(),
            skip_node_update: true,
            service: Some(service),
            ..RegisterRequest::default()
        })));
        assert_eq!(pair.sync(Scope::Own), steps);
        assert_eq!(pair.state.catalog.service("n1", "web").unwrap().tags, tags);
    }
}

#[test]
fn a_node_changed_by_others_is_put_right() {
    let mut pair = Pair::new();
    pair.sync(Scope::Own);
    pair.apply(Command::Register(Box::new(RegisterRequest {
        node: "n1".into(),
        address: "203.0.113.9".to_owned(),
        ..RegisterRequest::default()
    })));
    assert_eq!(pair.sync(Scope::Own), ["node"]);
    assert_eq!(pair.state.catalog.node("n1").unwrap().address, "127.0.0.1");
}
