//! Who calls, and in which service's name a caller may speak.
//!
//! Where the servers run in Kubernetes, a caller is the pod that its token is bound to, and its
//! service is the one that the operator registered for that pod. Elsewhere it is whatever is asked
//! for, as far as the one gate lets it.

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

/// How long a pod's first call waits for its registration.
pub(super) const REGISTRATION_WAIT: Duration = Duration::from_secs(8);

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// A pod, by its reviewed token.
    Pod {
        /// The token's owner.
        identity: Identity,
        /// The pod it is bound to.
        pod: Pod,
    },
    /// Somebody without a credential.
    Other(Caller),
}

/// Establishes who calls.
///
/// # Errors
/// UNAUTHENTICATED without a valid token where one is needed; UNAVAILABLE while the token cannot be
/// reviewed.
pub(super) async fn who(
    agent: &Agent,
    metadata: &MetadataMap,
    peer: Option<Peer>,
) -> Result<Who, Status> {
    let local = peer.is_some_and(Peer::is_local);
    let without = || Who::Other(if local { Caller::Local } else { Caller::Anonymous });
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
            Some(pod) => Ok(Who::Pod { identity, pod }),
            None => Err(Status::unauthenticated("the token is not bound to a pod")),
        },
        Err(KubernetesError::Refused(refusal)) => Err(Status::unauthenticated(refusal.to_string())),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "token not reviewed");
            Err(Status::unavailable("the token cannot be reviewed right now"))
        }
    }
}

/// The service in whose name `who` may hold a certificate, given that it asks for `asked`.
///
/// # Errors
/// PERMISSION_DENIED, and UNAVAILABLE for a pod that is not registered yet.
pub(super) async fn service_of(agent: &Agent, who: &Who, asked: &str) -> Result<String, Status> {
    match who {
        Who::Other(caller) => {
            authorize(agent, caller, asked)?;
            Ok(asked.to_owned())
        }
        Who::Pod { identity, pod } => {
            let found = agent.store.wait_for(|state: &State, topics: &mut WatchSet| {
                topics.add(Topic::Services);
                instance_of_pod(state, &pod.uid, asked)
            });
            match tokio::time::timeout(REGISTRATION_WAIT, found).await {
                Ok(instance) => Ok(instance.service.to_string()),
                Err(_) => unregistered(identity, pod, asked),
            }
        }
    }
}

/// What holds for a pod that nobody has registered.
pub(super) fn unregistered(identity: &Identity, pod: &Pod, asked: &str) -> Result<String, Status> {
    if asked == identity.service_account {
        return Ok(asked.to_owned());
    }
    Err(Status::unavailable(format!(
        "pod {}/{} is not registered yet",
        identity.namespace, pod.name
    )))
}

/// Asks the gate whether `caller` may act in the name of `service`.
pub(super) fn authorize(agent: &Agent, caller: &Caller, service: &str) -> Result<(), Status> {
    agent
        .authorizer
        .authorize(caller, &Access::Leaf { service })
        .map_err(|denied| Status::permission_denied(denied.to_string()))
}

/// The pod's proxy and its node.
pub(super) fn proxy_of_pod(state: &State, uid: &str) -> Option<(NodeName, Arc<NodeService>)> {
    state
        .catalog
        .instances()
        .find(|instance| is_of_pod(instance.service, uid) && is_proxy(instance.service))
        .map(|instance| (instance.node.name.clone(), instance.service.clone()))
}

/// The pod's instance; of several, the one of the service asked for.
fn instance_of_pod(state: &State, uid: &str, asked: &str) -> Option<Arc<NodeService>> {
    let of_pod = |service: &Arc<NodeService>| is_of_pod(service, uid) && !is_proxy(service);
    let mut instances =
        state.catalog.instances().map(|instance| instance.service).filter(|s| of_pod(s));
    let first = instances.next()?;
    let same = |service: &&Arc<NodeService>| *service.service == *asked;
    Some(std::iter::once(first).chain(instances).find(same).unwrap_or(first).clone())
}

fn is_of_pod(service: &NodeService, uid: &str) -> bool {
    service.meta.get(META_POD_UID).is_some_and(|of| of == uid)
}

fn is_proxy(service: &NodeService) -> bool {
    service.kind == ServiceKind::ConnectProxy
}
