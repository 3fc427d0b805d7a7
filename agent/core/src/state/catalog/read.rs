//! Reading the catalog: rows by name, parts of it as a catalog of their own, indexes by topic.
//!
//! INVARIANT: methods that take a `&str` accept every spelling of a name. A lookup of one row or of
//! a service allocates nothing unless the name has upper-case letters.

use std::sync::Arc;

use imbl::OrdMap;
use lictor_api::{
    NodeName, ServiceName,
    types::{
        catalog::{Node, NodeService},
        health::HealthCheck,
    },
};

use super::{Catalog, Instance, InstanceKey, fold, joined::Row};
use crate::state::{Folded, Topic, folded::FoldedStr};

impl Catalog {
    /// Returns all nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// Returns one node.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(&FoldedStr::of_written(name))
    }

    /// Returns the instances on a node, by ID.
    pub fn node_services<'a>(
        &'a self,
        node: &str,
    ) -> impl Iterator<Item = &'a Arc<NodeService>> + use<'a> {
        self.services_on(Folded::of_written(node))
    }

    /// Returns one instance.
    pub fn service(&self, node: &str, id: &str) -> Option<&Arc<NodeService>> {
        self.services.get(&FoldedStr::of_written(node).with(id))
    }

    /// Returns the checks on a node, those of its instances included, by ID.
    pub fn node_checks<'a>(
        &'a self,
        node: &str,
    ) -> impl Iterator<Item = &'a Arc<HealthCheck>> + use<'a> {
        self.checks_on(Folded::of_written(node))
    }

    /// Returns one check.
    pub fn check(&self, node: &str, id: &str) -> Option<&Arc<HealthCheck>> {
        self.checks.get(&FoldedStr::of_written(node).with(id))
    }

    /// Returns all checks, by node and ID.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<HealthCheck>> {
        self.checks.values()
    }

    /// Returns all instances of all services, by node and ID.
    pub fn instances(&self) -> impl Iterator<Item = Instance<'_>> {
        self.services.iter().filter_map(|(key, service)| {
            let node = self.nodes.get(&key.0)?;
            Some(Instance { catalog: self, node, service, status: self.joined.status(key) })
        })
    }

    /// Returns the names of all services, as registered, in order.
    pub fn service_names(&self) -> impl Iterator<Item = &ServiceName> {
        self.joined.services().map(|row| &row.service.service)
    }

    /// Returns the instances of a service, by node and ID.
    pub fn service_instances<'a>(
        &'a self,
        service: &str,
    ) -> impl Iterator<Item = Instance<'a>> + use<'a> {
        self.rows(self.joined.service(&FoldedStr::of_written(service)))
    }

    /// Returns the mesh endpoints of a service: its proxies and connect-native instances.
    pub fn connect_instances<'a>(
        &'a self,
        service: &str,
    ) -> impl Iterator<Item = Instance<'a>> + use<'a> {
        self.rows(self.joined.destination(&FoldedStr::of_written(service)))
    }

    /// Returns the instances of a service with their nodes and checks as a catalog of their own.
    pub(in crate::state) fn part_of_service(&self, service: &Folded<ServiceName>) -> Self {
        self.part(self.rows(self.joined.service(&service.as_folded())))
    }

    /// Returns the mesh endpoints of a service with their nodes and checks as a catalog of their
    /// own.
    pub(in crate::state) fn part_of_destination(&self, service: &Folded<ServiceName>) -> Self {
        self.part(self.rows(self.joined.destination(&service.as_folded())))
    }

    fn part<'a>(&self, instances: impl Iterator<Item = Instance<'a>>) -> Self {
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

    /// Returns a node with its instances and checks as a catalog of its own.
    pub(in crate::state) fn part_of_node(&self, key: &Folded<NodeName>) -> Self {
        let mut part = Self { indexes: self.indexes.clone(), ..Self::default() };
        if let Some(node) = self.nodes.get(key) {
            part.nodes.insert(key.clone(), node.clone());
        }
        for service in self.services_on(key.clone()) {
            part.services.insert((key.clone(), service.id.clone()), service.clone());
        }
        for check in self.checks_on(key.clone()) {
            part.checks.insert((key.clone(), check.check_id.clone()), check.clone());
        }
        part.reindex();
        part
    }

    /// Returns the same rows with the addresses and ports that are tagged `wan`.
    pub(in crate::state) fn over_wan(mut self) -> Self {
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

    /// Returns the index of the last change to a topic of this table; 0 when it never changed.
    pub(in crate::state) fn topic_index(&self, topic: &Topic) -> u64 {
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

    /// Returns the instances on a node, by ID.
    pub(super) fn services_on(
        &self,
        node: Folded<NodeName>,
    ) -> impl Iterator<Item = &Arc<NodeService>> + use<'_> {
        self.services
            .range(node.with("")..)
            .take_while(move |((of, _), _)| *of == node)
            .map(|(_, service)| service)
    }

    /// Returns the checks on a node, by ID.
    pub(super) fn checks_on(
        &self,
        node: Folded<NodeName>,
    ) -> impl Iterator<Item = &Arc<HealthCheck>> + use<'_> {
        self.checks
            .range(node.with("")..)
            .take_while(move |((of, _), _)| *of == node)
            .map(|(_, check)| check)
    }
}
