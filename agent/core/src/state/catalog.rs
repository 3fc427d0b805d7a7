//! The catalog: nodes, the service instances on them, and their checks.
//!
//! Names are looked up without regard to case (DNS is case-insensitive), so keys are the lower-case
//! forms and rows keep the spelling of their registration. Whatever can change an instance's
//! answer (its node, itself, its checks, its node's checks) raises the index of its service, and
//! of the service it is a mesh endpoint for.

mod joined;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use imbl::OrdMap;
use lictor_api::{
    CheckId, NodeName, ServiceId, ServiceName,
    types::{
        catalog::{Node, NodeService},
        health::{CheckServiceNode, CheckStatus, HealthCheck},
    },
};

use self::joined::{Joined, Row};
use super::{Topic, watch::Touched};

/// The lower-case form of a name: the key under which it is found.
pub fn fold<N: From<String> + AsRef<str> + Clone>(name: &N) -> N {
    let text = name.as_ref();
    if text.bytes().any(|c| c.is_ascii_uppercase()) {
        N::from(text.to_ascii_lowercase())
    } else {
        name.clone()
    }
}

type InstanceKey = (NodeName, ServiceId);

/// Nodes, instances and checks.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub(super) nodes: OrdMap<NodeName, Arc<Node>>,
    pub(super) services: OrdMap<InstanceKey, Arc<NodeService>>,
    pub(super) checks: OrdMap<(NodeName, CheckId), Arc<HealthCheck>>,
    pub(super) joined: Joined,
    pub(super) indexes: Indexes,
}

/// When each part of the catalog last changed.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Indexes {
    nodes: u64,
    services: u64,
    checks: u64,
    by_node: OrdMap<NodeName, u64>,
    by_service: OrdMap<ServiceName, u64>,
    by_destination: OrdMap<ServiceName, u64>,
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

impl<'a> Instance<'a> {
    /// The node's own checks, then the instance's.
    pub fn checks(&self) -> impl Iterator<Item = &'a Arc<HealthCheck>> + use<'a> {
        let node = fold(&self.node.name);
        let of_node = self.catalog.joined.checks(&(node.clone(), ServiceId::default()));
        let of_service = self.catalog.joined.checks(&(node, self.service.id.clone()));
        of_node.iter().chain(of_service)
    }

    /// The address clients connect to: the instance's own, or its node's.
    pub fn address(&self) -> &'a str {
        if self.service.address.is_empty() { &self.node.address } else { &self.service.address }
    }

    /// A row of the health endpoints.
    pub fn to_check_service_node(&self) -> CheckServiceNode {
        CheckServiceNode {
            node: (**self.node).clone(),
            service: (**self.service).clone(),
            checks: self.checks().map(|check| (**check).clone()).collect(),
        }
    }
}

// === impl Catalog: reading ===

