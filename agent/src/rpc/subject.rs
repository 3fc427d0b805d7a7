//! Whose configuration a Watch streams: found once, then followed through changes of its
//! registration. A registration that disappears leaves the last one in force, because the proxy of
//! a stopping workload still serves.

use std::sync::Arc;

use lictor_api::{
    NodeName,
    mesh::v1::watch_request::Subject as Asked,
    types::catalog::{NodeService, ServiceKind},
};
use lictor_core::{
    connect::proxy::Subject,
    state::{State, Topic, WatchSet, catalog::fold},
};
use tonic::Status;

use super::identity::{self, Who};
use crate::{agent::Agent, ca::sign::check_service_name};

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
pub(super) async fn find(
    agent: &Agent,
    who: &Who,
    asked: Option<Asked>,
    node: &str,
) -> Result<Target, Status> {
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
            Asked::ProxyId(id) if !node.is_empty() => find_elsewhere(agent, node, &id).await?,
            Asked::ProxyId(id) => find_proxy(agent, &id)?,
            Asked::SidecarFor(id) => find_sidecar(agent, &id)?,
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
    let found = agent.store.wait_for(|state: &State, topics: &mut WatchSet| {
        topics.add(Topic::Services);
        identity::proxy_of_pod(state, &pod.uid)
    });
    if let Ok((node, registration)) = tokio::time::timeout(identity::REGISTRATION_WAIT, found).await
    {
        return Ok(Target::Proxy { node, registration });
    }
    let wish = if let Asked::Service(service) = asked { service.as_str() } else { "" };
    let service = identity::unregistered(identity, pod, wish)?;
    Ok(Target::Pod { uid: pod.uid.clone(), service })
}

/// The ID of the proxy of this agent that is asked for; `None` when it is a service by name.
///
/// # Errors
/// As [`find`].
pub(super) fn local_proxy(agent: &Agent, asked: Option<&Asked>) -> Result<Option<String>, Status> {
    let target = match asked {
        Some(Asked::ProxyId(id)) => find_proxy(agent, id)?,
        Some(Asked::SidecarFor(id)) => find_sidecar(agent, id)?,
        Some(Asked::Service(_)) | None => return Ok(None),
    };
    match target {
        Target::Proxy { registration, .. } => Ok(Some(registration.id.to_string())),
        Target::Service(_) | Target::Pod { .. } => Ok(None),
    }
}

/// A proxy of another agent, which has registered it or is about to.
async fn find_elsewhere(agent: &Agent, node: &str, id: &str) -> Result<Target, Status> {
    let node = NodeName::from(node);
    let found = agent.store.wait_for(|state: &State, topics: &mut WatchSet| {
        topics.add(Topic::Node(fold(&node)));
        state.catalog.service(&node, id).cloned()
    });
    match tokio::time::timeout(identity::REGISTRATION_WAIT, found).await {
        Ok(registration) => Ok(Target::Proxy { node: node.clone(), registration }),
        Err(_) => Err(Status::unavailable(format!("service {id} is not in the catalog yet"))),
    }
}

fn find_proxy(agent: &Agent, id: &str) -> Result<Target, Status> {
    let table = agent.local.snapshot();
    let found =
        table.service(id).ok_or_else(|| Status::not_found(format!("unknown service ID: {id}")))?;
    if found.service.kind != ServiceKind::ConnectProxy {
        return Err(Status::failed_precondition(format!("service {id} is not a proxy")));
    }
    Ok(local(agent, &found.service))
}

fn find_sidecar(agent: &Agent, id: &str) -> Result<Target, Status> {
    let table = agent.local.snapshot();
    let sidecars: Vec<&NodeService> = table
        .services()
        .map(|local| &local.service)
        .filter(|service| {
            service.kind == ServiceKind::ConnectProxy && service.proxy.destination_service_id == id
        })
        .collect();
    match sidecars[..] {
        [] => Err(Status::not_found(format!("No sidecar proxy registered for {id}"))),
        [one] => Ok(local(agent, one)),
        _ => {
            let ids = sidecars.iter().map(|service| service.id.as_str()).collect::<Vec<_>>();
            Err(Status::failed_precondition(format!(
                "More than one sidecar proxy registered for {id}. \
                 Start proxy with -proxy-id and one of the following IDs: {}",
                ids.join(", ")
            )))
        }
    }
}

/// A proxy of this agent; the catalog has it, or will in a moment.
fn local(agent: &Agent, proxy: &NodeService) -> Target {
    Target::Proxy {
        node: NodeName::from(agent.config.load().node_name.as_str()),
        registration: Arc::new(proxy.clone()),
    }
}
