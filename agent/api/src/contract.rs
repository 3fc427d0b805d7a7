//! What two members of the workspace must spell alike, each spelling once.
//!
//! A member that writes one of these and a member that reads it are different programs, often of
//! different versions during an upgrade, so a spelling here never changes. Names that Consul or
//! Consul on Kubernetes gave are kept as they are, because tools read them. Message formats stand
//! in [`crate::types`] and the `.proto` files, gRPC metadata keys in [`crate::mesh`]; what only
//! one member spells stays in that member.

// === catalog: what the leader keeps for members of the pool ===

/// CheckID of a member's liveness. Written by the leader, which reconciles the catalog with the
/// gossip pool. Read by anti-entropy (it is not the agent's own), by health queries, and by
/// sessions, which depend on it when they name no check.
pub const SERF_CHECK_ID: &str = "serfHealth";
/// Name of the check [`SERF_CHECK_ID`]. Written by the leader, read by UIs.
pub const SERF_CHECK_NAME: &str = "Serf Health Status";
/// Name and ID of the servers' own service. Written by the leader for each server, read by DNS
/// (its name servers are these instances) and by anti-entropy (it is not the agent's own).
pub const CONSUL_SERVICE: &str = "consul";
/// Gossip tag that states what an agent is; servers have [`ROLE_SERVER`], clients [`ROLE_CLIENT`].
pub const TAG_ROLE: &str = "role";
/// Value of [`TAG_ROLE`] of a server.
pub const ROLE_SERVER: &str = "consul";
/// Value of [`TAG_ROLE`] of a client agent.
pub const ROLE_CLIENT: &str = "node";

// === catalog: what the operator registers ===

/// Service meta: UID of the instance's pod. Written by the operator. Servers find the caller of
/// `Sign` and `Watch` by it, and let nobody but the operator write or remove an instance that has
/// it.
pub const META_POD_UID: &str = "pod-uid";
/// Service meta: name of the instance's pod. Written by the operator, read by tools.
pub const META_POD_NAME: &str = "pod-name";
/// Service meta: namespace of the instance's pod. Written by the operator; its next leader reads
/// from it which namespace owns a service name.
pub const META_K8S_NAMESPACE: &str = "k8s-namespace";
/// Service meta: the Kubernetes Service behind the instance. Written by the operator, read by
/// tools.
pub const META_K8S_SERVICE_NAME: &str = "k8s-service-name";
/// Meta of instances, virtual nodes and config entries: the Kubernetes cluster they come from.
/// Written and read by operators, of which each leaves the others' alone.
pub const META_K8S_CLUSTER: &str = "k8s-cluster";
/// Service meta: the program that registered the instance. Written and read by the operator.
pub const META_MANAGED_BY: &str = "managed-by";
/// The operator's name: value of [`META_MANAGED_BY`], and its field manager in Kubernetes.
pub const OPERATOR: &str = "lictor-operator";
/// Node meta: the node stands for a Kubernetes node and runs no agent. Written by the operator
/// with the value `true`; servers let nobody else write such a node.
pub const META_SYNTHETIC_NODE: &str = "synthetic-node";
/// Name of an instance's check. Written by the operator, read by UIs.
pub const K8S_CHECK_NAME: &str = "Kubernetes Readiness Check";
/// Type of an instance's check. Written by the operator, read by tools.
pub const K8S_CHECK_TYPE: &str = "kubernetes-readiness";
/// What a sidecar's ID and name have behind those of its service. Written by agents (for
/// `sidecar_service`) and by the operator; read by `lictor demo` and by users.
pub const SIDECAR_PROXY_SUFFIX: &str = "-sidecar-proxy";
/// `Type` of an intention's source. Written by the CLI, the operator and the state machine (where
/// it is left out); servers accept no other.
pub const SOURCE_TYPE_CONSUL: &str = "consul";

// === servers: how clients know and reach them ===