impl Catalog {
    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// One node, whatever the name's case.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(&fold(&NodeName::from(name)))
    }

    /// The instances on a node, by ID.
    pub fn node_services<'a>(
        &'a self,
        node: &str,
    ) -> impl Iterator<Item = &'a Arc<NodeService>> + use<'a> {
        let key = fold(&NodeName::from(node));
        self.services
            .range((key.clone(), ServiceId::default())..)
            .take_while(move |((of, _), _)| *of == key)
            .map(|(_, service)| service)
    }

    /// One instance.
    pub fn service(&self, node: &str, id: &str) -> Option<&Arc<NodeService>> {
        self.services.get(&(fold(&NodeName::from(node)), ServiceId::from(id)))
    }

    /// The checks on a node, those of its instances included, by ID.
    pub fn node_checks<'a>(
        &'a self,
        node: &str,
    ) -> impl Iterator<Item = &'a Arc<HealthCheck>> + use<'a> {
        self.node_checks_by_key(fold(&NodeName::from(node)))
    }

    /// One check.
    pub fn check(&self, node: &str, id: &str) -> Option<&Arc<HealthCheck>> {
        self.checks.get(&(fold(&NodeName::from(node)), CheckId::from(id)))
    }

    /// All checks.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<HealthCheck>> {
        self.checks.values()
    }

    /// All instances of all services, by node and ID.
    pub fn instances(&self) -> impl Iterator<Item = Instance<'_>> {
        self.services.iter().filter_map(|(key, service)| {
            let node = self.nodes.get(&key.0)?;
            Some(Instance { catalog: self, node, service, status: self.joined.status(key) })
        })
    }

    /// The names of all services, as registered, in order.
    pub fn service_names(&self) -> impl Iterator<Item = &ServiceName> {
        self.joined.services().map(|row| &row.service.service)
    }

    /// The instances of a service, whatever the name's case.
    pub fn service_instances<'a>(
        &'a self,
        service: &str,
    ) -> impl Iterator<Item = Instance<'a>> + use<'a> {
        self.rows(self.joined.service(&fold(&ServiceName::from(service))))
    }

    /// The mesh endpoints of a service: its proxies and connect-native instances.
    pub fn connect_instances<'a>(
        &'a self,
        service: &str,
    ) -> impl Iterator<Item = Instance<'a>> + use<'a> {
        self.rows(self.joined.destination(&fold(&ServiceName::from(service))))
    }

    /// These instances with their nodes and checks as a catalog of their own.
    pub(super) fn part<'a>(&self, instances: impl Iterator<Item = Instance<'a>>) -> Self {
        let mut part = Self { indexes: self.indexes.clone(), ..Self::default() };
        for instance in instances {
            let node = fold(&instance.node.name);
            for check in instance.checks() {
                part.checks.insert((node.clone(), check.check_id.clone()), check.clone());
            }
            part.services
                .insert((node.clone(), instance.service.id.clone()), instance.service.clone());
            part.nodes.insert(node, instance.node.clone());
        }
        part.reindex();
        part
    }

    /// A node with its instances and checks as a catalog of its own.
    pub(super) fn part_of_node(&self, node: &NodeName) -> Self {
        let key = fold(node);
        let mut part = Self { indexes: self.indexes.clone(), ..Self::default() };
        if let Some(node) = self.nodes.get(&key) {
            part.nodes.insert(key.clone(), node.clone());
        }
        for service in self.node_services(node) {
            part.services.insert((key.clone(), service.id.clone()), service.clone());
        }
        for check in self.node_checks(node) {
            part.checks.insert((key.clone(), check.check_id.clone()), check.clone());
        }
        part.reindex();
        part
    }

    /// The same rows with the addresses and ports that are tagged `wan`.
    pub(super) fn over_wan(mut self) -> Self {
        let node = |node: &Arc<Node>| match node.tagged_addresses.get("wan") {
            Some(wan) => Arc::new(Node { address: wan.clone(), ..Node::clone(node) }),
            None => node.clone(),
        };
        let service = |service: &Arc<NodeService>| match service.tagged_addresses.get("wan") {
            Some(wan) => {
                let port = if wan.port == 0 { service.port } else { wan.port };
                let address = wan.address.clone();
                Arc::new(NodeService { address, port, ..NodeService::clone(service) })
            }
            None => service.clone(),
        };
        self.nodes = self.nodes.iter().map(|(key, row)| (key.clone(), node(row))).collect();
        self.services =
            self.services.iter().map(|(key, row)| (key.clone(), service(row))).collect();
        self.reindex();
        self
    }

    /// The last change to what a topic of this table names; 0 when never.
    pub(super) fn topic_index(&self, topic: &Topic) -> u64 {
        let indexes = &self.indexes;
        match topic {
            Topic::Nodes => indexes.nodes,
            Topic::Services => indexes.services,
            Topic::Checks => indexes.checks,
            Topic::Node(name) => indexes.by_node.get(name).copied().unwrap_or(indexes.extinction),
            Topic::Service(name) => {
                indexes.by_service.get(name).copied().unwrap_or(indexes.extinction)
            }
            Topic::Connect(name) => {
                indexes.by_destination.get(name).copied().unwrap_or(indexes.extinction)
            }
            _ => 0,
        }
    }

    fn rows<'a>(
        &'a self,
        rows: Option<&'a OrdMap<InstanceKey, Row>>,
    ) -> impl Iterator<Item = Instance<'a>> + use<'a> {
        rows.into_iter().flat_map(OrdMap::values).map(|Row { node, service, status }| Instance {
            catalog: self,
            node,
            service,
            status: *status,
        })
    }

    fn node_checks_by_key(
        &self,
        key: NodeName,
    ) -> impl Iterator<Item = &Arc<HealthCheck>> + use<'_> {
        self.checks
            .range((key.clone(), CheckId::default())..)
            .take_while(move |((of, _), _)| *of == key)
            .map(|(_, check)| check)
    }
}

