//! Calls the servers over their HTTPS API, with the operator's projected token.
//!
//! Only the mesh roots from ConfigMap `lictor-roots` are trusted; when they change, the next
//! request uses clients with the new ones. A request goes to the server that responded last, and to
//! the next one if that fails.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, StatusCode};
use lictor_api::{
    NodeName,
    client::{Answer, Client, ClientError, Config as ClientConfig, ConfigError, Token},
    contract::{META_K8S_CLUSTER, META_POD_UID, META_SYNTHETIC_NODE},
    types::{
        catalog::{DeregisterRequest, Node, NodeService, NodeServiceList, RegisterRequest},
        config_entry::{ConfigEntry, SERVICE_INTENTIONS},
        health::HealthCheck,
        intention::ServiceIntentions,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::watch, time::timeout};

use super::{Servers, ServersError};
use crate::{
    config::Config,
    plan::{Actual, Instance, Removal, is_own},
};

/// Timeout of one request to one server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The servers over HTTPS.
pub struct HttpServers {
    config: Arc<Config>,
    roots: watch::Receiver<Option<String>>,
    clients: Mutex<Option<Clients>>,
    preferred: AtomicUsize,
}

/// One client per server, all with the same roots.
#[derive(Clone)]
struct Clients {
    roots: String,
    clients: Arc<[Client]>,
}

// === impl HttpServers ===

impl HttpServers {
    /// Returns the servers in `config`, verified with the current `roots`.
    pub fn new(config: Arc<Config>, roots: watch::Receiver<Option<String>>) -> Self {
        Self { config, roots, clients: Mutex::new(None), preferred: AtomicUsize::new(0) }
    }

    /// Returns the clients with the current roots, built again after the roots have changed.
    fn clients(&self, what: &str) -> Result<Arc<[Client]>, ServersError> {
        let Some(roots) = self.roots.borrow().clone() else {
            let source = "the servers have not written the mesh roots yet".into();
            return Err(ServersError::Unreachable { what: what.to_owned(), source });
        };
        // The value is replaced in one step, so a poisoned lock still guards a whole one.
        let mut known = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| known.roots == roots) {
            return Ok(Arc::clone(&known.clients));
        }
        let built = self.build(&roots).map_err(|error| ServersError::Unreachable {
            what: what.to_owned(),
            source: Box::new(error),
        })?;
        Ok(Arc::clone(&known.insert(Clients { roots, clients: built }).clients))
    }

    fn build(&self, roots: &str) -> Result<Arc<[Client]>, ConfigError> {
        let client = |address: &String| {
            Client::new(ClientConfig {
                address: address.clone(),
                tls: true,
                token: Token::BearerFile(self.config.token_file.clone()),
                ca_pem: Some(roots.to_owned()),
                tls_server_name: Some(self.config.server_name.clone()),
                ..ClientConfig::default()
            })
        };
        self.config.servers.iter().map(client).collect()
    }

    /// Sends a request to one server after the other until one responds.
    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, ServersError> {
        let what = format!("{method} {path}");
        let clients = self.clients(&what)?;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure: Box<dyn std::error::Error + Send + Sync> = "no server is named".into();
        for turn in 0..clients.len() {
            let index = (first + turn) % clients.len();
            let request = clients[index].send(method.clone(), path, query, body.clone());
            match timeout(REQUEST_TIMEOUT, request).await {
                Ok(Ok(response)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(response);
                }
                Ok(Err(error)) => failure = Box::new(error),
                Err(elapsed) => failure = Box::new(elapsed),
            }
        }
        Err(ServersError::Unreachable { what, source: failure })
    }

    /// Reads a document; `None` if the status is 404.
    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<T>, ServersError> {
        let response = self.send(Method::GET, path, query, Bytes::new()).await?;
        if response.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let what = || format!("GET {path}");
        let response = accepted(response, what())?;
        let unreadable =
            |error| ServersError::Unreachable { what: what(), source: Box::new(error) };
        response.json().map_err(unreadable)
    }

    async fn put(&self, path: &str, body: &impl Serialize) -> Result<(), ServersError> {
        let what = format!("PUT {path}");
        let body = serde_json::to_vec(body).map_err(|error| ServersError::Unreachable {
            what: what.clone(),
            source: Box::new(error),
        })?;
        let response = self.send(Method::PUT, path, &[], body.into()).await?;
        accepted(response, what).map(|_| ())
    }

    async fn put_deregistration(&self, request: DeregisterRequest) -> Result<(), ServersError> {
        self.put("/v1/catalog/deregister", &request).await
    }

    /// Reads a virtual node's instances, each with its check.
    async fn instances(&self, node: &Node) -> Result<Vec<Instance>, ServersError> {
        let checks: Option<Vec<HealthCheck>> =
            self.get(&format!("/v1/health/node/{}", node.name), &[]).await?;
        let mut checks: BTreeMap<_, HealthCheck> = checks
            .unwrap_or_default()
            .into_iter()
            .map(|check| (check.service_id.clone(), check))
            .collect();
        let services = self.services(&node.name).await?;
        let instance = |service: NodeService| Instance {
            node: node.name.clone(),
            node_address: node.address.clone(),
            node_meta: node.meta.clone(),
            check: checks.remove(&service.id).unwrap_or_default(),
            service,
        };
        Ok(services.into_iter().map(instance).collect())
    }

    async fn services(&self, node: &NodeName) -> Result<Vec<NodeService>, ServersError> {
        let path = format!("/v1/catalog/node-services/{node}");
        let list: Option<NodeServiceList> = self.get(&path, &[]).await?;
        Ok(list.map(|list| list.services).unwrap_or_default())
    }
}

