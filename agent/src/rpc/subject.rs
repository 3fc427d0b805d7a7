//! The subject of a Watch: the proxy whose configuration is streamed. It is found once and then
//! follows changes of its registration. After a deregistration the last one stays in force, because
//! the proxy of a stopping workload still serves.

use std::sync::Arc;

use lictor_api::{
    NodeName,
    mesh::v1::watch_request::Subject as Requested,
    types::catalog::{NodeService, ServiceKind},
};
use lictor_core::{
    connect::proxy::Subject,
    state::{State, Topic, WatchSet, catalog::fold},
};
use tonic::{Code, Status};

use super::identity::{self, Requester};
use crate::{
    agent::Agent,
    ca::sign::check_service_name,
    kubernetes::{Identity, Pod},
};

/// The subject of the configuration.
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
    /// A pod that is not registered yet; until then its service by name.
    Pod {
        /// The pod.
        uid: String,
        /// The service.
        service: String,
    },
}

impl Target {
    /// Returns the subject in its current registration; adds what that depends on to `topics`.
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

    /// Returns the subject that the compiler of snapshots takes.
    pub(super) fn subject(&self) -> Subject<'_> {
        match self {
            Self::Proxy { registration, .. } => Subject::Proxy(registration),
            Self::Service(service) | Self::Pod { service, .. } => Subject::Service(service),
        }
    }
}

/// Why there is nothing to stream. COMPAT: the texts are Consul's where it has the case; proxies
/// print them.
#[derive(Debug, thiserror::Error)]
enum SubjectError {
    /// The request has no subject.
    #[error("a proxy ID, a service ID or a service is required")]
    Missing,
    /// No instance of this agent has this ID.
    #[error("unknown service ID: {0}")]
    UnknownId(String),
    /// The instance is not a proxy.
    #[error("service {0} is not a proxy")]
    NotAProxy(String),
    /// The instance has no sidecar.
    #[error("No sidecar proxy registered for {0}")]
    NoSidecar(String),
    /// The instance has several sidecars.
    #[error(
        "More than one sidecar proxy registered for {id}. \
         Start proxy with -proxy-id and one of the following IDs: {proxies}"
    )]
    Sidecars {
        /// The instance.
        id: String,
        /// Its sidecars.
        proxies: String,
    },
    /// Another agent's proxy has not been registered yet. Retryable.
    #[error("service {0} is not in the catalog yet")]
    NotYet(String),
}

impl From<SubjectError> for Status {
    fn from(error: SubjectError) -> Self {
        let code = match error {
            SubjectError::Missing => Code::InvalidArgument,
            SubjectError::UnknownId(_) | SubjectError::NoSidecar(_) => Code::NotFound,
            SubjectError::NotAProxy(_) | SubjectError::Sidecars { .. } => Code::FailedPrecondition,
            SubjectError::NotYet(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// Resolves the requested subject and checks that `requester` may read it.
///
/// # Errors
/// [`SubjectError`] as a status; INVALID_ARGUMENT for a service's name that cannot be one;
/// UNAVAILABLE for a pod that is not registered yet; PERMISSION_DENIED.
pub(super) async fn find(
    agent: &Agent,
    requester: &Requester,
    requested: Option<Requested>,
    node: &str,
) -> Result<Target, Status> {
    let requested = requested.ok_or(SubjectError::Missing)?;
    let target = match requester {
        Requester::Pod { identity, pod } => {
            return find_pod(agent, identity, pod, &requested).await;
        }
        Requester::Other(_) => match requested {
            Requested::Service(service) => {
                check_service_name(&service)
                    .map_err(|error| Status::invalid_argument(error.to_string()))?;
                Target::Service(service)
            }
            Requested::ProxyId(id) if !node.is_empty() => find_remote(agent, node, &id).await?,
            Requested::ProxyId(id) => find_proxy(agent, &id)?,
            Requested::SidecarFor(id) => find_sidecar(agent, &id)?,
        },
    };
    if let Requester::Other(caller) = requester {
        identity::authorize(agent, caller, target.subject().service())?;
    }
    Ok(target)
}

async fn find_pod(
    agent: &Agent,
    identity: &Identity,
    pod: &Pod,
    requested: &Requested,
) -> Result<Target, Status> {
    let found = agent.store.wait_for(|state: &State, topics: &mut WatchSet| {
        topics.add(Topic::Services);
        identity::proxy_of_pod(state, &pod.uid)
    });
    if let Ok((node, registration)) =
        tokio::time::timeout(identity::REGISTRATION_TIMEOUT, found).await
    {
        return Ok(Target::Proxy { node, registration });
    }
    let service = if let Requested::Service(service) = requested { service.as_str() } else { "" };
    let service = identity::unregistered(identity, pod, service)?;
    Ok(Target::Pod { uid: pod.uid.clone(), service })
}

/// Returns the ID of the requested proxy of this agent; `None` for a service by name.
///
/// # Errors
/// As [`find`].
pub(super) fn local_proxy(
    agent: &Agent,
    requested: Option<&Requested>,
) -> Result<Option<String>, Status> {
    let target = match requested {
        Some(Requested::ProxyId(id)) => find_proxy(agent, id)?,
        Some(Requested::SidecarFor(id)) => find_sidecar(agent, id)?,
        Some(Requested::Service(_)) | None => return Ok(None),
    };
    match target {
        Target::Proxy { registration, .. } => Ok(Some(registration.id.to_string())),
        Target::Service(_) | Target::Pod { .. } => Ok(None),
    }
}

/// Waits for the registration of another agent's proxy.
async fn find_remote(agent: &Agent, node: &str, id: &str) -> Result<Target, SubjectError> {
    let node = NodeName::from(node);
    let found = agent.store.wait_for(|state: &State, topics: &mut WatchSet| {
        topics.add(Topic::Node(fold(&node)));
        state.catalog.service(&node, id).cloned()
    });
    match tokio::time::timeout(identity::REGISTRATION_TIMEOUT, found).await {
        Ok(registration) => Ok(Target::Proxy { node: node.clone(), registration }),
        Err(_) => Err(SubjectError::NotYet(id.to_owned())),
    }
}

fn find_proxy(agent: &Agent, id: &str) -> Result<Target, SubjectError> {
    let table = agent.local.snapshot();
    let found = table.service(id).ok_or_else(|| SubjectError::UnknownId(id.to_owned()))?;
    if found.service.kind != ServiceKind::ConnectProxy {
        return Err(SubjectError::NotAProxy(id.to_owned()));
    }
    Ok(local(agent, &found.service))
}

fn find_sidecar(agent: &Agent, id: &str) -> Result<Target, SubjectError> {
    let table = agent.local.snapshot();
    let sidecars: Vec<&NodeService> = table
        .services()
        .map(|local| &local.service)
        .filter(|service| {
            service.kind == ServiceKind::ConnectProxy && service.proxy.destination_service_id == id
        })
        .collect();
    match sidecars[..] {
        [] => Err(SubjectError::NoSidecar(id.to_owned())),
        [one] => Ok(local(agent, one)),
        _ => {
            let ids = sidecars.iter().map(|service| service.id.as_str()).collect::<Vec<_>>();
            Err(SubjectError::Sidecars { id: id.to_owned(), proxies: ids.join(", ") })
        }
    }
}

/// Returns a proxy of this agent, which anti-entropy may not have written to the catalog yet.
fn local(agent: &Agent, proxy: &NodeService) -> Target {
    Target::Proxy {
        node: NodeName::from(agent.config.load().node_name.as_str()),
        registration: Arc::new(proxy.clone()),
    }
}
