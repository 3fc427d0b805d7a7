//! `PUT /v1/catalog/register` and `/deregister`.
//!
//! INVARIANT: whether a request touches what the operator owns is decided by what it writes and by
//! what it would replace or remove, so that leaving out the meta gains nothing.

use std::collections::BTreeMap;

use lictor_api::contract::{META_POD_UID, META_SYNTHETIC_NODE};
use lictor_api::{
    NodeName,
    types::{
        catalog::{DeregisterRequest, NodeService, RegisterRequest, ServiceKind},
        health::HealthCheckDefinition,
    },
};
use lictor_core::{acl::Access, fsm::Command, state::State};

use super::{Context, HttpError, Request, Response};

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
        validate_service(service)?;
    }
    for check in registration.checks.iter_mut().chain(&mut registration.check) {
        if check.check_type.is_empty() {
            check.check_type = check_type(&check.definition).to_owned();
        }
    }
    let state = cx.server()?.store().snapshot();
    registered(&state, &registration).iter().try_for_each(|access| cx.authorize(access))?;
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
    let state = cx.server()?.store().snapshot();
    removed(&state, &removal).iter().try_for_each(|access| cx.authorize(access))?;
    Response::json(&cx.propose(Command::Deregister(removal)).await?)
}

fn require_datacenter(asked: &str, own: &str) -> Result<(), HttpError> {
    if asked.is_empty() || asked == own { Ok(()) } else { Err(HttpError::NoDatacenter) }
}

/// What an instance must say about itself.
pub(in crate::http) fn validate_service(service: &NodeService) -> Result<(), HttpError> {
    if service.service.is_empty() {
        return Err(HttpError::MissingServiceOfId);
    }
    let is_proxy = service.kind == ServiceKind::ConnectProxy;
    if is_proxy && service.proxy.destination_service_name.is_empty() {
        return Err(HttpError::MissingProxyDestination);
    }
    Ok(())
}

/// The type of a check that does not say it, by how it is run.
pub(in crate::http) fn check_type(definition: &HealthCheckDefinition) -> &'static str {
    match definition {
        check if check.interval.is_zero() => "",
        check if !check.grpc.is_empty() => "grpc",
        check if !check.http.is_empty() => "http",
        check if !check.tcp.is_empty() => "tcp",
        check if !check.udp.is_empty() => "udp",
        check if !check.os_service.is_empty() => "os_service",
        _ => "",
    }
}

/// What a registration touches.
fn registered<'a>(state: &'a State, request: &'a RegisterRequest) -> Vec<Access<'a>> {
    let node = &request.node;
    let mut touched = vec![written_node(state, node, &request.node_meta)];
    if let Some(service) = &request.service {
        let id = if service.id.is_empty() { service.service.as_str() } else { &service.id };
        touched.push(written_service(state, node, id, service));
    }
    for check in request.checks.iter().chain(&request.check) {
        let node = if check.node.is_empty() { node } else { &check.node };
        touched.push(existing(state, node, &check.service_id));
        // COMPAT: a check without an ID is called by its name.
        let id = if check.check_id.is_empty() { check.name.as_str() } else { &check.check_id };
        let replaced = state.catalog.check(node, id);
        touched.extend(replaced.map(|check| existing(state, node, &check.service_id)));
    }
    touched
}

/// What a deregistration touches.
fn removed<'a>(state: &'a State, request: &'a DeregisterRequest) -> Vec<Access<'a>> {
    let node = &request.node;
    if !request.service_id.is_empty() {
        return vec![existing(state, node, &request.service_id)];
    }
    if !request.check_id.is_empty() {
        let check = state.catalog.check(node, &request.check_id);
        let service = check.map_or("", |check| &check.service_id);
        return vec![existing(state, node, service)];
    }
    removed_node(state, node)
}

/// What the removal of a node touches: it and everything on it.
pub(in crate::http) fn removed_node<'a>(state: &'a State, node: &'a NodeName) -> Vec<Access<'a>> {
    let services = state.catalog.node_services(node);
    services
        .map(|service| existing(state, node, &service.id))
        .chain([Access::Node { name: node, write: true, synthetic: is_synthetic(state, node) }])
        .collect()
}

/// A node that is to have this meta.
pub(in crate::http) fn written_node<'a>(
    state: &State,
    node: &'a NodeName,
    meta: &BTreeMap<String, String>,
) -> Access<'a> {
    let synthetic = meta.contains_key(META_SYNTHETIC_NODE) || is_synthetic(state, node);
    Access::Node { name: node, write: true, synthetic }
}

/// An instance that is to be like this.
pub(in crate::http) fn written_service<'a>(
    state: &State,
    node: &str,
    id: &str,
    service: &'a NodeService,
) -> Access<'a> {
    let of_pod = service.meta.contains_key(META_POD_UID) || is_of_pod(state, node, id);
    Access::Service { name: &service.service, write: true, of_pod }
}

