//! What is derived from the catalog's rows: every instance joined with its node and the worst of
//! their checks, found by name, so that a reader of a service walks one map and computes nothing.
//!
//! INVARIANT: a function of nodes, instances and checks alone. It is kept current by
//! [`super::Catalog`]'s writers through [`Joined::put`], [`Joined::take`] and [`Joined::list`], is
//! in no snapshot, and is rebuilt from the rows when one is loaded.

use std::sync::Arc;

use imbl::OrdMap;
use lictor_api::{
    CheckId, NodeName, ServiceName,
    types::{
        catalog::{Node, NodeService},
        health::{CheckStatus, HealthCheck},
    },
};

use super::{CheckKey, InstanceKey, fold};
use crate::state::folded::{Folded, FoldedPair, FoldedStr};

/// An instance with its node and status.
#[derive(Debug, Clone)]
pub(in crate::state) struct Row {
    pub(super) node: Arc<Node>,
    pub(super) service: Arc<NodeService>,
    pub(super) status: CheckStatus,
}

type Named = OrdMap<Folded<ServiceName>, OrdMap<InstanceKey, Row>>;

/// The derived part of the catalog.
#[derive(Debug, Clone, Default)]
pub(in crate::state) struct Joined {
    by_service: Named,
    by_destination: Named,
    /// The checks of each instance, by ID; those of a node itself under an empty instance ID.
    checks: OrdMap<InstanceKey, Arc<[Arc<HealthCheck>]>>,
}

impl Joined {
    /// Returns the instances of a service; `None` without any.
    pub(super) fn service(&self, name: &FoldedStr<'_>) -> Option<&OrdMap<InstanceKey, Row>> {
        self.by_service.get(name)
    }

    /// Returns the mesh endpoints of a service; `None` without any.
    pub(super) fn destination(&self, name: &FoldedStr<'_>) -> Option<&OrdMap<InstanceKey, Row>> {
        self.by_destination.get(name)
    }

    /// Returns one instance of each service, in the order of the names.
    pub(super) fn services(&self) -> impl Iterator<Item = &Row> {
        self.by_service.values().filter_map(|rows| rows.get_min().map(|(_, row)| row))
    }

    /// Returns the checks of an instance without those of its node, by ID; of a node for an empty
    /// instance ID.
    pub(super) fn checks(&self, key: FoldedPair<'_>) -> &[Arc<HealthCheck>] {
        self.checks.get(&key).map_or(&[], |checks| &**checks)
    }

    /// Returns the worst state among the checks of an instance and its node; passing without any.
    pub(super) fn status(&self, key: &InstanceKey) -> CheckStatus {
        let of_node = self.checks(key.0.with(""));
        let all = of_node.iter().chain(self.checks(FoldedPair::of(key)));
        all.map(|check| check.status).max().unwrap_or(CheckStatus::Passing)
    }

    /// Adds or renews an instance whose name and destination are those it was last put with.
    pub(super) fn put(&mut self, key: &InstanceKey, node: &Arc<Node>, service: &Arc<NodeService>) {
        let status = self.status(key);
        let row = Row { node: node.clone(), service: service.clone(), status };
        if let Some(destination) = service.mesh_destination() {
            let name = Folded::of_written(destination);
            self.by_destination.entry(name).or_default().insert(key.clone(), row.clone());
        }
        self.by_service.entry(fold(&service.service)).or_default().insert(key.clone(), row);
    }

    /// Removes an instance from the maps by name; its checks are removed by [`Joined::list`].
    pub(super) fn take(&mut self, key: &InstanceKey, service: &NodeService) {
        remove(&mut self.by_service, &FoldedStr::of_written(&service.service), key);
        if let Some(destination) = service.mesh_destination() {
            remove(&mut self.by_destination, &FoldedStr::of_written(destination), key);
        }
    }

    /// Adds or replaces a check of an instance or node; removes it for `None`.
    pub(super) fn list(&mut self, key: InstanceKey, id: &CheckId, check: Option<Arc<HealthCheck>>) {
        let mut checks: Vec<_> = self
            .checks(FoldedPair::of(&key))
            .iter()
            .filter(|other| other.check_id != *id)
            .cloned()
            .collect();
        checks.extend(check);
        checks.sort_by(|a, b| a.check_id.cmp(&b.check_id));
        if checks.is_empty() {
            self.checks.remove(&key);
        } else {
            self.checks.insert(key, checks.into());
        }
    }
}

/// Derives everything from the rows.
pub(super) fn joined(
    nodes: &OrdMap<Folded<NodeName>, Arc<Node>>,
    services: &OrdMap<InstanceKey, Arc<NodeService>>,
    checks: &OrdMap<CheckKey, Arc<HealthCheck>>,
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

fn remove(map: &mut Named, name: &FoldedStr<'_>, key: &InstanceKey) {
    if let Some(rows) = map.get_mut(name) {
        rows.remove(key);
        if rows.is_empty() {
            map.remove(name);
        }
    }
}
