//! Commands that change the catalog (Consul "Catalog HTTP API": register, deregister).

use lictor_api::{
    ServiceId,
    types::{
        catalog::{DeregisterRequest, Node, RegisterRequest},
        health::HealthCheck,
    },
};

use super::{Rejection, Response};
use crate::state::{State, watch::Change};

/// Upserts the node, then the instance, then the checks; refused as a whole before the first
/// change if any part cannot be carried out.
pub(super) fn register(
    state: &mut State,
    change: &mut Change<'_>,
    mut request: RegisterRequest,
) -> Response {
    let checks = checks(&mut request);
    if let Err(rejection) = validate(state, &request, &checks) {
        return Response::Rejected(rejection);
    }
    let name = request.node.clone();
    let known = state.catalog.node(&name).is_some();
    if !(request.skip_node_update && known) {
        let id = match state.catalog.node(&name) {
            Some(old) if request.id.is_empty() => old.id.clone(),
            _ => request.id,
        };
        let node = Node {
            id,
            name: name.clone(),
            address: request.address,
            datacenter: request.datacenter,
            tagged_addresses: request.tagged_addresses,
            meta: request.node_meta,
            locality: request.locality,
            ..Node::default()
        };
        state.catalog.upsert_node(change, node);
    }
    if let Some(mut service) = request.service {
        default_id(&mut service.id, &service.service);
        state.catalog.upsert_service(change, &name, service);
    }
    for check in checks {
        state.upsert_check(change, check);
    }
    Response::Done
}

/// Removes a check, an instance with its checks, or a node with everything on it.
pub(super) fn deregister(
    state: &mut State,
    change: &mut Change<'_>,
    request: &DeregisterRequest,
) -> Response {
    let node = &request.node;
    if !request.service_id.is_empty() {
        state.delete_service(change, node, &request.service_id);
    } else if !request.check_id.is_empty() {
        state.delete_check(change, node, &request.check_id);
    } else {
        state.delete_node(change, node);
        state.coordinates.remove(change, node);
    }
    Response::Done
}

/// Uses the service's name as the ID of an instance without one.
fn default_id(id: &mut ServiceId, service: &str) {
    if id.is_empty() {
        *id = ServiceId::from(service);
    }
}

/// Takes the request's checks out, with node and ID filled in as Consul does.
fn checks(request: &mut RegisterRequest) -> Vec<HealthCheck> {
    let mut checks = std::mem::take(&mut request.checks);
    checks.extend(request.check.take());
    for check in &mut checks {
        if check.check_id.is_empty() && !check.name.is_empty() {
            check.check_id = check.name.as_str().into();
        }
        if check.node.is_empty() {
            check.node = request.node.clone();
        }
    }
    checks
}

fn validate(
    state: &State,
    request: &RegisterRequest,
    checks: &[HealthCheck],
) -> Result<(), Rejection> {
    if request.node.is_empty() {
        return Err(Rejection::MissingNode);
    }
    // COMPAT: with SkipNodeUpdate a node may be made without an address; a later registration of
    // the node itself brings it.
    if request.address.is_empty() && !request.skip_node_update {
        return Err(Rejection::MissingAddress);
    }
    for check in checks {
        let own = check.node.eq_ignore_ascii_case(&request.node);
        if !own && state.catalog.node(&check.node).is_none() {
            return Err(Rejection::UnknownNode(check.node.to_string()));
        }
        let registered_along = own
            && request.service.as_ref().is_some_and(|service| {
                check.service_id == service.id
                    || (service.id.is_empty() && *check.service_id == *service.service)
            });
        if !check.service_id.is_empty()
            && !registered_along
            && state.catalog.service(&check.node, &check.service_id).is_none()
        {
            return Err(Rejection::UnknownService {
                node: check.node.to_string(),
                service: check.service_id.to_string(),
            });
        }
    }
    Ok(())
}
