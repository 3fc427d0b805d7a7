//! Injected pods to catalog instances: the desired state of the catalog.
//!
//! Pure. IDs, meta keys, node names and check fields are those of Consul on Kubernetes, so that
//! tools keep working; `managed-by` and `k8s-cluster` are lictor's. One pod is one instance and its
//! proxy, each with one readiness check. Pods without an address are not registered yet, finished
//! ones no more.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use lictor_api::{
    NodeName,
    types::{
        catalog::{ConnectProxyConfig, NodeService, ServiceKind},
        health::{CheckStatus, HealthCheck},
    },
};

use crate::{
    annotations,
    claims::{self, Name, Owners},
    plan::{Actual, Instance, Instances},
    webhook::validate::{containers, resolve_port, validate},
};

/// Value of the meta key `managed-by`, and of the label `connect-inject-managed-by`.
pub const MANAGER: &str = "lictor-operator";
/// Meta keys that only the operator sets.
pub const RESERVED_META: [&str; 6] =
    ["pod-name", "pod-uid", "k8s-namespace", "k8s-service-name", "managed-by", "k8s-cluster"];
/// Public port of the sidecar in a pod.
const PROXY_PORT: u16 = 20000;

/// Something that whoever owns the pod should know.
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
    /// Events to raise.
    pub notices: Vec<(Arc<Pod>, Notice)>,
}

/// Computes what the catalog should hold for these pods. `owners` is who has a name already;
/// `actual` says which virtual nodes are somebody else's.
pub fn desired(
    mut pods: Vec<Arc<Pod>>,
    services: &[Arc<Service>],
    actual: &Actual,
    mut owners: Owners,
    cluster: &str,
) -> Desired {
    // First come, first served; ties must fall the same way at every run.
    pods.sort_by_key(|pod| {
        let created = pod.creation_timestamp().map(|time| time.0);
        (created, pod.namespace(), pod.name_any())
    });
    let mut desired = Desired::default();
    for pod in pods {
        let Some(place) = Place::of(&pod, actual, cluster) else { continue };
        let selecting = claims::selecting(&pod, services.iter().map(AsRef::as_ref));
        let name = claims::name(&pod, &selecting);
        // Admission refuses bad values; this one came with a later edit, and the sidecar goes on
        // with the last good one.
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
            let other = &other.service.meta["k8s-namespace"];
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
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let address = status.pod_ip.clone().filter(|address| !address.is_empty())?;
        let kubernetes_node = pod.spec.as_ref()?.node_name.as_deref()?;
        let mut node = NodeName::from(format!("{kubernetes_node}-virtual"));
        if actual.foreign_nodes.contains(&node) {
            node = NodeName::from(format!("{kubernetes_node}-{cluster}-virtual"));
        }
        let node_address = status.host_ip.clone().unwrap_or_else(|| address.clone());
        let status = if is_ready(pod) { CheckStatus::Passing } else { CheckStatus::Critical };
        Some(Self { node, node_address, address, status })
    }

    /// The instance and its proxy.
    fn instances(&self, pod: &Pod, name: &Name, cluster: &str) -> [Instance; 2] {
        let pod_name = pod.name_any();
        let annotation = |name| annotations::get(pod.annotations(), name);
        let service = NodeService {
            id: format!("{pod_name}-{}", name.service).into(),
            service: name.service.as_str().into(),
            tags: annotations::parse_tags(annotation("service-tags").unwrap_or(""), &pod_name),
            address: self.address.clone(),
            port: service_port(pod),
            meta: meta(pod, name, cluster),
            ..NodeService::default()
        };
        let proxy = NodeService {
            kind: ServiceKind::ConnectProxy,
            id: format!("{}-sidecar-proxy", service.id).into(),
            service: format!("{}-sidecar-proxy", service.service).into(),
            port: PROXY_PORT,
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
            name: "Kubernetes Readiness Check".to_owned(),
            status: self.status,
            output,
            service_id: service.id.clone(),
            service_name: service.service.clone(),
            service_tags: service.tags.clone(),
            check_type: "kubernetes-readiness".to_owned(),
            ..HealthCheck::default()
        };
        let node_meta = [("synthetic-node", "true"), ("k8s-cluster", cluster)];
        Instance {
            node: self.node.clone(),
            node_address: self.node_address.clone(),
            node_meta: node_meta.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            service,
            check,
        }
    }
}

/// A terminating pod is not ready, whatever its condition says: peers stop sending at once.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// The first annotated port, else the first port of the first container, else 0.
fn service_port(pod: &Pod) -> u16 {
    if let Some(ports) = annotations::get(pod.annotations(), "connect-service-port") {
        let first = ports.split(',').next().unwrap_or_default().trim();
        return resolve_port(pod, first).unwrap_or_default();
    }
    let mut first = containers(pod).take(1).flat_map(|container| container.ports.iter().flatten());
    let port = first.next().and_then(|port| u16::try_from(port.container_port).ok());
    port.unwrap_or_default()
}

fn meta(pod: &Pod, name: &Name, cluster: &str) -> BTreeMap<String, String> {
    let pod_name = pod.name_any();
    let given = annotations::starting_with(pod.annotations(), "service-meta-");
    let given = given.into_iter().map(|(key, value)| {
        let value = if value == "$POD_NAME" { &pod_name } else { value };
        (key.to_owned(), value.to_owned())
    });
    let kubernetes_service = name.kubernetes_service.as_ref().unwrap_or(&name.service);
    let own = [
        ("pod-name", pod_name.clone()),
        ("pod-uid", pod.uid().unwrap_or_default()),
        ("k8s-namespace", pod.namespace().unwrap_or_default()),
        ("k8s-service-name", kubernetes_service.clone()),
        ("managed-by", MANAGER.to_owned()),
        ("k8s-cluster", cluster.to_owned()),
    ];
    // Chained last: the operator's keys replace what an annotation might forge.
    given.chain(own.map(|(key, value)| (key.to_owned(), value))).collect()
}

/// Whether an instance in the catalog is this cluster's.
pub fn is_own(service: &NodeService, cluster: &str) -> bool {
    let meta = |key: &str| service.meta.get(key).map(String::as_str);
    meta("managed-by") == Some(MANAGER) && meta("k8s-cluster") == Some(cluster)
}

#[cfg(test)]
mod tests;
