//! Nodes and service instances (Consul "Catalog HTTP API").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{health::HealthCheck, is_default};
use crate::{NodeName, ServiceId, ServiceName};

/// A machine or virtual node of the catalog.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// UUID of the agent, or empty for a node without one.
    #[serde(rename = "ID")]
    pub id: String,
    /// The node's name.
    #[serde(rename = "Node")]
    pub name: NodeName,
    /// IP address or host name.
    pub address: String,
    /// The datacenter it belongs to.
    pub datacenter: String,
    /// Addresses by tag: `lan`, `lan_ipv4`, `wan`, `wan_ipv4`.
    pub tagged_addresses: BTreeMap<String, String>,
    /// Free key/value pairs: at most 64, keys of 128 and values of 512 bytes.
    pub meta: BTreeMap<String, String>,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// Raft index of the first registration.
    pub create_index: u64,
    /// Raft index of the last change.
    pub modify_index: u64,
}

/// Where a node or an instance runs; kept as given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Locality {
    /// The region the zone belongs to.
    pub region: String,
    /// The zone.
    pub zone: String,
}

/// What an instance is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKind {
    /// An ordinary service (the empty string on the wire).
    #[default]
    #[serde(rename = "")]
    Typical,
    /// A sidecar or other mesh proxy.
    ConnectProxy,
    /// Connects datacenters and peers.
    MeshGateway,
    /// Lets the mesh reach outside services.
    TerminatingGateway,
    /// Lets the outside reach the mesh.
    IngressGateway,
    /// Gateway API style ingress.
    ApiGateway,
}

/// Load-balancing weights, by aggregated health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Weights {
    /// Weight of a passing instance; 1 to 65535.
    pub passing: u32,
    /// Weight of an instance with a warning; 0 to 65535.
    pub warning: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// An address with a port, for `TaggedAddresses` of services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceAddress {
    /// IP address or host name.
    pub address: String,
    /// TCP port.
    pub port: u16,
}

/// A service instance on a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeService {
    /// What it is; left out for ordinary services.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: ServiceKind,
    /// Unique on the node.
    #[serde(rename = "ID")]
    pub id: ServiceId,
    /// The service's name.
    pub service: ServiceName,
    /// Tags, in the order given.
    pub tags: Vec<String>,
    /// Its own address, or empty for the node's.
    pub address: String,
    /// Addresses by tag.
    #[serde(skip_serializing_if = "is_default")]
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// Free key/value pairs.
    pub meta: BTreeMap<String, String>,
    /// TCP port; 0 when the service names none.
    pub port: u16,
    /// A Unix socket instead of address and port.
    #[serde(skip_serializing_if = "is_default")]
    pub socket_path: String,
    /// DNS and proxy weights.
    pub weights: Weights,
    /// Whether others may change the tags in the catalog.
    pub enable_tag_override: bool,
    /// Proxy settings; meaningful for [`ServiceKind::ConnectProxy`].
    pub proxy: ConnectProxyConfig,
    /// Mesh settings of the service itself.
    pub connect: ServiceConnect,
    /// Always empty: lictor has no imported peers yet.
    pub peer_name: String,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// Raft index of the first registration.
    pub create_index: u64,
    /// Raft index of the last change.
    pub modify_index: u64,
}

impl NodeService {
    /// The service that mesh clients reach through this instance: a proxy's destination, a
    /// connect-native service itself, or none.
    pub fn mesh_destination(&self) -> Option<&str> {
        match self.kind {
            ServiceKind::ConnectProxy => Some(&self.proxy.destination_service_name),
            _ if self.connect.native => Some(&self.service),
            _ => None,
        }
    }

    /// Equal but for the Raft indexes: what decides whether a registration changed anything.
    pub fn same_registration(&self, other: &Self) -> bool {
        let strip = |service: &Self| Self { create_index: 0, modify_index: 0, ..service.clone() };
        strip(self) == strip(other)
    }
}

/// Mesh settings of a service in the catalog.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceConnect {
    /// The service speaks mesh TLS itself.
    #[serde(skip_serializing_if = "is_default")]
    pub native: bool,
}

/// Settings of a mesh proxy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConnectProxyConfig {
    /// The service it stands in front of.
    #[serde(skip_serializing_if = "is_default")]
    pub destination_service_name: String,
    /// The instance it stands in front of.
    #[serde(rename = "DestinationServiceID", skip_serializing_if = "is_default")]
    pub destination_service_id: String,
    /// Where the application listens; 127.0.0.1 when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub local_service_address: String,
    /// The application's port.
    #[serde(skip_serializing_if = "is_default")]
    pub local_service_port: u16,
    /// `transparent`, `direct` or empty.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: String,
    /// Opaque settings, read by the proxy.
    #[serde(skip_serializing_if = "is_default")]
    pub config: BTreeMap<String, serde_json::Value>,
    /// Local ports for other services.
    #[serde(skip_serializing_if = "is_default")]
    pub upstreams: Vec<Upstream>,
    /// Mesh gateway mode.
    pub mesh_gateway: MeshGatewayConfig,
    /// Paths exposed without mesh TLS.
    pub expose: ExposeConfig,
}

/// Mesh gateway mode of a proxy or an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MeshGatewayConfig {
    /// `none`, `local`, `remote` or empty.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: String,
}

/// Paths that a proxy exposes without mesh TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExposeConfig {
    /// Expose the paths of HTTP and gRPC checks.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: bool,
    /// Explicit paths.
    #[serde(skip_serializing_if = "is_default")]
    pub paths: Vec<ExposePath>,
}

