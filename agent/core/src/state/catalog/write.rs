//! Changing the catalog, by the state machine alone.
//!
//! INVARIANT: every writer raises the indexes of what it changes, touches their topics and keeps
//! [`super::joined`] current. What can end a session is called through [`crate::state::State`]
//! (`session.rs`), which ends the sessions in the same step.

use std::sync::Arc;

use lictor_api::{
    CheckId, NodeName, ServiceId,
    types::{
        catalog::{Node, NodeService},
        health::HealthCheck,
    },
};

use super::{Catalog, CheckKey, InstanceKey, fold, joined};
use crate::state::{Folded, Topic, folded::FoldedPair, watch::Change};

impl Catalog {
    /// Inserts or changes a node. A registration equal to the last one changes nothing.
    pub(crate) fn upsert_node(&mut self, change: &mut Change<'_>, mut node: Node) {
        let key = fold(&node.name);
        let old = self.nodes.get(&key);
        node.create_index = old.map_or(change.index, |old| old.create_index);
        node.modify_index = old.map_or(change.index, |old| old.modify_index);
        if old.is_some_and(|old| **old == node) {
            return;
        }
        node.modify_index = change.index;
        self.nodes.insert(key.clone(), Arc::new(node));
        self.rejoin(&(key.clone(), ServiceId::default()));
        self.indexes.nodes = change.index;
        change.touch(Topic::Nodes);
        self.touch_node(change, &key);
        self.touch_instances_of(change, &key);
    }

    /// Inserts or changes an instance. Its node must exist.
    pub(crate) fn upsert_service(
        &mut self,
        change: &mut Change<'_>,
        node: &NodeName,
        mut service: NodeService,
    ) {
        let key = (fold(node), service.id.clone());
        let old = self.services.get(&key).cloned();
        service.create_index = old.as_ref().map_or(change.index, |old| old.create_index);
        service.modify_index = change.index;
        if let Some(old) = &old {
            if old.same_registration(&service) {
                return;
            }
            self.unindex(change, &key, old);
        }
        self.touch_service(change, &service);
        self.indexes.services = change.index;
        change.touch(Topic::Services);
        self.touch_node(change, &key.0);
        self.services.insert(key.clone(), Arc::new(service));
        self.rejoin(&key);
    }

    /// Inserts or changes a check. Its node and instance must exist.
    pub(in crate::state) fn upsert_check(
        &mut self,
        change: &mut Change<'_>,
        mut check: HealthCheck,
    ) {
        let key = (fold(&check.node), check.check_id.clone());
        if let Some(service) = self.services.get(&key.0.with(&check.service_id)) {
            check.service_name = service.service.clone();
            check.service_tags = service.tags.clone();
        }
        let old = self.checks.get(&key).cloned();
        check.create_index = old.as_ref().map_or(change.index, |old| old.create_index);
        check.modify_index = change.index;
        if old.as_ref().is_some_and(|old| old.same_check(&check)) {
            return;
        }
        if let Some(moved) = old.filter(|old| old.service_id != check.service_id) {
            self.touch_check(change, &key.0, &moved);
            self.relist(&key, moved.service_id.clone(), None);
        }
        self.touch_check(change, &key.0, &check);
        let check = Arc::new(check);
        self.checks.insert(key.clone(), check.clone());
        self.relist(&key, check.service_id.clone(), Some(check));
    }

    /// Removes a node with everything on it; returns false when there was none.
    pub(in crate::state) fn delete_node(
        &mut self,
        change: &mut Change<'_>,
        node: &Folded<NodeName>,
    ) -> bool {
        if !self.nodes.contains_key(node) {
            return false;
        }
        let services: Vec<ServiceId> =
            self.services_on(node.clone()).map(|service| service.id.clone()).collect();
        for id in &services {
            self.delete_service(change, node, id);
        }
        let checks: Vec<CheckId> =
            self.checks_on(node.clone()).map(|check| check.check_id.clone()).collect();
        for id in &checks {
            self.delete_check(change, node, id);
        }
        self.nodes.remove(node);
        self.indexes.nodes = change.index;
        self.indexes.by_node.remove(node);
        self.indexes.extinction = change.index;
        change.touch(Topic::Nodes);
        change.touch(Topic::Node(node.clone()));
        true
    }

