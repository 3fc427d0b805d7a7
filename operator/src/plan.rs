//! Desired catalog minus actual catalog = writes.
//!
//! Pure. Only what carries this cluster's name is ever in [`Actual::instances`], so nothing of
//! another cluster, an agent or consul-k8s can be removed. A removal names the pod's UID it saw;
//! whoever carries it out compares it again, because an ID is reused by the next pod of a
//! StatefulSet.

use std::collections::{BTreeMap, BTreeSet};

use lictor_api::{
    NodeName, ServiceId,
    types::{catalog::NodeService, health::HealthCheck},
};

/// Where an instance stands in the catalog.
pub type Key = (NodeName, ServiceId);
/// Instances by place.
pub type Instances = BTreeMap<Key, Instance>;

/// An instance of a pod, with its node and its one check.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Instance {
    /// The virtual node.
    pub node: NodeName,
    /// The node's address: that of the Kubernetes node.
    pub node_address: String,
    /// The node's meta.
    pub node_meta: BTreeMap<String, String>,
    /// The instance.
    pub service: NodeService,
    /// Its readiness check.
    pub check: HealthCheck,
}

/// What the catalog holds of this cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Actual {
    /// This cluster's instances.
    pub instances: Instances,
    /// Virtual nodes of this cluster on which nobody else has an instance.
    pub nodes: BTreeSet<NodeName>,
    /// Virtual nodes that are not this cluster's.
    pub foreign_nodes: BTreeSet<NodeName>,
}

/// One change of the catalog.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Create or replace an instance.
    Register(Box<Instance>),
    /// Remove an instance if it is still that pod's.
    Deregister {
        /// The node it is on.
        node: NodeName,
        /// Its ID.
        service_id: ServiceId,
        /// The pod it was registered for.
        pod_uid: String,
    },
    /// Remove a virtual node that holds nothing any more.
    RemoveNode(NodeName),
}

impl Instance {
    /// Its place.
    pub fn key(&self) -> Key {
        (self.node.clone(), self.service.id.clone())
    }

    /// UID of its pod, or empty.
    pub fn pod_uid(&self) -> &str {
        self.service.meta.get("pod-uid").map_or("", String::as_str)
    }

    /// Equal in everything the operator sets; the server fills in the rest.
    fn same(&self, other: &Self) -> bool {
        let (a, b) = (&self.service, &other.service);
        let (c, d) = (&self.check, &other.check);
        (&a.kind, &a.service, &a.tags, &a.meta) == (&b.kind, &b.service, &b.tags, &b.meta)
            && (&a.address, a.port, &a.proxy) == (&b.address, b.port, &b.proxy)
            && (&c.check_id, &c.output, c.status) == (&d.check_id, &d.output, d.status)
            && (&self.node_address, &self.node_meta) == (&other.node_address, &other.node_meta)
    }
}

/// The writes that lead from `actual` to `desired`: registrations first, so that a pod that moves
/// is never in neither place; empty nodes last.
pub fn plan(desired: &Instances, actual: &Actual) -> Vec<Write> {
    let changed = desired
        .iter()
        .filter(|(key, instance)| {
            actual.instances.get(*key).is_none_or(|known| !known.same(instance))
        })
        .map(|(_, instance)| Write::Register(Box::new(instance.clone())));
    let gone = actual.instances.iter().filter(|(key, _)| !desired.contains_key(*key));
    let gone = gone.map(|((node, service_id), instance)| Write::Deregister {
        node: node.clone(),
        service_id: service_id.clone(),
        pod_uid: instance.pod_uid().to_owned(),
    });
    let used: BTreeSet<_> = desired.keys().map(|(node, _)| node).collect();
    let empty = actual.nodes.iter().filter(|node| !used.contains(node));
    changed.chain(gone).chain(empty.cloned().map(Write::RemoveNode)).collect()
}

/// What the catalog holds once `write` succeeded.
pub fn apply(actual: &mut Actual, write: &Write) {
    match write {
        Write::Register(instance) => {
            actual.nodes.insert(instance.node.clone());
            actual.instances.insert(instance.key(), (**instance).clone());
        }
        Write::Deregister { node, service_id, .. } => {
            actual.instances.remove(&(node.clone(), service_id.clone()));
        }
        Write::RemoveNode(node) => {
            actual.nodes.remove(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use lictor_api::types::health::CheckStatus;
    use proptest::prelude::*;

    use super::*;

    fn instance(node: u8, id: u8, uid: u8, passing: bool) -> Instance {
        let mut instance = Instance { node: format!("n{node}").into(), ..Instance::default() };
        instance.service.id = format!("web-{id}").into();
        instance.service.meta.insert("pod-uid".into(), uid.to_string());
        instance.check.status = if passing { CheckStatus::Passing } else { CheckStatus::Critical };
        instance
    }

    fn instances() -> impl Strategy<Value = Instances> {
        let one = (0..3u8, 0..4u8, 0..3u8, any::<bool>());
        proptest::collection::vec(one, 0..10).prop_map(|list| {
            let all = list.into_iter().map(|(n, i, u, p)| instance(n, i, u, p));
            all.map(|instance| (instance.key(), instance)).collect()
        })
    }

    proptest! {
        #[test]
        fn the_plan_leads_to_the_desired_catalog_and_then_is_empty(
            desired in instances(), before in instances(),
        ) {
            let nodes = before.keys().map(|(node, _)| node.clone()).collect();
            let mut actual = Actual { instances: before, nodes, ..Actual::default() };
            for write in plan(&desired, &actual) {
                apply(&mut actual, &write);
            }
            prop_assert_eq!(&actual.instances, &desired);
            prop_assert_eq!(plan(&desired, &actual), vec![]);
        }
    }

    #[test]
    fn a_new_pod_under_an_old_id_replaces_it_without_a_removal() {
        let (old, new) = (instance(1, 1, 1, true), instance(1, 1, 2, false));
        let actual = Actual {
            instances: Instances::from([(old.key(), old)]),
            nodes: BTreeSet::from(["n1".into()]),
            ..Actual::default()
        };
        let desired = Instances::from([(new.key(), new.clone())]);
        assert_eq!(plan(&desired, &actual), [Write::Register(Box::new(new))]);
    }

    #[test]
    fn what_the_server_fills_in_is_no_difference() {
        let wanted = instance(1, 1, 1, true);
        let mut stored = wanted.clone();
        stored.service.modify_index = 9;
        stored.check.modify_index = 9;
        stored.check.service_tags = vec!["x".into()];
        assert!(wanted.same(&stored));
    }
}
