//! `PUT /v1/catalog/register` and `/deregister`.
//!
//! INVARIANT: whether a request touches what the operator owns is decided by what it writes and by
//! what it would replace or remove, so that leaving out the meta gains nothing.

use lictor_api::{
    NodeName, ServiceId, ServiceName,
    types::catalog::{DeregisterRequest, NodeService, RegisterRequest, ServiceKind},
};

use super::{Context, HttpError, Request, Response};
use crate::{acl::Access, fsm::Command, state::State};

/// Service meta of an instance that stands for a Kubernetes pod.
const POD_UID: &str = "pod-uid";
/// Node meta of a node that the operator made.
const SYNTHETIC_NODE: &str = "synthetic-node";

/// Upserts a node, an instance and checks, all or nothing.
pub(in crate::http) async fn register(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let mut registration: RegisterRequest = request.decode()?;
    let datacenter = cx.agent.config.load().datacenter.clone();
    require_datacenter(&registration.datacenter, &datacenter)?;
    registration.datacenter = datacenter;
    if let Some(service) = &registration.service {
        validate(service)?;
    }
    authorize_registration(&cx, &registration)?;
    Response::json(&cx.propose(Command::Register(Box::new(registration))).await?)
}

/// Removes an instance, a check, or a node with everything on it.
pub(in crate::http) async fn deregister(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let removal: DeregisterRequest = request.decode()?;
    require_datacenter(&removal.datacenter, &cx.agent.config.load().datacenter)?;
    if removal.node.is_empty() {
        return Err(HttpError::MissingNode);
    }
    authorize_removal(&cx, &removal)?;
    Response::json(&cx.propose(Command::Deregister(removal)).await?)
}

fn require_datacenter(asked: &str, own: &str) -> Result<(), HttpError> {
    if asked.is_empty() || asked == own { Ok(()) } else { Err(HttpError::NoDatacenter) }
}

fn validate(service: &NodeService) -> Result<(), HttpError> {
    if service.service.is_empty() {
        return Err(HttpError::MissingServiceOfId);
    }
    let is_proxy = service.kind == ServiceKind::ConnectProxy;
    if is_proxy && service.proxy.destination_service_name.is_empty() {
        return Err(HttpError::MissingProxyDestination);
    }
    Ok(())
}

fn authorize_registration(cx: &Context, request: &RegisterRequest) -> Result<(), HttpError> {
    let state = cx.agent.server.store().snapshot();
    let node = &request.node;
    let synthetic = request.node_meta.contains_key(SYNTHETIC_NODE) || is_synthetic(&state, node);
    cx.authorize(&Access::Node { name: node, write: true, synthetic })?;
    if let Some(service) = &request.service {
        let id = if service.id.is_empty() {
            ServiceId::from(service.service.as_str())
        } else {
            service.id.clone()
        };
        let of_pod = service.meta.contains_key(POD_UID) || is_of_pod(&state, node, &id);
        cx.authorize(&Access::Service { name: &service.service, write: true, of_pod })?;
    }
    for check in request.checks.iter().chain(&request.check) {
        let node = if check.node.is_empty() { node } else { &check.node };
        authorize_check(cx, &state, node, &check.service_id)?;
        if let Some(old) = state.catalog.check(node, &check.check_id) {
            authorize_check(cx, &state, node, &old.service_id)?;
        }
    }
    Ok(())
}

fn authorize_removal(cx: &Context, request: &DeregisterRequest) -> Result<(), HttpError> {
    let state = cx.agent.server.store().snapshot();
    let node = &request.node;
    if !request.service_id.is_empty() {
        return authorize_check(cx, &state, node, &request.service_id);
    }
    if !request.check_id.is_empty() {
        let check = state.catalog.check(node, &request.check_id);
        let service = check.map(|check| check.service_id.clone()).unwrap_or_default();
        return authorize_check(cx, &state, node, &service);
    }
    let synthetic = is_synthetic(&state, node)
        || state.catalog.node_services(node).any(|service| service.meta.contains_key(POD_UID));
    cx.authorize(&Access::Node { name: node, write: true, synthetic })
}

/// May the caller write an instance that exists, or a check of it or of the node?
fn authorize_check(
    cx: &Context,
    state: &State,
    node: &NodeName,
    service: &ServiceId,
) -> Result<(), HttpError> {
    if service.is_empty() {
        let synthetic = is_synthetic(state, node);
        return cx.authorize(&Access::Node { name: node, write: true, synthetic });
    }
    let registered = state.catalog.service(node, service);
    let name =
        registered.map_or_else(|| ServiceName::from(service.as_str()), |s| s.service.clone());
    let of_pod = is_of_pod(state, node, service);
    cx.authorize(&Access::Service { name: &name, write: true, of_pod })
}

fn is_synthetic(state: &State, node: &str) -> bool {
    state.catalog.node(node).is_some_and(|node| node.meta.contains_key(SYNTHETIC_NODE))
}

fn is_of_pod(state: &State, node: &str, service: &str) -> bool {
    let service = state.catalog.service(node, service);
    service.is_some_and(|service| service.meta.contains_key(POD_UID))
}
