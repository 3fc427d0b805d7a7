//! Sessions, locks, keys and transactions against a naive model: the same steps on both, compared
//! after each, with the state sent through a snapshot now and then.

mod model;

use bytes::Bytes;
use lictor_api::types::{
    catalog::{DeregisterRequest, NodeService, RegisterRequest},
    health::HealthCheck,
    session::SessionBehavior,
};
use model::{KvStep, Model, Verb};
use proptest::prelude::*;

use super::*;
use crate::fsm::{
    self, Command, KvCommand, Operation,
    txn::{KvOperation, KvVerb},
};
use crate::state::watch::Touched;

const NODES: [&str; 2] = ["n0", "N1"];
const CHECKS: [&str; 3] = ["c0", "c1", "of-service"];
const SESSIONS: [&str; 4] = ["s0", "s1", "s2", "s3"];
const KEYS: [&str; 4] = ["a", "a/b", "a/c", "b"];

/// One step; numbers index the names above.
#[derive(Debug, Clone)]
enum Step {
    Node(usize),
    Service(usize),
    Check { node: usize, check: usize, critical: bool },
    RemoveNode(usize),
    RemoveService(usize),
    RemoveCheck(usize, usize),
    Create { session: usize, node: usize, checks: Vec<usize>, delete: bool, delayed: bool },
    Destroy(usize),
    EndDelay { key: usize, stale: bool },
    Kv(KvStep),
    Transaction(Vec<KvStep>),
    Snapshot,
}

