//! Names that only the operator uses: annotations, labels, meta keys, and names inside a pod.
//!
//! Users, manifests and dashboards depend on them, so a name here never changes. Names that a
//! sidecar or a server uses, too, are in [`lictor_api::contract`]. Annotations and labels are given
//! without their prefix, which [`crate::annotations`] adds.

use lictor_api::contract::{
    META_K8S_CLUSTER, META_K8S_NAMESPACE, META_K8S_SERVICE_NAME, META_MANAGED_BY, META_POD_NAME,
    META_POD_UID, POD_ADMIN_PORT, POD_METRICS_PORT, POD_PROXY_PORT,
};

// === annotations of pods, written by users ===

/// Whether the pod gets a sidecar; a boolean as Go reads it.
pub const INJECT: &str = "connect-inject";
/// The Kubernetes Service whose name the pod takes, after `connect-service`.
pub const KUBERNETES_SERVICE: &str = "kubernetes-service";
/// The application's ports, numbers or names of container ports; the first is registered.
pub const SERVICE_PORT: &str = "connect-service-port";
/// The instance's tags.
pub const SERVICE_TAGS: &str = "service-tags";
/// Stem of annotations that become service meta: the rest of the name is the key.
pub const SERVICE_META: &str = "service-meta-";
/// Stem of the sidecar's resources: `sidecar-proxy-{cpu,memory}-{request,limit}`.
pub const SIDECAR_RESOURCE: &str = "sidecar-proxy-";
/// A tag or meta value that is replaced by the pod's name.
pub const POD_NAME_VARIABLE: &str = "$POD_NAME";

// === labels ===

/// Label of a Service that does not name pods.
pub const SERVICE_IGNORE: &str = "service-ignore";
/// Annotation and label that the webhook sets on injected pods to [`INJECTED`].
pub const INJECT_STATUS: &str = "connect-inject-status";
/// Value of [`INJECT_STATUS`].
pub const INJECTED: &str = "injected";
/// Label that the webhook sets on injected pods: the program that registers them.
pub const INJECT_MANAGED_BY: &str = "connect-inject-managed-by";
/// Kubernetes' label for the program that manages an object, with its prefix.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Kubernetes' label for the name of an application, with its prefix.
pub const APP_NAME_LABEL: &str = "app.kubernetes.io/name";

// === the pod that the webhook makes ===

/// Name of the sidecar's container.
pub const SIDECAR: &str = "lictor-sidecar";
/// Name of the volume with its token, roots, annotations and labels.
pub const VOLUME: &str = "lictor";
/// Ports that neither the application nor its upstreams may have: those of the sidecar, and two
/// (graceful shutdown, health) that Consul on Kubernetes reserves.
pub const RESERVED_PORTS: [u16; 5] =
    [POD_ADMIN_PORT, POD_PROXY_PORT, POD_METRICS_PORT, 20600, 21000];

// === catalog ===

/// Suffix of a virtual node's name, after the name of its Kubernetes node.
pub const VIRTUAL_NODE_SUFFIX: &str = "-virtual";
/// Service meta that only the operator sets; an annotation cannot.
pub const RESERVED_META: [&str; 6] = [
    META_POD_NAME,
    META_POD_UID,
    META_K8S_NAMESPACE,
    META_K8S_SERVICE_NAME,
    META_MANAGED_BY,
    META_K8S_CLUSTER,
];

// === config entries ===

/// Annotation of an object that adopts an entry created elsewhere: `true`.
pub const MIGRATE_ENTRY: &str = "migrate-entry";
/// Annotation of an object that is deleted without waiting for the servers: `true`.
pub const ABANDON: &str = "abandon";
/// Meta of an entry: the kind of system that created it, as Consul on Kubernetes sets it.
pub const META_EXTERNAL_SOURCE: &str = "external-source";
/// Value of [`META_EXTERNAL_SOURCE`].
pub const KUBERNETES: &str = "kubernetes";
/// Meta of an entry: the object it was created from, `namespace/name`.
pub const META_RESOURCE: &str = "k8s-resource";
/// Meta of an entry, under Consul's prefix: the servers' datacenter.
pub const META_SOURCE_DATACENTER: &str = "source-datacenter";