impl Servers for HttpServers {
    async fn actual(&self, cluster: &str) -> Result<Actual, ServersError> {
        let synthetic = format!("{META_SYNTHETIC_NODE}:true");
        let query = [("node-meta", synthetic.as_str())];
        let nodes: Option<Vec<Node>> = self.get("/v1/catalog/nodes", &query).await?;
        let mut actual = Actual::default();
        for node in nodes.unwrap_or_default() {
            if node.meta.get(META_K8S_CLUSTER).is_none_or(|owner| owner != cluster) {
                actual.foreign_nodes.insert(node.name);
                continue;
            }
            let instances = self.instances(&node).await?;
            let (own, other): (Vec<_>, Vec<_>) =
                instances.into_iter().partition(|instance| is_own(&instance.service, cluster));
            if other.is_empty() {
                actual.nodes.insert(node.name);
            }
            actual.instances.extend(own.into_iter().map(|instance| (instance.key(), instance)));
        }
        Ok(actual)
    }

    async fn register(&self, instance: &Instance) -> Result<(), ServersError> {
        let request = RegisterRequest {
            node: instance.node.clone(),
            address: instance.node_address.clone(),
            node_meta: instance.node_meta.clone(),
            service: Some(instance.service.clone()),
            check: Some(instance.check.clone()),
            ..RegisterRequest::default()
        };
        self.put("/v1/catalog/register", &request).await
    }

    async fn deregister(&self, removal: &Removal) -> Result<(), ServersError> {
        let Removal { node, service_id, pod_uid } = removal;
        let services = self.services(node).await?;
        let Some(found) = services.iter().find(|service| service.id == *service_id) else {
            return Ok(());
        };
        if found.meta.get(META_POD_UID) != Some(pod_uid) {
            return Err(ServersError::Changed(service_id.to_string()));
        }
        let (node, service_id) = (node.clone(), service_id.clone());
        let request = DeregisterRequest { node, service_id, ..DeregisterRequest::default() };
        self.put_deregistration(request).await
    }

    async fn remove_node(&self, node: &NodeName) -> Result<(), ServersError> {
        if !self.services(node).await?.is_empty() {
            return Err(ServersError::Changed(node.to_string()));
        }
        let node = node.clone();
        self.put_deregistration(DeregisterRequest { node, ..DeregisterRequest::default() }).await
    }

    async fn intentions(
        &self,
        destination: &str,
    ) -> Result<Option<ServiceIntentions>, ServersError> {
        let path = format!("/v1/config/{SERVICE_INTENTIONS}/{destination}");
        let entry: Option<ConfigEntry> = self.get(&path, &[]).await?;
        Ok(entry.map(|ConfigEntry::ServiceIntentions(entry)| entry))
    }

    async fn all_intentions(&self) -> Result<Vec<ServiceIntentions>, ServersError> {
        let path = format!("/v1/config/{SERVICE_INTENTIONS}");
        let entries: Option<Vec<ConfigEntry>> = self.get(&path, &[]).await?;
        let entries = entries.unwrap_or_default().into_iter();
        Ok(entries.map(|ConfigEntry::ServiceIntentions(entry)| entry).collect())
    }

    async fn put_intentions(&self, entry: &ServiceIntentions) -> Result<(), ServersError> {
        self.put("/v1/config", &ConfigEntry::ServiceIntentions(entry.clone())).await
    }

    async fn delete_intentions(&self, destination: &str) -> Result<(), ServersError> {
        let path = format!("/v1/config/{SERVICE_INTENTIONS}/{destination}");
        let response = self.send(Method::DELETE, &path, &[], Bytes::new()).await?;
        accepted(response, format!("DELETE {path}")).map(|_| ())
    }
}

/// Returns a successful response, or the error of any other status.
fn accepted(response: Answer, what: String) -> Result<Answer, ServersError> {
    response.success().map_err(|error| match error {
        ClientError::Status { status, body } => {
            ServersError::Refused { what, status: status.as_u16(), body }
        }
        other => ServersError::Unreachable { what, source: Box::new(other) },
    })
}

#[cfg(test)]
mod tests;