fn kv_step() -> impl Strategy<Value = KvStep> {
    let verb = prop_oneof![
        3 => Just(Verb::Lock),
        2 => Just(Verb::Unlock),
        2 => Just(Verb::Set),
        1 => Just(Verb::Cas),
        1 => Just(Verb::Delete),
        1 => Just(Verb::DeleteCas),
        1 => Just(Verb::DeleteTree),
    ];
    (verb, 0..KEYS.len(), 0..2_u8, 0..SESSIONS.len(), prop::bool::weighted(0.7)).prop_map(
        |(verb, key, value, session, good)| KvStep {
            verb,
            key: KEYS[key],
            value,
            session: SESSIONS[session],
            good,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let checks = prop::collection::vec(0..CHECKS.len(), 0..3);
    let session = (0..SESSIONS.len(), 0..NODES.len(), checks, any::<bool>(), any::<bool>());
    prop_oneof![
        2 => (0..NODES.len()).prop_map(Step::Node),
        1 => (0..NODES.len()).prop_map(Step::Service),
        4 => (0..NODES.len(), 0..CHECKS.len(), prop::bool::weighted(0.2))
            .prop_map(|(node, check, critical)| Step::Check { node, check, critical }),
        1 => (0..NODES.len()).prop_map(Step::RemoveNode),
        1 => (0..NODES.len()).prop_map(Step::RemoveService),
        1 => (0..NODES.len(), 0..CHECKS.len()).prop_map(|(n, c)| Step::RemoveCheck(n, c)),
        6 => session.prop_map(|(session, node, checks, delete, delayed)| {
            Step::Create { session, node, checks, delete, delayed }
        }),
        2 => (0..SESSIONS.len()).prop_map(Step::Destroy),
        2 => (0..KEYS.len(), any::<bool>())
            .prop_map(|(key, stale)| Step::EndDelay { key, stale }),
        12 => kv_step().prop_map(Step::Kv),
        3 => prop::collection::vec(kv_step(), 1..5).prop_map(Step::Transaction),
        1 => Just(Step::Snapshot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_state_does_what_the_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let (mut state, mut model) = (State::default(), Model::default());
        for (index, step) in (1..).zip(steps) {
            let mut touched = Touched::default();
            if let Step::Snapshot = step {
                state = State::from_snapshot(&state.to_snapshot().unwrap()).unwrap();
            } else {
                let command = command(&step, &model);
                let decoded = Command::decode(&command.encode().unwrap()).unwrap();
                prop_assert_eq!(&decoded, &command);
                let response = fsm::apply(&mut state, index, command, &mut touched);
                let expected = carry_out(&mut model, index, &step);
                prop_assert_eq!(summary(&response), expected, "{:?}", step);
            }
            model.compare(&state);
        }
    }
}

/// The step as a command.
fn command(step: &Step, model: &Model) -> Command {
    let session = |command| Command::Session(Box::new(command));
    match step {
        Step::Node(node) => register(NODES[*node], |_| {}),
        Step::Service(node) => register(NODES[*node], |request| {
            request.service = Some(NodeService { service: "svc".into(), ..NodeService::default() });
        }),
        Step::Check { node, check, critical } => register(NODES[*node], |request| {
            let id = CHECKS[*check];
            request.skip_node_update = true;
            request.check = Some(HealthCheck {
                check_id: id.into(),
                service_id: if id == "of-service" { "svc".into() } else { "".into() },
                status: if *critical { CheckStatus::Critical } else { CheckStatus::Warning },
                ..HealthCheck::default()
            });
        }),
        Step::RemoveNode(node) => deregister(NODES[*node], "", ""),
        Step::RemoveService(node) => deregister(NODES[*node], "svc", ""),
        Step::RemoveCheck(node, check) => deregister(NODES[*node], "", CHECKS[*check]),
        Step::Create { session: id, node, checks, delete, delayed } => {
            session(SessionCommand::Create(Session {
                id: SESSIONS[*id].to_owned(),
                // The name's case does not matter.
                node: NODES[*node].to_ascii_lowercase().into(),
                node_checks: checks.iter().map(|check| CHECKS[*check].into()).collect(),
                behavior: if *delete { SessionBehavior::Delete } else { SessionBehavior::Release },
                lock_delay: std::time::Duration::from_secs(u64::from(*delayed) * 100),
                ..Session::default()
            }))
        }
        Step::Destroy(id) => session(SessionCommand::Destroy { id: SESSIONS[*id].to_owned() }),
        Step::EndDelay { key, stale } => {
            let since = model.delays.get(KEYS[*key]).copied().unwrap_or(7);
            let delays = vec![(KEYS[*key].to_owned(), since - u64::from(*stale))];
            session(SessionCommand::Expire(Expired { sessions: Vec::new(), delays }))
        }
        Step::Kv(step) => Command::Kv(kv_command(step, model)),
        Step::Transaction(steps) => {
            let operation = |step| Operation::Kv(kv_operation(step, model));
            Command::Transaction(steps.iter().map(operation).collect())
        }
        Step::Snapshot => unreachable!("a snapshot is no command"),
    }
}

fn register(node: &str, edit: impl FnOnce(&mut RegisterRequest)) -> Command {
    let mut request = RegisterRequest {
        node: node.into(),
        address: "10.0.0.1".to_owned(),
        ..RegisterRequest::default()
    };
    edit(&mut request);
    Command::Register(Box::new(request))
}

fn deregister(node: &str, service: &str, check: &str) -> Command {
    Command::Deregister(DeregisterRequest {
        node: node.into(),
        service_id: service.into(),
        check_id: check.into(),
        ..DeregisterRequest::default()
    })
}

fn kv_command(step: &KvStep, model: &Model) -> KvCommand {
    let (key, flags, value) = (step.key.to_owned(), 0, Bytes::from(vec![step.value]));
    let (session, expected) = (step.session.to_owned(), model.expected(step));
    match step.verb {
        Verb::Set => KvCommand::Set { key, flags, value },
        Verb::Cas => KvCommand::CheckAndSet { key, flags, value, expected },
        Verb::Lock => KvCommand::Lock { key, flags, value, session },
        Verb::Unlock => KvCommand::Unlock { key, flags, value, session },
        Verb::Delete => KvCommand::Delete { key },
        Verb::DeleteCas => KvCommand::CheckAndDelete { key, expected },
        Verb::DeleteTree => KvCommand::DeleteTree { prefix: key },
    }
}

fn kv_operation(step: &KvStep, model: &Model) -> KvOperation {
    let verb = match step.verb {
        Verb::Set => KvVerb::Set,
        Verb::Cas => KvVerb::Cas,
        Verb::Lock => KvVerb::Lock,
        Verb::Unlock => KvVerb::Unlock,
        Verb::Delete => KvVerb::Delete,
        Verb::DeleteCas => KvVerb::DeleteCas,
        Verb::DeleteTree => KvVerb::DeleteTree,
    };
    KvOperation {
        verb,
        key: step.key.to_owned(),
        flags: 0,
        value: Bytes::from(vec![step.value]),
        index: model.expected(step),
        session: step.session.to_owned(),
    }
}

/// Carries the step out on the model; what the state must answer.
fn carry_out(model: &mut Model, index: u64, step: &Step) -> Result<bool, ()> {
    match step {
        Step::Node(node) => model.node(NODES[*node]),
        Step::Service(node) => model.service(NODES[*node]),
        Step::Check { node, check, critical } => {
            model.check(index, NODES[*node], CHECKS[*check], *critical)
        }
        Step::RemoveNode(node) => model.remove_node(index, NODES[*node]),
        Step::RemoveService(node) => model.remove_check(index, NODES[*node], "of-service", true),
        Step::RemoveCheck(node, check) => {
            model.remove_check(index, NODES[*node], CHECKS[*check], false)
        }
        Step::Create { session, node, checks, delete, delayed } => {
            let checks = checks.iter().map(|check| CHECKS[*check]).collect();
            model.create(SESSIONS[*session], NODES[*node], checks, *delete, *delayed)
        }
        Step::Destroy(id) => model.destroy(index, SESSIONS[*id]),
        Step::EndDelay { key, stale } => {
            if !stale {
                model.delays.remove(KEYS[*key]);
            }
            Ok(true)
        }
        Step::Kv(step) => {
            let expected = model.expected(step);
            model.kv(index, step, expected, false)
        }
        Step::Transaction(steps) => model.transaction(index, steps),
        Step::Snapshot => Ok(true),
    }
}

/// Whether it was done, not done, or refused.
fn summary(response: &fsm::Response) -> Result<bool, ()> {
    match response {
        fsm::Response::Done => Ok(true),
        fsm::Response::Applied(applied) => Ok(*applied),
        fsm::Response::Rejected(_) => Err(()),
        fsm::Response::Transaction(outcome) => Ok(outcome.errors.is_empty()),
    }
}
