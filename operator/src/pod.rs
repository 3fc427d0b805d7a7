//! Reads the fields of a Pod that the operator uses.
//!
//! Pure. Admission and registration call the same functions, so that what the webhook checked is
//! what the leader registers.

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;

use crate::{
    annotations,
    contract::{SERVICE_PORT, SIDECAR},
};

/// Kubernetes' label on the pods of a ReplicaSet: the suffix of its name after its Deployment's.
const TEMPLATE_HASH_LABEL: &str = "pod-template-hash";

/// Returns the application's own containers, without the sidecar of an earlier injection.
pub fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| &spec.containers).filter(|container| container.name != SIDECAR)
}

fn init_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten())
}

/// Returns whether the pod has a sidecar already.
pub fn is_injected(pod: &Pod) -> bool {
    init_containers(pod).any(|container| container.name == SIDECAR)
}

/// Returns every port of the application, with its container's name.
pub fn ports(pod: &Pod) -> impl Iterator<Item = (&str, u16)> {
    let own = init_containers(pod).filter(|container| container.name != SIDECAR);
    containers(pod).chain(own).flat_map(|container| {
        let ports = container.ports.iter().flatten();
        ports.filter_map(|port| {
            Some((container.name.as_str(), u16::try_from(port.container_port).ok()?))
        })
    })
}

/// Returns the number of a port given by number or by the name of a container port; `None` if it
/// is neither.
pub fn resolve_port(pod: &Pod, port: &str) -> Option<u16> {
    if let Ok(number) = port.parse::<u16>() {
        return (number > 0).then_some(number);
    }
    let mut ports = containers(pod).flat_map(|container| container.ports.iter().flatten());
    let named = ports.find(|candidate| candidate.name.as_deref() == Some(port))?;
    u16::try_from(named.container_port).ok()
}

/// Returns the port to register: the first annotated one, else the first port of the first
/// container, else 0.
pub fn service_port(pod: &Pod) -> u16 {
    if let Some(ports) = annotations::get(pod.annotations(), SERVICE_PORT) {
        let first = ports.split(',').next().unwrap_or_default().trim();
        return resolve_port(pod, first).unwrap_or_default();
    }
    let mut first = containers(pod).take(1).flat_map(|container| container.ports.iter().flatten());
    let port = first.next().and_then(|port| u16::try_from(port.container_port).ok());
    port.unwrap_or_default()
}

/// Returns the pod's ServiceAccount.
pub fn service_account(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default")
}

/// Returns the name of the pod's controller; for a ReplicaSet, that of its Deployment.
pub fn workload(pod: &Pod) -> Option<&str> {
    let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true))?;
    let hash = pod.labels().get(TEMPLATE_HASH_LABEL).filter(|_| owner.kind == "ReplicaSet");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
    Some(deployment.unwrap_or(&owner.name))
}

/// Returns whether the pod has ended and will not run again.
pub fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Returns whether the pod may receive traffic. A terminating pod may not, whatever its condition:
/// peers stop sending at once.
pub fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready =
        conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}
