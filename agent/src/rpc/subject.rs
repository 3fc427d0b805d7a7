//! Whose configuration a Watch streams: found once, then followed through changes of its
//! registration. A registration that disappears leaves the last one in force, because the proxy of
//! a stopping workload still serves.

use std::{sync::Arc, time::Duration};

use lictor_api::{
    NodeName, ServiceId,
    mesh::v1::watch_request::Subject as Asked,
    types::catalog::{NodeService, ServiceKind},
};
use tonic::Status;

use super::identity::{self, Who};
use crate::{
    agent::Agent,
    ca::sign::check_service_name,
    connect::proxy::Subject,
    state::{State, Topic, WatchSet, catalog::fold},
};

/// How long a proxy that was registered a moment ago may take to appear in the catalog.
const SYNC_WAIT: Duration = Duration::from_secs(1);
/// How long a pod's first call waits for its registration.
const REGISTRATION_WAIT: Duration = Duration::from_secs(8);

/// Whose configuration it is.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A registered proxy.
    Proxy {
        /// Its node.
        node: NodeName,
        /// Its last registration.
        registration: Arc<NodeService>,
    },
    /// A service by name.
    Service(String),
    /// A pod that may yet be registered; until then its service by name.
    Pod {
        /// The pod.
        uid: String,
        /// The service.
        service: String,
    },
}

impl Target {
    /// What the state says about it now; notes what that depends on.
    pub(super) fn follow(&self, state: &State, topics: &mut WatchSet) -> Self {
        match self {
            Self::Service(_) => self.clone(),
            Self::Proxy { node, registration } => {
                topics.add(Topic::Service(fold(&registration.service)));
                match state.catalog.service(node, &registration.id) {
                    Some(now) => Self::Proxy { node: node.clone(), registration: now.clone() },
                    None => self.clone(),
                }
            }
            Self::Pod { uid, .. } => {
                topics.add(Topic::Services);
                match identity::proxy_of_pod(state, uid) {
                    Some((node, registration)) => Self::Proxy { node, registration },
                    None => self.clone(),
                }
            }
        }
    }

    /// As the compiler of snapshots takes it.
    pub(super) fn subject(&self) -> Subject<'_> {
        match self {
            Self::Proxy { registration, .. } => Subject::Proxy(registration),
            Self::Service(service) | Self::Pod { service, .. } => Subject::Service(service),
        }
    }
}

/// Finds what `who` asks for.
///
/// # Errors
/// INVALID_ARGUMENT, NOT_FOUND and FAILED_PRECONDITION with Consul's texts; UNAVAILABLE for a pod
/// that is not registered yet.
pub(super) async fn find(agent: &Agent, who: &Who, asked: Option<Asked>) -> Result<Target, Status> {
    let missing = || Status::invalid_argument("a proxy ID, a service ID or a service is required");
    let asked = asked.ok_or_else(missing)?;
    let target = match who {
        Who::Pod { .. } => return find_pod(agent, who, &asked).await,
        Who::Other(_) => match asked {
            Asked::Service(service) => {
                check_service_name(&service)
                    .map_err(|error| Status::invalid_argument(error.to_string()))?;
                Target::Service(service)
            }
            Asked::ProxyId(id) => find_proxy(agent, &id).await?,
            Asked::SidecarFor(id) => find_sidecar(agent, &id).await?,
        },
    };
    if let Who::Other(caller) = who {
        identity::authorize(agent, caller, target.subject().service())?;
    }
    Ok(target)
}

async fn find_pod(agent: &Agent, who: &Who, asked: &Asked) -> Result<Target, Status> {
    let Who::Pod { identity, pod } = who else {
        return Err(Status::internal("not a pod"));
    };
    let found = agent.server.store().wait_for(|state: &State, topics: &mut WatchSet| {
        topics.add(Topic::Services);
        identity::proxy_of_pod(state, &pod.uid)
    });
    if let Ok((node, registration)) = tokio::time::timeout(REGISTRATION_WAIT, found).await {
        return Ok(Target::Proxy { node, registration });
    }
    let wish = if let Asked::Service(service) = asked { service.as_str() } else { "" };
    let service = identity::unregistered(identity, pod, wish)?;
    Ok(Target::Pod { uid: pod.uid.clone(), service })
}

async fn find_proxy(agent: &Agent, id: &str) -> Result<Target, Status> {
    let node = NodeName::from(agent.config.load().node_name.as_str());
    let found = settled(agent, |state, topics| {
        topics.add(Topic::Node(fold(&node)));
        state.catalog.service(&node, id).cloned()
    });
    match found.await {
        Some(service) if service.kind == ServiceKind::ConnectProxy => {
            Ok(Target::Proxy { node, registration: service })
        }
        Some(_) => Err(Status::failed_precondition(format!("service {id} is not a proxy"))),
        None => Err(Status::not_found(format!("unknown service ID: {id}"))),
    }
}

async fn find_sidecar(agent: &Agent, id: &str) -> Result<Target, Status> {
    let node = NodeName::from(agent.config.load().node_name.as_str());
    let sidecars = |state: &State| -> Vec<Arc<NodeService>> {
        let is_sidecar = |service: &&Arc<NodeService>| {
            service.kind == ServiceKind::ConnectProxy && service.proxy.destination_service_id == id
        };
        state.catalog.node_services(&node).filter(is_sidecar).cloned().collect()
    };
    let found = settled(agent, |state, topics| {
        topics.add(Topic::Node(fold(&node)));
        Some(sidecars(state)).filter(|found| !found.is_empty())
    });
    match found.await.unwrap_or_default().as_slice() {
        [] => Err(Status::not_found(format!("No sidecar proxy registered for {id}"))),
        [one] => Ok(Target::Proxy { node, registration: one.clone() }),
        several => {
            let ids: Vec<&ServiceId> = several.iter().map(|service| &service.id).collect();
            let ids = ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
            Err(Status::failed_precondition(format!(
                "More than one sidecar proxy registered for {id}. \
                 Start proxy with -proxy-id and one of the following IDs: {ids}"
            )))
        }
    }
}

/// What is found now, or as soon as the agent's registrations are synced.
async fn settled<T>(agent: &Agent, read: impl Fn(&State, &mut WatchSet) -> Option<T>) -> Option<T> {
    tokio::time::timeout(SYNC_WAIT, agent.server.store().wait_for(read)).await.ok()
}
