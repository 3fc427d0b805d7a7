//! Leader duty: registers the members of the LAN pool in the catalog with the check `serfHealth`,
//! and servers with the service `consul`. A failed member turns critical; one that left is removed.
//!
//! [`plan`] is pure; [`run`] applies it while this server leads.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use lictor_api::contract::{CONSUL_SERVICE, SERF_CHECK_ID, SERF_CHECK_NAME};
use lictor_api::{
    CONSUL_VERSION, CheckId, NodeName, ServiceId, ServiceName,
    types::{
        catalog::{DeregisterRequest, NodeService, RegisterRequest},
        health::{CheckStatus, HealthCheck},
    },
};
use lictor_core::{
    fsm::Command,
    state::{Catalog, Folded, catalog::fold},
};
use lictor_membership::{Member, MemberStatus};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Server, ServerError};
use crate::telemetry::metrics;

const RECONCILE_INTERVAL: Duration = Duration::from_secs(30);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// A node that is not in the pool turns critical after this time: its agent was dead when the
/// servers last started, and has not joined since.
const ABSENT_CRITICAL_TIMEOUT: Duration = Duration::from_secs(60);
/// A node that is not in the pool is removed after this time.
const ABSENT_REMOVAL_TIMEOUT: Duration = Duration::from_secs(3600);

/// Outputs of the check of an alive and of a failed agent. COMPAT: the texts are Consul's.
const ALIVE: &str = "Agent alive and reachable";
const DEAD: &str = "Agent not live or unreachable";

/// Returns the commands that make the catalog's nodes follow the members of the pool. `absent`
/// returns how long this leader has not seen a node among the members.
pub fn plan(
    members: &[Member],
    catalog: &Catalog,
    absent: impl Fn(&Folded<NodeName>) -> Duration,
) -> Vec<Command> {
    let mut commands: Vec<Command> =
        members.iter().filter_map(|member| step(member, catalog)).collect();
    let known: BTreeSet<Folded<NodeName>> =
        members.iter().map(|member| fold(&NodeName::from(member.name.as_str()))).collect();
    for node in catalog.nodes() {
        let key = fold(&node.name);
        if known.contains(&key) {
            continue;
        }
        let Some(check) = catalog.check(&node.name, SERF_CHECK_ID) else { continue };
        let absent = absent(&key);
        if absent >= ABSENT_REMOVAL_TIMEOUT {
            commands.push(deregister(&node.name));
        } else if absent >= ABSENT_CRITICAL_TIMEOUT && check.status != CheckStatus::Critical {
            let check = serf_check(&node.name, false);
            commands.push(Command::Register(Box::new(RegisterRequest {
                node: node.name.clone(),
                skip_node_update: true,
                check: Some(check),
                ..RegisterRequest::default()
            })));
        }
    }
    commands
}

fn step(member: &Member, catalog: &Catalog) -> Option<Command> {
    let name = NodeName::from(member.name.as_str());
    match member.status {
        MemberStatus::Alive => register(member, catalog, true),
        // A failed member that was never in the catalog is not registered.
        MemberStatus::Failed => {
            catalog.node(&name)?;
            register(member, catalog, false)
        }
        MemberStatus::Leaving => None,
        MemberStatus::Left => {
            let node = catalog.node(&name)?;
            catalog.check(&name, SERF_CHECK_ID)?;
            // Another agent may use the name by now.
            (node.id.is_empty() || node.id == member.node_id()).then(|| deregister(&name))
        }
    }
}

fn register(member: &Member, catalog: &Catalog, alive: bool) -> Option<Command> {
    let name = NodeName::from(member.name.as_str());
    let check = serf_check(&name, alive);
    let service = consul_service(member);
    let has_service = service.as_ref().is_none_or(|service| {
        let known = catalog.service(&name, CONSUL_SERVICE);
        known.is_some_and(|known| known.same_registration(service))
    });
    let has_check =
        catalog.check(&name, SERF_CHECK_ID).is_some_and(|known| known.same_check(&check));
    if has_service && has_check {
        return None;
    }
    let address = member.address.ip();
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    let tagged = ["lan".to_owned(), format!("lan_{family}"), "wan".to_owned()];
    Some(Command::Register(Box::new(RegisterRequest {
        id: member.node_id().to_owned(),
        node: name,
        address: address.to_string(),
        datacenter: member.datacenter().to_owned(),
        tagged_addresses: tagged.map(|tag| (tag, address.to_string())).into(),
        service,
        check: Some(check),
        // The node's agent is the authority for its description.
        skip_node_update: true,
        ..RegisterRequest::default()
    })))
}

