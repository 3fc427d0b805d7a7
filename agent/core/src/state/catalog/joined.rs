//! What is derived from the catalog's rows: every instance joined with its node and the worst of
//! their checks, found by name, so that a reader of a service walks one map and computes nothing.
//!
//! INVARIANT: a function of nodes, instances and checks alone. It is kept current by
//! [`super::Catalog`]'s writers through [`Joined::put`], [`Joined::take`] and [`Joined::list`], is
//! in no snapshot, and is rebuilt from the rows when one is loaded.

use std::sync::Arc;

use imbl::OrdMap;
use lictor_api::{
    CheckId, NodeName, ServiceId, ServiceName,
    types::{
        catalog::{Node, NodeService},
        health::{CheckStatus, HealthCheck},
    },
};

use super::{InstanceKey, fold};

/// An instance with what a reader of its name wants to know beside it.
#[derive(Debug, Clone)]
pub(in crate::state) struct Row {
    pub(super) node: Arc<Node>,
    pub(super) service: Arc<NodeService>,
    pub(super) status: CheckStatus,
}

type Named = OrdMap<ServiceName, OrdMap<InstanceKey, Row>>;

/// The derived part of the catalog.
#[derive(Debug, Clone, Default)]
pub(in crate::state) struct Joined {
    by_service: Named,
    by_destination: Named,
    /// The checks of each instance, by ID; those of a node itself under an empty instance ID.
    checks: OrdMap<InstanceKey, Arc<[Arc<HealthCheck>]>>,
}

impl Joined {
    /// The instances of a service, by the folded name.
    pub(super) fn service(&self, name: &ServiceName) -> Option<&OrdMap<InstanceKey, Row>> {
        self.by_service.get(name)
    }

    /// The mesh endpoints of a service, by the folded name.
    pub(super) fn destination(&self, name: &ServiceName) -> Option<&OrdMap<InstanceKey, Row>> {
        self.by_destination.get(name)
    }

    /// One instance of each service, in the order of the names.
    pub(super) fn services(&self) -> impl Iterator<Item = &Row> {
        self.by_service.values().filter_map(|rows| rows.get_min().map(|(_, row)| row))
    }

    /// The checks of an instance without those of its node; of a node for an empty instance ID.
    pub(super) fn checks(&self, key: &InstanceKey) -> &[Arc<HealthCheck>] {
        self.checks.get(key).map_or(&[], |checks| &**checks)
    }

    /// The worst state among the checks of an instance and its node; passing without any.
    pub(super) fn status(&self, key: &InstanceKey) -> CheckStatus {
        let of_node = self.checks(&(key.0.clone(), ServiceId::default()));
        let all = of_node.iter().chain(self.checks(key));
        all.map(|check| check.status).max().unwrap_or(CheckStatus::Passing)
    }

    /// Adds or renews an instance whose name and destination are those it was last put with.
    pub(super) fn put(&mut self, key: &InstanceKey, node: &Arc<Node>, service: &Arc<NodeService>) {
        let status = self.status(key);
        let row = Row { node: node.clone(), service: service.clone(), status };
        if let Some(destination) = service.mesh_destination() {
            let name = fold(&ServiceName::from(destination));
            self.by_destination.entry(name).or_default().insert(key.clone(), row.clone());
        }
        self.by_service.entry(fold(&service.service)).or_default().insert(key.clone(), row);
    }

    /// Takes an instance out of the names it has; its checks are deleted one by one.
    pub(super) fn take(&mut self, key: &InstanceKey, service: &NodeService) {
        remove(&mut self.by_service, &fold(&service.service), key);
        if let Some(destination) = service.mesh_destination() {
            remove(&mut self.by_destination, &fold(&ServiceName::from(destination)), key);
        }
    }

    /// Puts a check on the list of its instance or node, or takes it off.
    pub(super) fn list(&mut self, key: InstanceKey, id: &CheckId, check: Option<Arc<HealthCheck>>) {
        let mut checks: Vec<_> =
            self.checks(&key).iter().filter(|other| other.check_id != *id).cloned().collect();
        checks.extend(check);
        checks.sort_by(|a, b| a.check_id.cmp(&b.check_id));
        if checks.is_empty() {
            self.checks.remove(&key);
        } else {
            self.checks.insert(key, checks.into());
        }
    }
}

/// Everything derived from these rows.
pub(super) fn joined(
    nodes: &OrdMap<NodeName, Arc<Node>>,
    services: &OrdMap<InstanceKey, Arc<NodeService>>,
    checks: &OrdMap<(NodeName, CheckId), Arc<HealthCheck>>,
) -> Joined {
    let mut joined = Joined::default();
    for ((node, id), check) in checks {
        joined.list((node.clone(), check.service_id.clone()), id, Some(check.clone()));
    }
    for (key, service) in services {
        if let Some(node) = nodes.get(&key.0) {
            joined.put(key, node, service);
        }
    }
    joined
}

fn remove(map: &mut Named, name: &ServiceName, key: &InstanceKey) {
    if let Some(rows) = map.get_mut(name) {
        rows.remove(key);
        if rows.is_empty() {
            map.remove(name);
        }
    }
}
