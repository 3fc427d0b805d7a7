//! Computes the desired state of the catalog from injected pods.
//!
//! Pure. IDs, meta keys, node names and check fields are those of Consul on Kubernetes, so that
//! tools for it work; `managed-by` and `k8s-cluster` are lictor's. One pod is one instance and its
//! proxy, each with one readiness check. Pods without an address and finished pods are not
//! registered.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use lictor_api::{
    NodeName,
    contract::{
        K8S_CHECK_NAME, K8S_CHECK_TYPE, META_K8S_CLUSTER, META_K8S_NAMESPACE,
        META_K8S_SERVICE_NAME, META_MANAGED_BY, META_POD_NAME, META_POD_UID, META_SYNTHETIC_NODE,
        OPERATOR, POD_PROXY_PORT, SIDECAR_PROXY_SUFFIX,
    },
    types::{
        catalog::{ConnectProxyConfig, NodeService, ServiceKind},
        health::{CheckStatus, HealthCheck},
    },
};

use crate::{
    annotations,
    claims::{self, Name, Owners},
    contract::{POD_NAME_VARIABLE, SERVICE_META, SERVICE_TAGS, VIRTUAL_NODE_SUFFIX},
    injection::validate::validate,
    plan::{Actual, Instance, Instances},
    pod,
};

/// A message to the pod's owner, published as an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Reason of the Event.
    pub reason: &'static str,
    /// Text of the Event.
    pub note: String,
}

/// The whole desired state.
#[derive(Debug, Default)]
pub struct Desired {
    /// What the catalog should hold.
    pub instances: Instances,
    /// Events to publish.
    pub notices: Vec<(Arc<Pod>, Notice)>,
}

/// Computes what the catalog should hold for these pods. `owners` are the namespaces that already
/// own a name; `actual` lists the virtual nodes of other clusters.
pub fn desired(
    mut pods: Vec<Arc<Pod>>,
    services: &[Arc<Service>],
    actual: &Actual,
    mut owners: Owners,
    cluster: &str,
) -> Desired {
    // First come, first served; ties must be decided the same way at every run.
    pods.sort_by_key(|pod| {
        let created = pod.creation_timestamp().map(|time| time.0);
        (created, pod.namespace(), pod.name_any())
    });
    let mut desired = Desired::default();
    for pod in pods {
        let Some(place) = Place::of(&pod, actual, cluster) else { continue };
        let selecting = claims::selecting(&pod, services.iter().map(AsRef::as_ref));
        let name = claims::name(&pod, &selecting);
        // Admission refuses invalid values; this one is from a later edit, and the sidecar still
        // uses the last valid one.
        if let Err(refusal) = validate(&pod, true) {
            desired.notice(&pod, "InvalidAnnotation", refusal.to_string());
        }
        if name.ambiguous.len() > 1 {
            desired.notice(&pod, "AmbiguousService", ambiguity(&name));
        }
        if let Err(refusal) = claims::claim(&pod, &name, &selecting, &owners) {
            desired.notice(&pod, "ServiceNameTaken", refusal.to_string());
            continue;
        }
        let [instance, proxy] = place.instances(&pod, &name, cluster);
        if let Some(other) = desired.instances.get(&instance.key()) {
            let other = &other.service.meta[META_K8S_NAMESPACE];
            let note = format!("instance {} belongs to namespace {other:?}", instance.service.id);
            desired.notice(&pod, "ServiceNameTaken", note);
            continue;
        }
        owners.entry(name.service).or_default().insert(pod.namespace().unwrap_or_default());
        desired.instances.extend([instance, proxy].map(|instance| (instance.key(), instance)));
    }
    desired
}

impl Desired {
    fn notice(&mut self, pod: &Arc<Pod>, reason: &'static str, note: String) {
        self.notices.push((Arc::clone(pod), Notice { reason, note }));
    }
}

fn ambiguity(name: &Name) -> String {
    let services = name.ambiguous.join(", ");
    format!("several Services select this pod ({services}); it is registered as {}", name.service)
}

/// A pod that is on a node and has an address.
struct Place {
    node: NodeName,
    node_address: String,
    address: String,
    status: CheckStatus,
}