// === impl Catalog: changing (by the FSM alone) ===
//
// What can end a session is changed through `State` (`session.rs`).

impl Catalog {
    /// Inserts or changes a node. A registration that says nothing new changes nothing.
    pub(crate) fn upsert_node(&mut self, index: u64, mut node: Node, touched: &mut Touched) {
        let key = fold(&node.name);
        let old = self.nodes.get(&key);
        node.create_index = old.map_or(index, |old| old.create_index);
        node.modify_index = old.map_or(index, |old| old.modify_index);
        if old.is_some_and(|old| **old == node) {
            return;
        }
        node.modify_index = index;
        self.nodes.insert(key.clone(), Arc::new(node));
        self.rejoin(&(key.clone(), ServiceId::default()));
        self.indexes.nodes = index;
        touched.touch(Topic::Nodes);
        self.touch_node(index, &key, touched);
        self.touch_instances_of(index, &key, touched);
    }

    /// Inserts or changes an instance. Its node must exist.
    pub(crate) fn upsert_service(
        &mut self,
        index: u64,
        node: &NodeName,
        mut service: NodeService,
        touched: &mut Touched,
    ) {
        let key = (fold(node), service.id.clone());
        let old = self.services.get(&key).cloned();
        service.create_index = old.as_ref().map_or(index, |old| old.create_index);
        service.modify_index = index;
        if let Some(old) = &old {
            if old.same_registration(&service) {
                return;
            }
            self.unindex(index, &key, old, touched);
        }
        self.touch_service(index, &service, touched);
        self.indexes.services = index;
        touched.touch(Topic::Services);
        self.touch_node(index, &key.0, touched);
        self.services.insert(key.clone(), Arc::new(service));
        self.rejoin(&key);
    }

    /// Inserts or changes a check. Its node and instance must exist.
    pub(super) fn upsert_check(
        &mut self,
        index: u64,
        mut check: HealthCheck,
        touched: &mut Touched,
    ) {
        let key = (fold(&check.node), check.check_id.clone());
        if let Some(service) = self.services.get(&(key.0.clone(), check.service_id.clone())) {
            check.service_name = service.service.clone();
            check.service_tags = service.tags.clone();
        }
        let old = self.checks.get(&key).cloned();
        check.create_index = old.as_ref().map_or(index, |old| old.create_index);
        check.modify_index = index;
        if old.as_ref().is_some_and(|old| old.same_check(&check)) {
            return;
        }
        if let Some(moved) = old.filter(|old| old.service_id != check.service_id) {
            self.touch_check(index, &key.0, &moved, touched);
            self.relist(&key, moved.service_id.clone(), None);
        }
        self.touch_check(index, &key.0, &check, touched);
        let check = Arc::new(check);
        self.checks.insert(key.clone(), check.clone());
        self.relist(&key, check.service_id.clone(), Some(check));
    }

    /// Removes a node with everything on it; false when there was none.
    pub(super) fn delete_node(
        &mut self,
        index: u64,
        node: &NodeName,
        touched: &mut Touched,
    ) -> bool {
        let key = fold(node);
        if !self.nodes.contains_key(&key) {
            return false;
        }
        let services: Vec<ServiceId> =
            self.node_services(&key).map(|service| service.id.clone()).collect();
        for id in services {
            self.delete_service(index, &key, &id, touched);
        }
        let checks: Vec<CheckId> =
            self.node_checks(&key).map(|check| check.check_id.clone()).collect();
        for id in checks {
            self.delete_check(index, &key, &id, touched);
        }
        self.nodes.remove(&key);
        self.indexes.nodes = index;
        self.indexes.by_node.remove(&key);
        self.indexes.extinction = index;
        touched.touch(Topic::Nodes);
        touched.touch(Topic::Node(key));
        true
    }

    /// Removes an instance with its checks; false when there was none.
    pub(super) fn delete_service(
        &mut self,
        index: u64,
        node: &NodeName,
        id: &ServiceId,
        touched: &mut Touched,
    ) -> bool {
        let key = (fold(node), id.clone());
        let Some(service) = self.services.get(&key).cloned() else { return false };
        let checks: Vec<CheckId> = self
            .node_checks(&key.0)
            .filter(|check| check.service_id == *id)
            .map(|check| check.check_id.clone())
            .collect();
        for check in checks {
            self.delete_check(index, &key.0, &check, touched);
        }
        self.services.remove(&key);
        self.unindex(index, &key, &service, touched);
        self.indexes.services = index;
        touched.touch(Topic::Services);
        self.touch_node(index, &key.0, touched);
        true
    }

