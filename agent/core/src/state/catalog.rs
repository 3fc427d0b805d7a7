//! The catalog: nodes, the service instances on them, and their checks.
//!
//! `read` answers from it, `write` changes it for the state machine, `joined` holds what is
//! derived.
//!
//! INVARIANT: keys hold folded names ([`Folded`]), rows the spelling of their registration. Every
//! change of a node, an instance or a check raises the index of each service whose instances show
//! it, and of the service that such an instance is a mesh endpoint for.

mod joined;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use super::folded::fold;

use std::sync::Arc;

use imbl::OrdMap;
use lictor_api::{
    CheckId, NodeName, ServiceId, ServiceName,
    types::{
        catalog::{Node, NodeService},
        health::{CheckServiceNode, CheckStatus, HealthCheck},
    },
};

use self::joined::Joined;
use super::folded::{Folded, FoldedStr};

type InstanceKey = (Folded<NodeName>, ServiceId);
type CheckKey = (Folded<NodeName>, CheckId);

/// Nodes, instances and checks.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub(super) nodes: OrdMap<Folded<NodeName>, Arc<Node>>,
    pub(super) services: OrdMap<InstanceKey, Arc<NodeService>>,
    pub(super) checks: OrdMap<CheckKey, Arc<HealthCheck>>,
    pub(super) joined: Joined,
    pub(super) indexes: Indexes,
}

/// The index at which each part of the catalog last changed.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Indexes {
    nodes: u64,
    services: u64,
    checks: u64,
    by_node: OrdMap<Folded<NodeName>, u64>,
    by_service: OrdMap<Folded<ServiceName>, u64>,
    by_destination: OrdMap<Folded<ServiceName>, u64>,
    /// The last time a node, service or destination disappeared: the index of what is unknown.
    extinction: u64,
}

/// A service instance joined with its node; borrowed, so that reading clones nothing.
#[derive(Debug, Clone, Copy)]
pub struct Instance<'a> {
    catalog: &'a Catalog,
    /// The node.
    pub node: &'a Arc<Node>,
    /// The instance.
    pub service: &'a Arc<NodeService>,
    /// The worst state among the checks of both; passing without any.
    pub status: CheckStatus,
}

// === impl Instance ===

impl<'a> Instance<'a> {
    /// Returns the node's own checks, then the instance's.
    pub fn checks(&self) -> impl Iterator<Item = &'a Arc<HealthCheck>> + use<'a> {
        let node = FoldedStr::of_written(&self.node.name);
        let of_node = self.catalog.joined.checks(node.with(""));
        let of_service = self.catalog.joined.checks(node.with(&self.service.id));
        of_node.iter().chain(of_service)
    }

    /// Returns the address that clients connect to: the instance's own, or its node's.
    pub fn address(&self) -> &'a str {
        if self.service.address.is_empty() { &self.node.address } else { &self.service.address }
    }

    /// Returns a row of the health endpoints.
    pub fn to_check_service_node(&self) -> CheckServiceNode {
        CheckServiceNode {
            node: (**self.node).clone(),
            service: (**self.service).clone(),
            checks: self.checks().map(|check| (**check).clone()).collect(),
        }
    }
}
