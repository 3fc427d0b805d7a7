//! Computes the writes that lead from the actual catalog to the desired one.
//!
//! Pure. INVARIANT: only instances with this cluster's name ([`is_own`]) are in
//! [`Actual::instances`], so nothing of another cluster, an agent or consul-k8s can be removed. A
//! removal has the UID of its pod; the servers' client compares it again, because the next pod of a
//! StatefulSet reuses the ID.

use std::collections::{BTreeMap, BTreeSet};

use lictor_api::{
    NodeName, ServiceId,
    contract::{META_K8S_CLUSTER, META_MANAGED_BY, META_POD_UID, OPERATOR},
    types::{catalog::NodeService, health::HealthCheck},
};

/// Identifies an instance in the catalog.
pub type Key = (NodeName, ServiceId);
/// Instances by key.
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

/// The catalog's content of this cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Actual {
    /// This cluster's instances.
    pub instances: Instances,
    /// Virtual nodes of this cluster that hold only its own instances, or none.
    pub nodes: BTreeSet<NodeName>,
    /// Virtual nodes that are not this cluster's.
    pub foreign_nodes: BTreeSet<NodeName>,
}

/// The writes that lead from the actual catalog to the desired one, each kind to be executed after
/// the previous one. Callers destructure it, so that a kind added here does not compile until each
/// of them writes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Instances to create or replace: first, so that a pod that moves is always registered.
    pub register: Vec<Instance>,
    /// Instances to remove.
    pub deregister: Vec<Removal>,
    /// Virtual nodes to remove, which are empty by then.
    pub remove_nodes: Vec<NodeName>,
}

/// The removal of an instance if it is still that pod's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The node it is on.
    pub node: NodeName,
    /// Its ID.
    pub service_id: ServiceId,
    /// UID of the pod it was registered for, or empty.
    pub pod_uid: String,
}

/// Returns whether an instance in the catalog is this cluster's.
pub fn is_own(service: &NodeService, cluster: &str) -> bool {
    let meta = |key: &str| service.meta.get(key).map(String::as_str);
    meta(META_MANAGED_BY) == Some(OPERATOR) && meta(META_K8S_CLUSTER) == Some(cluster)
}

impl Instance {
    /// Returns its node and ID.
    pub fn key(&self) -> Key {
        (self.node.clone(), self.service.id.clone())
    }

    /// Returns the UID of its pod, or an empty string if its meta has none.
    pub fn pod_uid(&self) -> &str {
        self.service.meta.get(META_POD_UID).map_or("", String::as_str)
    }

    /// Compares the fields that the operator sets; the server sets the rest.
    fn same(&self, other: &Self) -> bool {
        let (a, b) = (&self.service, &other.service);
        let (c, d) = (&self.check, &other.check);
        (&a.kind, &a.service, &a.tags, &a.meta) == (&b.kind, &b.service, &b.tags, &b.meta)
            && (&a.address, a.port, &a.proxy) == (&b.address, b.port, &b.proxy)
            && (&c.check_id, &c.output, c.status) == (&d.check_id, &d.output, d.status)
            && (&self.node_address, &self.node_meta) == (&other.node_address, &other.node_meta)
    }
}

impl Actual {
    /// Records that `instance` was registered.
    pub fn register(&mut self, instance: &Instance) {
        self.nodes.insert(instance.node.clone());
        self.instances.insert(instance.key(), instance.clone());
    }

    /// Records that an instance was removed.
    pub fn deregister(&mut self, removal: &Removal) {
        self.instances.remove(&(removal.node.clone(), removal.service_id.clone()));
    }

    /// Records that a virtual node was removed.
    pub fn remove_node(&mut self, node: &NodeName) {
        self.nodes.remove(node);
    }
}

/// Returns the writes that lead from `actual` to `desired`.
pub fn plan(desired: &Instances, actual: &Actual) -> Plan {
    let changed = desired.iter().filter(|(key, instance)| {
        actual.instances.get(*key).is_none_or(|known| !known.same(instance))
    });
    let gone = actual.instances.iter().filter(|(key, _)| !desired.contains_key(*key));
    let gone = gone.map(|((node, service_id), instance)| Removal {
        node: node.clone(),
        service_id: service_id.clone(),
        pod_uid: instance.pod_uid().to_owned(),
    });
    let used: BTreeSet<_> = desired.keys().map(|(node, _)| node).collect();
    Plan {
        register: changed.map(|(_, instance)| instance.clone()).collect(),
        deregister: gone.collect(),
        remove_nodes: actual.nodes.iter().filter(|node| !used.contains(node)).cloned().collect(),
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
        instance.service.meta.insert(META_POD_UID.into(), uid.to_string());
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
            let Plan { register, deregister, remove_nodes } = plan(&desired, &actual);
            register.iter().for_each(|instance| actual.register(instance));
            deregister.iter().for_each(|removal| actual.deregister(removal));
            remove_nodes.iter().for_each(|node| actual.remove_node(node));
            prop_assert_eq!(&actual.instances, &desired);
            prop_assert_eq!(plan(&desired, &actual), Plan::default());
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
        assert_eq!(plan(&desired, &actual), Plan { register: vec![new], ..Plan::default() });
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