    /// Removes a check; false when there was none.
    pub(super) fn delete_check(
        &mut self,
        index: u64,
        node: &NodeName,
        id: &CheckId,
        touched: &mut Touched,
    ) -> bool {
        let key = (fold(node), id.clone());
        let Some(check) = self.checks.remove(&key) else { return false };
        self.touch_check(index, &key.0, &check, touched);
        self.relist(&key, check.service_id.clone(), None);
        true
    }

    /// Rebuilds what is derived from the rows; used when a snapshot is loaded.
    pub(super) fn reindex(&mut self) {
        self.joined = joined::joined(&self.nodes, &self.services, &self.checks);
    }

    /// A check of an instance, or of the node for an empty ID, is another or gone.
    fn relist(
        &mut self,
        (node, id): &(NodeName, CheckId),
        of: ServiceId,
        check: Option<Arc<HealthCheck>>,
    ) {
        let key = (node.clone(), of);
        self.joined.list(key.clone(), id, check);
        self.rejoin(&key);
    }

    /// An instance, or all on the node for an empty ID, may be joined with something else now.
    fn rejoin(&mut self, key: &InstanceKey) {
        let Some(node) = self.nodes.get(&key.0) else { return };
        let instances: Vec<_> = if key.1.is_empty() {
            self.node_services(&key.0).cloned().collect()
        } else {
            self.services.get(key).cloned().into_iter().collect()
        };
        for service in &instances {
            self.joined.put(&(key.0.clone(), service.id.clone()), node, service);
        }
    }

    /// Takes an instance out of the name indexes.
    fn unindex(
        &mut self,
        index: u64,
        key: &InstanceKey,
        service: &NodeService,
        touched: &mut Touched,
    ) {
        let name = fold(&service.service);
        self.joined.take(key, service);
        if self.joined.service(&name).is_some() {
            self.indexes.by_service.insert(name.clone(), index);
        } else {
            self.indexes.by_service.remove(&name);
            self.indexes.extinction = index;
        }
        touched.touch(Topic::Service(name));
        let Some(destination) =
            service.mesh_destination().map(|name| fold(&ServiceName::from(name)))
        else {
            return;
        };
        if self.joined.destination(&destination).is_some() {
            self.indexes.by_destination.insert(destination.clone(), index);
        } else {
            self.indexes.by_destination.remove(&destination);
            self.indexes.extinction = index;
        }
        touched.touch(Topic::Connect(destination));
    }

    fn touch_node(&mut self, index: u64, node: &NodeName, touched: &mut Touched) {
        self.indexes.by_node.insert(node.clone(), index);
        touched.touch(Topic::Node(node.clone()));
    }

    fn touch_service(&mut self, index: u64, service: &NodeService, touched: &mut Touched) {
        let name = fold(&service.service);
        self.indexes.by_service.insert(name.clone(), index);
        touched.touch(Topic::Service(name));
        if let Some(destination) = service.mesh_destination() {
            let destination = fold(&ServiceName::from(destination));
            self.indexes.by_destination.insert(destination.clone(), index);
            touched.touch(Topic::Connect(destination));
        }
    }

    fn touch_instances_of(&mut self, index: u64, node: &NodeName, touched: &mut Touched) {
        let services: Vec<Arc<NodeService>> = self.node_services(node).cloned().collect();
        for service in services {
            self.touch_service(index, &service, touched);
        }
    }

    /// A check changes the answer of its instance, or of every instance on its node.
    fn touch_check(
        &mut self,
        index: u64,
        node: &NodeName,
        check: &HealthCheck,
        touched: &mut Touched,
    ) {
        self.indexes.checks = index;
        touched.touch(Topic::Checks);
        self.touch_node(index, node, touched);
        if check.service_id.is_empty() {
            self.touch_instances_of(index, node, touched);
        } else if let Some(service) =
            self.services.get(&(node.clone(), check.service_id.clone())).cloned()
        {
            self.touch_service(index, &service, touched);
        }
    }
}