    /// Removes an instance with its checks; returns the IDs of these, or `None` when there was no
    /// such instance.
    pub(in crate::state) fn delete_service(
        &mut self,
        change: &mut Change<'_>,
        node: &Folded<NodeName>,
        id: &ServiceId,
    ) -> Option<Vec<CheckId>> {
        let key = (node.clone(), id.clone());
        let service = self.services.get(&key).cloned()?;
        let checks = self.joined.checks(FoldedPair::of(&key)).iter();
        let checks: Vec<CheckId> = checks.map(|check| check.check_id.clone()).collect();
        for check in &checks {
            self.delete_check(change, node, check);
        }
        self.services.remove(&key);
        self.unindex(change, &key, &service);
        self.indexes.services = change.index;
        change.touch(Topic::Services);
        self.touch_node(change, node);
        Some(checks)
    }

    /// Removes a check; returns false when there was none.
    pub(in crate::state) fn delete_check(
        &mut self,
        change: &mut Change<'_>,
        node: &Folded<NodeName>,
        id: &CheckId,
    ) -> bool {
        let key = (node.clone(), id.clone());
        let Some(check) = self.checks.remove(&key) else { return false };
        self.touch_check(change, &key.0, &check);
        self.relist(&key, check.service_id.clone(), None);
        true
    }

    /// Rebuilds what is derived from the rows; called when a snapshot is loaded.
    pub(in crate::state) fn reindex(&mut self) {
        self.joined = joined::joined(&self.nodes, &self.services, &self.checks);
    }

    /// Replaces or removes a check in the list of its instance, or of its node for an empty ID.
    fn relist(&mut self, (node, id): &CheckKey, of: ServiceId, check: Option<Arc<HealthCheck>>) {
        let key = (node.clone(), of);
        self.joined.list(key.clone(), id, check);
        self.rejoin(&key);
    }

    /// Joins an instance again with its node and checks; all on the node for an empty ID.
    fn rejoin(&mut self, key: &InstanceKey) {
        let Some(node) = self.nodes.get(&key.0) else { return };
        let instances: Vec<_> = if key.1.is_empty() {
            self.services_on(key.0.clone()).cloned().collect()
        } else {
            self.services.get(key).cloned().into_iter().collect()
        };
        for service in &instances {
            self.joined.put(&(key.0.clone(), service.id.clone()), node, service);
        }
    }

    /// Removes an instance from the indexes by name.
    fn unindex(&mut self, change: &mut Change<'_>, key: &InstanceKey, service: &NodeService) {
        let name = fold(&service.service);
        self.joined.take(key, service);
        if self.joined.service(&name.as_folded()).is_some() {
            self.indexes.by_service.insert(name.clone(), change.index);
        } else {
            self.indexes.by_service.remove(&name);
            self.indexes.extinction = change.index;
        }
        change.touch(Topic::Service(name));
        let Some(destination) = service.mesh_destination().map(Folded::of_written) else { return };
        if self.joined.destination(&destination.as_folded()).is_some() {
            self.indexes.by_destination.insert(destination.clone(), change.index);
        } else {
            self.indexes.by_destination.remove(&destination);
            self.indexes.extinction = change.index;
        }
        change.touch(Topic::Connect(destination));
    }

    fn touch_node(&mut self, change: &mut Change<'_>, node: &Folded<NodeName>) {
        self.indexes.by_node.insert(node.clone(), change.index);
        change.touch(Topic::Node(node.clone()));
    }

    fn touch_service(&mut self, change: &mut Change<'_>, service: &NodeService) {
        let name = fold(&service.service);
        self.indexes.by_service.insert(name.clone(), change.index);
        change.touch(Topic::Service(name));
        if let Some(destination) = service.mesh_destination() {
            let destination = Folded::of_written(destination);
            self.indexes.by_destination.insert(destination.clone(), change.index);
            change.touch(Topic::Connect(destination));
        }
    }

    fn touch_instances_of(&mut self, change: &mut Change<'_>, node: &Folded<NodeName>) {
        let services: Vec<Arc<NodeService>> = self.services_on(node.clone()).cloned().collect();
        for service in services {
            self.touch_service(change, &service);
        }
    }

    /// Touches a check's instance, or every instance on its node for a check of the node.
    fn touch_check(
        &mut self,
        change: &mut Change<'_>,
        node: &Folded<NodeName>,
        check: &HealthCheck,
    ) {
        self.indexes.checks = change.index;
        change.touch(Topic::Checks);
        self.touch_node(change, node);
        if check.service_id.is_empty() {
            self.touch_instances_of(change, node);
        } else if let Some(service) = self.services.get(&node.with(&check.service_id)).cloned() {
            self.touch_service(change, &service);
        }
    }
}