fn deregister(node: &NodeName) -> Command {
    Command::Deregister(DeregisterRequest { node: node.clone(), ..DeregisterRequest::default() })
}

fn consul_service(member: &Member) -> Option<NodeService> {
    let port = member.server_port()?;
    let meta = [("non_voter", "false"), ("raft_version", "3"), ("version", CONSUL_VERSION)];
    Some(NodeService {
        id: ServiceId::from(CONSUL_SERVICE),
        service: ServiceName::from(CONSUL_SERVICE),
        port,
        meta: BTreeMap::from(meta.map(|(key, value)| (key.to_owned(), value.to_owned()))),
        ..NodeService::default()
    })
}

fn serf_check(node: &NodeName, alive: bool) -> HealthCheck {
    HealthCheck {
        node: node.clone(),
        check_id: CheckId::from(SERF_CHECK_ID),
        name: SERF_CHECK_NAME.to_owned(),
        status: if alive { CheckStatus::Passing } else { CheckStatus::Critical },
        output: if alive { ALIVE } else { DEAD }.to_owned(),
        ..HealthCheck::default()
    }
}

/// The times since which this leader has not seen a node among the members.
#[derive(Default)]
struct Absences(HashMap<Folded<NodeName>, Instant>);

impl Absences {
    fn update(&mut self, members: &[Member], catalog: &Catalog) {
        let known: BTreeSet<Folded<NodeName>> =
            members.iter().map(|member| fold(&NodeName::from(member.name.as_str()))).collect();
        let now = Instant::now();
        let nodes: BTreeSet<_> = catalog.nodes().map(|node| fold(&node.name)).collect();
        self.0.retain(|node, _| nodes.contains(node) && !known.contains(node));
        for node in nodes.difference(&known) {
            self.0.entry(node.clone()).or_insert(now);
        }
    }

    fn of(&self, node: &Folded<NodeName>) -> Duration {
        self.0.get(node).map_or(Duration::ZERO, Instant::elapsed)
    }
}