/// The instance with this ID; the node when the ID is empty or unknown.
pub(in crate::http) fn existing<'a>(
    state: &'a State,
    node: &'a NodeName,
    service: &str,
) -> Access<'a> {
    match state.catalog.service(node, service) {
        Some(service) => Access::Service {
            name: &service.service,
            write: true,
            of_pod: service.meta.contains_key(META_POD_UID),
        },
        None => Access::Node { name: node, write: true, synthetic: is_synthetic(state, node) },
    }
}

fn is_synthetic(state: &State, node: &str) -> bool {
    state.catalog.node(node).is_some_and(|node| node.meta.contains_key(META_SYNTHETIC_NODE))
}

fn is_of_pod(state: &State, node: &str, service: &str) -> bool {
    let service = state.catalog.service(node, service);
    service.is_some_and(|service| service.meta.contains_key(META_POD_UID))
}

#[cfg(test)]
mod tests {
    use lictor_api::wire;

    use super::*;
    use lictor_core::{
        acl::{Authorizer, Caller},
        fsm,
        state::watch::Touched,
    };

    const POD: &str = r#"{"Node":"k1-virtual","Address":"10.0.0.1","NodeMeta":{"synthetic-node":"true"},
        "Service":{"ID":"web-1","Service":"web","Meta":{"pod-uid":"u"}},
        "Check":{"CheckID":"ns/web-1","ServiceID":"web-1","Status":"passing"}}"#;

    /// A catalog with a pod's instance, and a machine's.
    fn state() -> State {
        let mut state = State::default();
        let machine = r#"{"Node":"vm","Address":"10.0.0.2","Service":{"ID":"db","Service":"db"}}"#;
        let moved = r#"{"Node":"vm","Address":"10.0.0.2","Service":{"ID":"m","Service":"m","Meta":{"pod-uid":"u"}}}"#;
        for (index, body) in [POD, machine, moved].into_iter().enumerate() {
            let command = Command::Register(wire::from_slice(body.as_bytes()).unwrap());
            fsm::apply(&mut state, index as u64 + 1, command, &mut Touched::default());
        }
        state
    }

    fn allowed(touched: &[Access<'_>], caller: &Caller) -> bool {
        let authorizer = Authorizer::new(true);
        touched.iter().all(|access| authorizer.authorize(caller, access).is_ok())
    }

    #[test]
    fn what_the_operator_owns_is_registered_by_it_alone() {
        let state = state();
        for (body, anonymous) in [
            (POD, false),
            (r#"{"Node":"k1-virtual","Address":"6.6.6.6"}"#, false),
            (r#"{"Node":"K1-Virtual","SkipNodeUpdate":true}"#, false),
            (r#"{"Node":"vm","Address":"10.0.0.2","NodeMeta":{"synthetic-node":""}}"#, false),
            (r#"{"Node":"vm","Service":{"ID":"x","Service":"x","Meta":{"pod-uid":""}}}"#, false),
            (r#"{"Node":"vm","Service":{"ID":"m","Service":"other"}}"#, false),
            (r#"{"Node":"vm","Service":{"Service":"m"}}"#, false),
            (r#"{"Node":"vm","Check":{"CheckID":"new","ServiceID":"m"}}"#, false),
            (r#"{"Node":"vm","Check":{"Node":"k1-virtual","CheckID":"ns/web-1"}}"#, false),
            (r#"{"Node":"vm","Checks":[{"Node":"k1-virtual","Name":"ns/web-1"}]}"#, false),
            (r#"{"Node":"vm","Address":"10.0.0.3","Service":{"Service":"db"}}"#, true),
            (r#"{"Node":"new","Address":"10.0.0.4","Check":{"Name":"c"}}"#, true),
        ] {
            let request: RegisterRequest = wire::from_slice(body.as_bytes()).unwrap();
            let touched = registered(&state, &request);
            assert_eq!(allowed(&touched, &Caller::Anonymous), anonymous, "{body}");
            assert!(allowed(&touched, &Caller::Operator) && allowed(&touched, &Caller::Local));
        }
    }

    #[test]
    fn what_the_operator_owns_is_removed_by_it_alone() {
        let state = state();
        for (body, anonymous) in [
            (r#"{"Node":"k1-virtual"}"#, false),
            (r#"{"Node":"k1-virtual","ServiceID":"web-1"}"#, false),
            (r#"{"Node":"k1-virtual","CheckID":"ns/web-1"}"#, false),
            (r#"{"Node":"vm","ServiceID":"m"}"#, false),
            (r#"{"Node":"vm"}"#, false),
            (r#"{"Node":"vm","ServiceID":"db"}"#, true),
            (r#"{"Node":"unknown"}"#, true),
        ] {
            let request: DeregisterRequest = wire::from_slice(body.as_bytes()).unwrap();
            let touched = removed(&state, &request);
            assert_eq!(allowed(&touched, &Caller::Anonymous), anonymous, "{body}");
            assert!(allowed(&touched, &Caller::Operator));
        }
    }
}
