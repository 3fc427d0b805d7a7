//! What a panic does to an agent: what can goes on, and what cannot is a failure with its name.

use std::time::Duration;

use lictor_api::types::session::Session;
use lictor_config::{Source, runtime::Listen};
use lictor_core::{
    fsm::{Command, SessionCommand},
    state::{State, Topic, WatchSet},
};
use lictor_runtime::panics;
use tokio::time::timeout;

use super::*;
use crate::plant::{has_panicked, plant_panic};

const DEADLINE: Duration = Duration::from_secs(30);

async fn start(name: &str) -> Running {
    let source = Source { node_name: Some(name.to_owned()), ..Source::default() };
    let mut config = lictor_config::build(source, true, Vec::new()).unwrap();
    config.listen = Listen::default();
    (config.server_port, config.serf_lan_port, config.serf_wan_port) = (0, 0, 0);
    Running::start(config).await.unwrap()
}

/// Waits until the state is as asked.
async fn until(agent: &Running, is_so: impl Fn(&State) -> bool) {
    let reached = agent.agent().store.wait_for(|state: &State, topics: &mut WatchSet| {
        topics.add(Topic::Nodes);
        topics.add(Topic::Sessions);
        is_so(state).then_some(())
    });
    timeout(DEADLINE, reached).await.expect("a state as asked");
}

fn was_caught(task: &str) -> bool {
    panics::by_task().iter().any(|(name, _)| *name == task)
}

#[tokio::test]
async fn a_task_that_the_agent_cannot_go_on_without_is_a_failure_with_its_name() {
    let agent = start("fails").await;
    agent.tasks.spawn("planted.task", async { panic!("for a test") });
    let failure = timeout(DEADLINE, agent.failed()).await.unwrap();
    assert!(matches!(&failure, Failure::Task(failed) if failed.name == "planted.task"));
    assert_eq!(failure.to_string(), "task \"planted.task\" panicked: for a test");
    agent.shutdown().await;
}

#[tokio::test]
async fn anti_entropy_that_panics_begins_again_and_registers_the_agent() {
    plant_panic("anti_entropy", "syncs-again");
    let agent = start("syncs-again").await;
    until(&agent, |state| state.catalog.node("syncs-again").is_some()).await;
    assert!(has_panicked("anti_entropy", "syncs-again") && was_caught("anti_entropy"));
    assert!(timeout(Duration::ZERO, agent.failed()).await.is_err(), "the agent goes on");
    agent.shutdown().await;
}

#[tokio::test]
async fn session_clocks_that_panic_begin_again_and_no_session_lives_on() {
    let agent = start("ends-sessions").await;
    let server = agent.agent().server().unwrap().clone();
    until(&agent, |state| state.catalog.node("ends-sessions").is_some()).await;
    plant_panic("leader.sessions", "ends-late");
    let session = Session {
        id: "ends-late".to_owned(),
        node: "ends-sessions".into(),
        // Shorter than the API takes, so that the test need not wait long.
        ttl: "200ms".to_owned(),
        ..Session::default()
    };
    let create = Command::Session(Box::new(SessionCommand::Create(session)));
    server.submit(create).await.unwrap();
    until(&agent, |state| state.sessions.get("ends-late").is_none()).await;
    assert!(has_panicked("leader.sessions", "ends-late") && was_caught("leader.sessions"));
    let leader = server.consensus().leader().borrow().clone();
    assert!(leader.is_some_and(|leader| leader.is_self), "it leads on");
    agent.shutdown().await;
}
