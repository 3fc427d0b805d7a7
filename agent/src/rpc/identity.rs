//! Identity of callers, and the service that a caller may act for.
//!
//! Where the servers run in Kubernetes, a caller is the pod that its token is bound to, and its
//! service is the one that the operator registered for that pod. Elsewhere it is the requested
//! service, if the authorizer permits it.

use std::{sync::Arc, time::Duration};

use lictor_api::contract::META_POD_UID;
use lictor_api::{
    NodeName,
    mesh::AUTHORIZATION,
    types::catalog::{NodeService, ServiceKind},
};
use lictor_core::{
    acl::{Access, Caller},
    state::{State, Topic, WatchSet},
};
use tonic::{Status, metadata::MetadataMap};

use crate::{
    agent::Agent,
    http::Peer,
    kubernetes::{Identity, KubernetesError, Pod},
};

/// How long a pod's call waits for its registration.
pub(super) const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(8);

/// The authenticated caller of a mesh service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Requester {
    /// A pod, by its reviewed token.
    Pod {
        /// The token's owner.
        identity: Identity,
        /// The pod it is bound to.
        pod: Pod,
    },
    /// A caller without a credential.
    Other(Caller),
}

/// Authenticates the caller.
///
/// # Errors
/// UNAUTHENTICATED without a valid token where one is needed; UNAVAILABLE while the token cannot be
/// reviewed.
pub(super) async fn identify(
    agent: &Agent,
    metadata: &MetadataMap,
    peer: Option<Peer>,
) -> Result<Requester, Status> {
    let local = peer.is_some_and(Peer::is_local);
    let without = || Requester::Other(if local { Caller::Local } else { Caller::Anonymous });
    let Some(kubernetes) = &agent.kubernetes else { return Ok(without()) };
    let token = metadata
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(token) = token else {
        if local {
            return Ok(without());
        }
        return Err(Status::unauthenticated("a Kubernetes token is required"));
    };
    match kubernetes.identify(token).await {
        Ok(identity) => match identity.pod.clone() {
            Some(pod) => Ok(Requester::Pod { identity, pod }),
            None => Err(Status::unauthenticated("the token is not bound to a pod")),
        },
        Err(KubernetesError::Refused(refusal)) => Err(Status::unauthenticated(refusal.to_string())),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "token not reviewed");
            Err(Status::unavailable("the token cannot be reviewed right now"))
        }
    }
}

/// Returns the service for which `requester` may hold a certificate; `requested` is the service
/// that it named.
///
/// # Errors
/// PERMISSION_DENIED, and UNAVAILABLE for a pod that is not registered yet.
pub(super) async fn service_of(
    agent: &Agent,
    requester: &Requester,
    requested: &str,
) -> Result<String, Status> {
    match requester {
        Requester::Other(caller) => {
            authorize(agent, caller, requested)?;
            Ok(requested.to_owned())
        }
        Requester::Pod { identity, pod } => {
            let found = agent.store.wait_for(|state: &State, topics: &mut WatchSet| {
                topics.add(Topic::Services);
                instance_of_pod(state, &pod.uid, requested)
            });
            match tokio::time::timeout(REGISTRATION_TIMEOUT, found).await {
                Ok(instance) => Ok(instance.service.to_string()),
                Err(_) => unregistered(identity, pod, requested),
            }
        }
    }
}

/// Returns the service of a pod that is not registered: the requested one, if it is named like the
/// pod's ServiceAccount.
///
/// # Errors
/// UNAVAILABLE otherwise.
pub(super) fn unregistered(
    identity: &Identity,
    pod: &Pod,
    requested: &str,
) -> Result<String, Status> {
    if requested == identity.service_account {
        return Ok(requested.to_owned());
    }
    Err(Status::unavailable(format!(
        "pod {}/{} is not registered yet",
        identity.namespace, pod.name
    )))
}

/// Checks that `caller` may act for `service`.
///
/// # Errors
/// PERMISSION_DENIED.
pub(super) fn authorize(agent: &Agent, caller: &Caller, service: &str) -> Result<(), Status> {
    agent
        .authorizer
        .authorize(caller, &Access::Leaf { service })
        .map_err(|denied| Status::permission_denied(denied.to_string()))
}

/// Returns the pod's proxy and its node.
pub(super) fn proxy_of_pod(state: &State, uid: &str) -> Option<(NodeName, Arc<NodeService>)> {
    state
        .catalog
        .instances()
        .find(|instance| is_of_pod(instance.service, uid) && is_proxy(instance.service))
        .map(|instance| (instance.node.name.clone(), instance.service.clone()))
}

/// Returns the pod's instance; of several, the one of the requested service, else the first.
fn instance_of_pod(state: &State, uid: &str, requested: &str) -> Option<Arc<NodeService>> {
    let of_pod = |service: &Arc<NodeService>| is_of_pod(service, uid) && !is_proxy(service);
    let mut instances =
        state.catalog.instances().map(|instance| instance.service).filter(|s| of_pod(s));
    let first = instances.next()?;
    let same = |service: &&Arc<NodeService>| *service.service == *requested;
    Some(std::iter::once(first).chain(instances).find(same).unwrap_or(first).clone())
}

fn is_of_pod(service: &NodeService, uid: &str) -> bool {
    service.meta.get(META_POD_UID).is_some_and(|of| of == uid)
}

fn is_proxy(service: &NodeService) -> bool {
    service.kind == ServiceKind::ConnectProxy
}
