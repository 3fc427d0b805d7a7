//! Leader duty: members of the pool appear in the catalog, with the check `serfHealth`, and servers
//! with the service `consul`.
//!
//! [`plan`] is pure; [`run`] carries it out while this server leads. The only member is this server
//! itself until agents join each other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lictor_api::{
    CONSUL_VERSION, CheckId, ServiceId, ServiceName,
    types::{
        catalog::{Node, NodeService, RegisterRequest},
        health::{CheckStatus, HealthCheck},
    },
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Server, ServerError};
use crate::{
    fsm::Command,
    local::anti_entropy::{CONSUL_SERVICE, SERF_CHECK},
    state::Catalog,
};

const INTERVAL: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);

/// A server of the pool that is alive.
#[derive(Debug, Clone)]
pub struct AliveServer {
    /// Its node.
    pub node: Arc<Node>,
    /// Its port of server RPC.
    pub port: u16,
}

/// The registration that the catalog lacks for `member`, if any.
pub fn plan(member: &AliveServer, catalog: &Catalog) -> Option<RegisterRequest> {
    let name = &member.node.name;
    let (service, check) = (consul_service(member), serf_check(member));
    let known_service = catalog.service(name, CONSUL_SERVICE);
    let known_check = catalog.check(name, SERF_CHECK);
    if known_service.is_some_and(|known| known.same_registration(&service))
        && known_check.is_some_and(|known| known.same_check(&check))
    {
        return None;
    }
    let node = &member.node;
    Some(RegisterRequest {
        id: node.id.clone(),
        node: node.name.clone(),
        address: node.address.clone(),
        datacenter: node.datacenter.clone(),
        tagged_addresses: node.tagged_addresses.clone(),
        node_meta: node.meta.clone(),
        service: Some(service),
        check: Some(check),
        checks: Vec::new(),
        // The node is the agent's own to describe.
        skip_node_update: true,
        locality: None,
    })
}

fn consul_service(member: &AliveServer) -> NodeService {
    let meta = [("non_voter", "false"), ("raft_version", "3"), ("version", CONSUL_VERSION)];
    NodeService {
        id: ServiceId::from(CONSUL_SERVICE),
        service: ServiceName::from(CONSUL_SERVICE),
        port: member.port,
        meta: BTreeMap::from(meta.map(|(key, value)| (key.to_owned(), value.to_owned()))),
        ..NodeService::default()
    }
}

fn serf_check(member: &AliveServer) -> HealthCheck {
    HealthCheck {
        node: member.node.name.clone(),
        check_id: CheckId::from(SERF_CHECK),
        name: "Serf Health Status".to_owned(),
        status: CheckStatus::Passing,
        output: "Agent alive and reachable".to_owned(),
        ..HealthCheck::default()
    }
}

/// Reconciles whenever this server begins to lead, and regularly while it does.
pub async fn run(
    server: Arc<Server>,
    member: impl Fn() -> AliveServer,
    shutdown: CancellationToken,
) {
    let mut leader = server.consensus().leader();
    loop {
        let leads = leader.borrow_and_update().as_ref().is_some_and(|leader| leader.is_self);
        let work = async {
            let pause = if leads { reconcile(&server, &member()).await } else { INTERVAL };
            // Wakes early when the leader changes.
            if let Ok(Err(_)) = timeout(pause, leader.changed()).await {
                sleep(RETRY).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = work => {}
        }
    }
}

async fn reconcile(server: &Server, member: &AliveServer) -> Duration {
    let Some(request) = plan(member, &server.store().snapshot().catalog) else { return INTERVAL };
    match server.propose(Command::Register(Box::new(request))).await {
        Ok(_) => {
            tracing::info!(target: "agent.server", member = %member.node.name, "member joined, marking health alive");
            INTERVAL
        }
        Err(ServerError::ShuttingDown) => INTERVAL,
        Err(error) => {
            tracing::warn!(target: "agent.server", member = %member.node.name, %error, "failed to reconcile member, trying again");
            RETRY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fsm,
        state::{State, watch::Touched},
    };

    #[test]
    fn a_reconciled_member_needs_no_registration() {
        let node = Node {
            name: "n1".into(),
            address: "127.0.0.1".to_owned(),
            datacenter: "dc1".to_owned(),
            ..Node::default()
        };
        let member = AliveServer { node: Arc::new(node), port: 8300 };
        let mut state = State::default();
        let request = plan(&member, &state.catalog).unwrap();
        let command = Command::Register(Box::new(request));
        fsm::apply(&mut state, 5, command, &mut Touched::default());
        assert_eq!(plan(&member, &state.catalog), None);
        assert_eq!(state.catalog.service("n1", "consul").unwrap().port, 8300);
        assert_eq!(state.catalog.check("n1", "serfHealth").unwrap().status, CheckStatus::Passing);
    }
}