/// Makes the catalog follow `members` until `until`, which ends when this server no longer leads.
pub async fn run(
    server: Arc<Server>,
    mut members: watch::Receiver<Arc<Vec<Member>>>,
    until: CancellationToken,
) {
    let mut absences = Absences::default();
    loop {
        let current = members.borrow_and_update().clone();
        let state = server.store().snapshot();
        absences.update(&current, &state.catalog);
        let commands = plan(&current, &state.catalog, |node| absences.of(node));
        let work = async {
            let started = std::time::Instant::now();
            let applied = apply(&server, commands).await;
            metrics::LEADER_RECONCILE.observe_since(started);
            let pause = match applied {
                Ok(()) => RECONCILE_INTERVAL,
                Err(_) => RETRY_INTERVAL,
            };
            // The sender is the pool: it outlives the leader's duties.
            if let Ok(Err(_)) = timeout(pause, members.changed()).await {
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = until.cancelled() => return,
            () = work => {}
        }
    }
}

async fn apply(server: &Server, commands: Vec<Command>) -> Result<(), ServerError> {
    for command in commands {
        let (node, what) = match &command {
            Command::Register(request) => {
                let passing = request.check.as_ref().map(|check| check.status);
                let alive = passing == Some(CheckStatus::Passing);
                (
                    request.node.clone(),
                    if alive {
                        "member joined, marking health alive"
                    } else {
                        "member failed, marking health critical"
                    },
                )
            }
            Command::Deregister(request) => (request.node.clone(), "deregistering member"),
            _ => (NodeName::default(), "member changed"),
        };
        match server.propose(command).await {
            Ok(_) => tracing::info!(target: "agent.server", member = %node, "{what}"),
            Err(error) => {
                tracing::warn!(target: "agent.server", member = %node, %error, "failed to reconcile member, trying again");
                return Err(error);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_core::{
        fsm,
        state::{State, watch::Touched},
    };

    fn member(name: &str, role: &str, status: MemberStatus) -> Member {
        let tags = [("role", role), ("id", name), ("dc", "dc1"), ("port", "8300")];
        Member {
            name: name.to_owned(),
            address: ([10, 0, 0, 1], 8301).into(),
            status,
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            protocol: 2,
            delegate: 4,
        }
    }

    fn reconciled(state: &mut State, members: &[Member], absent: Duration) -> usize {
        let commands = plan(members, &state.catalog, |_| absent);
        let count = commands.len();
        for command in commands {
            let index = state.index + 1;
            fsm::apply(state, index, command, &mut Touched::default());
        }
        count
    }

    fn status(state: &State, node: &str) -> Option<CheckStatus> {
        state.catalog.check(node, SERF_CHECK_ID).map(|check| check.status)
    }

    #[test]
    fn members_are_registered_once_and_servers_with_their_service() {
        let mut state = State::default();
        let members = [
            member("s1", "consul", MemberStatus::Alive),
            member("c1", "node", MemberStatus::Alive),
        ];
        assert_eq!(reconciled(&mut state, &members, Duration::ZERO), 2);
        assert_eq!(reconciled(&mut state, &members, Duration::ZERO), 0);
        assert_eq!(state.catalog.service("s1", "consul").unwrap().port, 8300);
        assert!(state.catalog.service("c1", "consul").is_none());
        assert_eq!(status(&state, "c1"), Some(CheckStatus::Passing));
        assert_eq!(state.catalog.node("c1").unwrap().address, "10.0.0.1");
    }

    #[test]
    fn a_failed_member_is_critical_and_comes_back() {
        let mut state = State::default();
        for (standing, expected) in [
            (MemberStatus::Alive, CheckStatus::Passing),
            (MemberStatus::Failed, CheckStatus::Critical),
            (MemberStatus::Alive, CheckStatus::Passing),
        ] {
            reconciled(&mut state, &[member("c1", "node", standing)], Duration::ZERO);
            assert_eq!(status(&state, "c1"), Some(expected));
        }
    }

    #[test]
    fn who_leaves_is_removed_unless_the_name_is_anothers_by_now() {
        let mut state = State::default();
        reconciled(&mut state, &[member("c1", "node", MemberStatus::Alive)], Duration::ZERO);
        let mut other = member("c1", "node", MemberStatus::Left);
        other.tags.insert("id".to_owned(), "another".to_owned());
        reconciled(&mut state, &[other], Duration::ZERO);
        assert!(state.catalog.node("c1").is_some());
        reconciled(&mut state, &[member("c1", "node", MemberStatus::Left)], Duration::ZERO);
        assert!(state.catalog.node("c1").is_none());
    }

    #[test]
    fn who_is_unknown_to_gossip_becomes_critical_and_then_is_gone() {
        let mut state = State::default();
        reconciled(&mut state, &[member("c1", "node", MemberStatus::Alive)], Duration::ZERO);
        reconciled(&mut state, &[], Duration::from_secs(5));
        assert_eq!(status(&state, "c1"), Some(CheckStatus::Passing));
        reconciled(&mut state, &[], ABSENT_CRITICAL_TIMEOUT);
        assert_eq!(status(&state, "c1"), Some(CheckStatus::Critical));
        reconciled(&mut state, &[], ABSENT_REMOVAL_TIMEOUT);
        assert!(state.catalog.node("c1").is_none());
    }

    #[test]
    fn nodes_that_no_agent_keeps_are_left_alone() {
        let mut state = State::default();
        let external = RegisterRequest {
            node: "external".into(),
            address: "10.9.9.9".to_owned(),
            ..RegisterRequest::default()
        };
        let command = Command::Register(Box::new(external));
        fsm::apply(&mut state, 1, command, &mut Touched::default());
        assert_eq!(reconciled(&mut state, &[], ABSENT_REMOVAL_TIMEOUT), 0);
        assert!(state.catalog.node("external").is_some());
    }
}
