//! Operations of a transaction on nodes, instances and checks.

use std::sync::Arc;

use lictor_api::{
    NodeName,
    types::{
        catalog::{Node, NodeService},
        health::HealthCheck,
    },
};

use super::{CatalogVerb, TxnResult, may_write};
use crate::{
    fsm::Rejection,
    state::{State, watch::Change},
};

type Done = Result<Option<TxnResult>, String>;

pub(super) fn node(
    state: &mut State,
    change: &mut Change<'_>,
    verb: CatalogVerb,
    mut node: Node,
) -> Done {
    let name = node.name.clone();
    let current = state.catalog.node(&name).cloned();
    let modified = current.as_ref().map(|current| current.modify_index);
    match verb {
        CatalogVerb::Get => {
            let found = by_id(state, &node.id).or(current.filter(|_| node.id.is_empty()));
            let found = found.ok_or_else(|| format!("node {name:?} doesn't exist"))?;
            return Ok(Some(TxnResult::Node(Box::new((*found).clone()))));
        }
        CatalogVerb::Cas if !may_write(node.modify_index, modified) => {
            return Err(format!("failed to set node {name:?}, index is stale"));
        }
        CatalogVerb::Set | CatalogVerb::Cas => {
            if node.id.is_empty() {
                node.id = current.map(|current| current.id.clone()).unwrap_or_default();
            }
            state.catalog.upsert_node(change, node);
        }
        CatalogVerb::DeleteCas if modified != Some(node.modify_index) => {
            return Err(format!("failed to delete node {name:?}, index is stale"));
        }
        CatalogVerb::Delete | CatalogVerb::DeleteCas => {
            state.delete_node(change, &name);
        }
    }
    let written = state.catalog.node(&name);
    Ok(written.map(|node| TxnResult::Node(Box::new((**node).clone()))))
}

fn by_id(state: &State, id: &str) -> Option<Arc<Node>> {
    let found = state.catalog.nodes().find(|node| !id.is_empty() && node.id == id);
    found.cloned()
}

pub(super) fn service(
    state: &mut State,
    change: &mut Change<'_>,
    verb: CatalogVerb,
    node: &NodeName,
    service: NodeService,
) -> Done {
    let id = service.id.clone();
    let current = state.catalog.service(node, &id);
    let modified = current.map(|current| current.modify_index);
    match verb {
        CatalogVerb::Get => {
            let missing = || format!("service {id:?} on node {node:?} doesn't exist");
            let found = (**current.ok_or_else(missing)?).clone();
            return Ok(Some(TxnResult::Service(Box::new(found))));
        }
        CatalogVerb::Cas if !may_write(service.modify_index, modified) => {
            return Err(format!("failed to set service {id:?} on node {node:?}, index is stale"));
        }
        CatalogVerb::Set | CatalogVerb::Cas => {
            if state.catalog.node(node).is_none() {
                return Err(Rejection::MissingNodeRegistration.to_string());
            }
            state.catalog.upsert_service(change, node, service);
        }
        CatalogVerb::DeleteCas if modified != Some(service.modify_index) => {
            return Err(format!(
                "failed to delete service {id:?} on node {node:?}, index is stale"
            ));
        }
        CatalogVerb::Delete | CatalogVerb::DeleteCas => {
            state.delete_service(change, node, &id);
        }
    }
    let written = state.catalog.service(node, &id);
    Ok(written.map(|service| TxnResult::Service(Box::new((**service).clone()))))
}

pub(super) fn check(
    state: &mut State,
    change: &mut Change<'_>,
    verb: CatalogVerb,
    check: HealthCheck,
) -> Done {
    let (node, id) = (check.node.clone(), check.check_id.clone());
    let current = state.catalog.check(&node, &id);
    let modified = current.map(|current| current.modify_index);
    match verb {
        CatalogVerb::Get => {
            let missing = || format!("check {id:?} on node {node:?} doesn't exist");
            let found = (**current.ok_or_else(missing)?).clone();
            return Ok(Some(TxnResult::Check(Box::new(found))));
        }
        CatalogVerb::Cas if !may_write(check.modify_index, modified) => {
            return Err(format!("failed to set check {id:?} on node {node:?}, index is stale"));
        }
        CatalogVerb::Set | CatalogVerb::Cas => {
            if state.catalog.node(&node).is_none() {
                return Err(Rejection::MissingNodeRegistration.to_string());
            }
            let service = &check.service_id;
            if !service.is_empty() && state.catalog.service(&node, service).is_none() {
                return Err(Rejection::MissingServiceRegistration.to_string());
            }
            state.upsert_check(change, check);
        }
        CatalogVerb::DeleteCas if modified != Some(check.modify_index) => {
            return Err(format!("failed to delete check {id:?} on node {node:?}, index is stale"));
        }
        CatalogVerb::Delete | CatalogVerb::DeleteCas => {
            state.delete_check(change, &node, &id);
        }
    }
    let written = state.catalog.check(&node, &id);
    Ok(written.map(|check| TxnResult::Check(Box::new((**check).clone()))))
}