/// One exposed path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExposePath {
    /// The proxy's port for this path.
    pub listener_port: u16,
    /// The HTTP path.
    pub path: String,
    /// The application's port.
    pub local_path_port: u16,
    /// `http` or `http2`.
    pub protocol: String,
    /// Made from a check, not declared.
    #[serde(skip_serializing_if = "is_default")]
    pub parsed_from_check: bool,
}

/// A local port for another service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Upstream {
    /// `service` or `prepared_query`.
    pub destination_type: String,
    /// The service's name.
    pub destination_name: String,
    /// Another datacenter, or empty.
    pub datacenter: String,
    /// Where to listen; 127.0.0.1 when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub local_bind_address: String,
    /// The port to listen on.
    #[serde(skip_serializing_if = "is_default")]
    pub local_bind_port: u16,
    /// A Unix socket instead of address and port.
    #[serde(skip_serializing_if = "is_default")]
    pub local_bind_socket_path: String,
    /// Opaque settings, read by the proxy.
    #[serde(skip_serializing_if = "is_default")]
    pub config: BTreeMap<String, serde_json::Value>,
    /// Mesh gateway mode.
    pub mesh_gateway: MeshGatewayConfig,
}

/// Body of `PUT /v1/catalog/register`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegisterRequest {
    /// UUID of the node, or empty to keep what is known.
    #[serde(rename = "ID")]
    pub id: String,
    /// The node's name; required.
    pub node: NodeName,
    /// The node's address; required unless `SkipNodeUpdate`.
    pub address: String,
    /// The datacenter, or empty for the agent's own.
    pub datacenter: String,
    /// Addresses by tag.
    pub tagged_addresses: BTreeMap<String, String>,
    /// Node meta.
    pub node_meta: BTreeMap<String, String>,
    /// An instance to register with it.
    pub service: Option<NodeService>,
    /// A check to register with it.
    pub check: Option<HealthCheck>,
    /// Checks to register with it.
    pub checks: Vec<HealthCheck>,
    /// Leave an existing node as it is.
    pub skip_node_update: bool,
    /// Where the node runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
}

/// Body of `PUT /v1/catalog/deregister`: a service, a check, or the whole node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeregisterRequest {
    /// The node's name; required.
    pub node: NodeName,
    /// The datacenter, or empty for the agent's own.
    pub datacenter: String,
    /// An instance to remove.
    #[serde(rename = "ServiceID")]
    pub service_id: ServiceId,
    /// A check to remove.
    #[serde(rename = "CheckID")]
    pub check_id: crate::CheckId,
}

/// A row of `GET /v1/catalog/service/:name` and `/v1/catalog/connect/:name`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogService {
    /// UUID of the node.
    #[serde(rename = "ID")]
    pub id: String,
    /// The node's name.
    pub node: NodeName,
    /// The node's address.
    pub address: String,
    /// The datacenter.
    pub datacenter: String,
    /// The node's addresses by tag.
    pub tagged_addresses: BTreeMap<String, String>,
    /// The node's meta.
    pub node_meta: BTreeMap<String, String>,
    /// What the instance is.
    pub service_kind: ServiceKind,
    /// The instance.
    #[serde(rename = "ServiceID")]
    pub service_id: ServiceId,
    /// The service's name.
    pub service_name: ServiceName,
    /// Its tags.
    pub service_tags: Vec<String>,
    /// Its own address, or empty.
    pub service_address: String,
    /// Its addresses by tag.
    #[serde(skip_serializing_if = "is_default")]
    pub service_tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// Its weights.
    pub service_weights: Weights,
    /// Its meta.
    pub service_meta: BTreeMap<String, String>,
    /// Its port.
    pub service_port: u16,
    /// Its Unix socket, or empty.
    pub service_socket_path: String,
    /// Whether others may change its tags.
    pub service_enable_tag_override: bool,
    /// Its proxy settings.
    pub service_proxy: ConnectProxyConfig,
    /// Its mesh settings.
    pub service_connect: ServiceConnect,
    /// Raft index of the instance's first registration.
    pub create_index: u64,
    /// Raft index of the instance's last change.
    pub modify_index: u64,
}

impl CatalogService {
    /// Joins a node with one of its instances.
    pub fn new(node: &Node, service: &NodeService) -> Self {
        Self {
            id: node.id.clone(),
            node: node.name.clone(),
            address: node.address.clone(),
            datacenter: node.datacenter.clone(),
            tagged_addresses: node.tagged_addresses.clone(),
            node_meta: node.meta.clone(),
            service_kind: service.kind,
            service_id: service.id.clone(),
            service_name: service.service.clone(),
            service_tags: service.tags.clone(),
            service_address: service.address.clone(),
            service_tagged_addresses: service.tagged_addresses.clone(),
            service_weights: service.weights,
            service_meta: service.meta.clone(),
            service_port: service.port,
            service_socket_path: service.socket_path.clone(),
            service_enable_tag_override: service.enable_tag_override,
            service_proxy: service.proxy.clone(),
            service_connect: service.connect.clone(),
            create_index: service.create_index,
            modify_index: service.modify_index,
        }
    }
}

/// Answer of `GET /v1/catalog/node/:node`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeServices {
    /// The node.
    pub node: Node,
    /// Its instances by ID.
    pub services: BTreeMap<ServiceId, NodeService>,
}

/// Answer of `GET /v1/catalog/node-services/:node`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeServiceList {
    /// The node.
    pub node: Node,
    /// Its instances.
    pub services: Vec<NodeService>,
}