impl Place {
    fn of(pod: &Pod, actual: &Actual, cluster: &str) -> Option<Self> {
        let status = pod.status.as_ref()?;
        if pod::is_finished(pod) {
            return None;
        }
        let address = status.pod_ip.clone().filter(|address| !address.is_empty())?;
        let kubernetes_node = pod.spec.as_ref()?.node_name.as_deref()?;
        let mut node = NodeName::from(format!("{kubernetes_node}{VIRTUAL_NODE_SUFFIX}"));
        if actual.foreign_nodes.contains(&node) {
            node = NodeName::from(format!("{kubernetes_node}-{cluster}{VIRTUAL_NODE_SUFFIX}"));
        }
        let node_address = status.host_ip.clone().unwrap_or_else(|| address.clone());
        let status = if pod::is_ready(pod) { CheckStatus::Passing } else { CheckStatus::Critical };
        Some(Self { node, node_address, address, status })
    }

    /// Returns the instance and its proxy.
    fn instances(&self, pod: &Pod, name: &Name, cluster: &str) -> [Instance; 2] {
        let pod_name = pod.name_any();
        let annotation = |name| annotations::get(pod.annotations(), name);
        let service = NodeService {
            id: format!("{pod_name}-{}", name.service).into(),
            service: name.service.as_str().into(),
            tags: annotations::parse_tags(annotation(SERVICE_TAGS).unwrap_or(""), &pod_name),
            address: self.address.clone(),
            port: pod::service_port(pod),
            meta: meta(pod, name, cluster),
            ..NodeService::default()
        };
        let proxy = NodeService {
            kind: ServiceKind::ConnectProxy,
            id: format!("{}{SIDECAR_PROXY_SUFFIX}", service.id).into(),
            service: format!("{}{SIDECAR_PROXY_SUFFIX}", service.service).into(),
            port: POD_PROXY_PORT,
            proxy: ConnectProxyConfig {
                destination_service_name: service.service.to_string(),
                destination_service_id: service.id.to_string(),
                local_service_address: "127.0.0.1".to_owned(),
                local_service_port: service.port,
                ..ConnectProxyConfig::default()
            },
            ..service.clone()
        };
        [service, proxy].map(|service| self.instance(pod, service, cluster))
    }

    fn instance(&self, pod: &Pod, service: NodeService, cluster: &str) -> Instance {
        let namespace = pod.namespace().unwrap_or_default();
        let output = match self.status {
            CheckStatus::Passing => "Kubernetes health checks passing".to_owned(),
            _ => format!("Pod \"{namespace}/{}\" is not ready", pod.name_any()),
        };
        let check = HealthCheck {
            node: self.node.clone(),
            check_id: format!("{namespace}/{}", service.id).into(),
            name: K8S_CHECK_NAME.to_owned(),
            status: self.status,
            output,
            service_id: service.id.clone(),
            service_name: service.service.clone(),
            service_tags: service.tags.clone(),
            check_type: K8S_CHECK_TYPE.to_owned(),
            ..HealthCheck::default()
        };
        let node_meta = [(META_SYNTHETIC_NODE, "true"), (META_K8S_CLUSTER, cluster)];
        Instance {
            node: self.node.clone(),
            node_address: self.node_address.clone(),
            node_meta: node_meta.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            service,
            check,
        }
    }
}

fn meta(pod: &Pod, name: &Name, cluster: &str) -> BTreeMap<String, String> {
    let pod_name = pod.name_any();
    let given = annotations::starting_with(pod.annotations(), SERVICE_META);
    let given = given.into_iter().map(|(key, value)| {
        let value = if value == POD_NAME_VARIABLE { &pod_name } else { value };
        (key.to_owned(), value.to_owned())
    });
    let kubernetes_service = name.kubernetes_service.as_ref().unwrap_or(&name.service);
    let own = [
        (META_POD_NAME, pod_name.clone()),
        (META_POD_UID, pod.uid().unwrap_or_default()),
        (META_K8S_NAMESPACE, pod.namespace().unwrap_or_default()),
        (META_K8S_SERVICE_NAME, kubernetes_service.clone()),
        (META_MANAGED_BY, OPERATOR.to_owned()),
        (META_K8S_CLUSTER, cluster.to_owned()),
    ];
    // Chained last: the operator's keys replace ones that an annotation might forge.
    given.chain(own.map(|(key, value)| (key.to_owned(), value))).collect()
}

#[cfg(test)]
mod tests;