/// Datacenter of agents, `lictor tls` and operators that are configured with none.
pub const DEFAULT_DATACENTER: &str = "dc1";
/// DNS domain of agents, `lictor tls` and operators that are configured with none.
pub const DEFAULT_DOMAIN: &str = "consul";
/// Port on which servers offer gRPC over TLS. The agent's default; the operator puts it into the
/// sidecars' server address, and sidecars assume it for an `https` address without a port.
pub const GRPC_TLS_PORT: u16 = 8503;

/// Returns the name in the certificate of a datacenter's servers. Servers ask for it when they
/// make their certificate; agents, operators and (told by the webhook) sidecars expect it.
pub fn server_name(datacenter: &str, domain: &str) -> String {
    format!("server.{datacenter}.{domain}")
}

/// ConfigMap with the mesh roots. Servers write it in their namespace; the operator reads it,
/// copies it into other namespaces, and mounts it into sidecars.
pub const ROOTS_CONFIG_MAP: &str = "lictor-roots";
/// Key of the roots in [`ROOTS_CONFIG_MAP`], and the roots' file in [`POD_FILES`]. Written by
/// servers and by the webhook, read by the operator and by sidecars.
pub const ROOTS_KEY: &str = "roots.pem";
/// Audience of the projected tokens of sidecars and of the operator. Asked for by the webhook and
/// the chart, compared by servers.
pub const TOKEN_AUDIENCE: &str = "lictor";

// === pods: what the webhook gives a sidecar ===

/// Directory with a sidecar's files. Mounted by the webhook, read by the sidecar.
pub const POD_FILES: &str = "/var/run/lictor";
/// File in [`POD_FILES`] with the projected token. Mounted by the webhook, read by the sidecar.
pub const TOKEN_FILE: &str = "token";
/// File in [`POD_FILES`] with the pod's annotations. Mounted by the webhook, followed by the
/// sidecar.
pub const ANNOTATIONS_FILE: &str = "annotations";
/// Environment variable with the pod's UID. Set by the webhook; a sidecar that has it runs in a
/// pod and takes files and ports from here.
pub const ENV_POD_UID: &str = "POD_UID";
/// Environment variable with the servers' addresses. Set by the webhook, read by the sidecar.
pub const ENV_SERVERS: &str = "LICTOR_SERVERS";
/// Environment variable with [`server_name`]. Set by the webhook, read by the sidecar.
pub const ENV_SERVER_NAME: &str = "LICTOR_SERVER_NAME";
/// Port of a sidecar's public listener in a pod. The sidecar listens on it, the operator registers
/// it.
pub const POD_PROXY_PORT: u16 = 20000;
/// Port of a sidecar's Prometheus metrics in a pod. The sidecar listens on it, the webhook
/// declares it.
pub const POD_METRICS_PORT: u16 = 20200;
/// Port of a sidecar's readiness in a pod, on loopback only. The sidecar listens on it, the
/// webhook refuses pods that use it.
pub const POD_ADMIN_PORT: u16 = 19000;

// === annotations that both operator and sidecar read ===

/// lictor's own prefix of annotations and labels; it wins over [`CONSUL_PREFIX`]. Written by
/// users and by the webhook, read by the operator and by sidecars.
pub const LICTOR_PREFIX: &str = "lictor.dev/";
/// The prefix of Consul on Kubernetes, with the same meaning. Written by users and by the webhook,
/// read by the operator and by sidecars.
pub const CONSUL_PREFIX: &str = "consul.hashicorp.com/";
/// Annotation: name of the pod's service. Written by users; the operator registers it, the sidecar
/// asks for a certificate with it.
pub const ANNOTATION_SERVICE: &str = "connect-service";
/// Annotation: the pod's upstreams, in the grammar of [`crate::upstream`]. Written by users;
/// checked by the webhook, followed by the sidecar.
pub const ANNOTATION_UPSTREAMS: &str = "connect-service-upstreams";
