//! `lictor-operator cleanup`: removes everything that outlives the chart's own objects.
//!
//! A Helm hook runs it before the release is deleted. First the running operator is ended, so that
//! it restores nothing. State in the servers is removed within a short timeout, because they may be
//! gone already; objects in Kubernetes must be removed, or the command fails and names them.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use lictor_api::contract::ROOTS_CONFIG_MAP;
use lictor_runtime::Tasks;
use tokio::time::timeout;

use crate::{
    config::Config,
    controllers::{config_entries, coredns, roots},
    crds::service_intentions::{FINALIZER, ServiceIntentions},
    plan::{self, Instances, Plan},
    servers::{Servers, ServersError, http::HttpServers},
};

/// Timeout for the running operator to end.
const OPERATOR_TIMEOUT: Duration = Duration::from_secs(40);
/// Pause between two checks whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Timeout of all requests to the servers together.
const SERVERS_TIMEOUT: Duration = Duration::from_secs(20);

/// An object was not removed from Kubernetes.
#[derive(Debug, thiserror::Error)]
#[error("{what} not removed")]
pub struct CleanupError {
    what: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Removes everything.
///
/// # Errors
/// The first object that was not removed from Kubernetes, after all were tried.
pub async fn run(client: &Client, config: &Arc<Config>) -> Result<(), CleanupError> {
    let ended = end_operator(client, config).await;
    ended.map_err(|error| failed("the running operator", error))?;
    clear_servers(client, config).await;
    let mut result = Ok(());
    let mut record = |step: Result<(), CleanupError>| {
        if let Err(error) = step {
            let report: &dyn std::error::Error = &error;
            tracing::error!(error = report, "left behind");
            if result.is_ok() {
                result = Err(error);
            }
        }
    };
    let released = release_intentions(client).await;
    record(released.map_err(|error| failed("finalizers of ServiceIntentions", error)));
    if config.coredns_manage {
        let removed = coredns::set(client, None).await;
        record(removed.map_err(|error| failed("the block in cluster DNS", error)));
    }
    let removed = remove_roots(client, config).await;
    record(removed.map_err(|error| failed("copies of the mesh roots", error)));
    let secrets = Api::<Secret>::namespaced(client.clone(), &config.namespace);
    let removed = delete(&secrets, &config.webhook_secret(), &DeleteParams::default()).await;
    record(removed.map_err(|error| failed("the webhook's authority", error)));
    // Running servers have already read it.
    let removed = delete(&secrets, &config.server_keys(), &DeleteParams::default()).await;
    record(removed.map_err(|error| failed("the servers' keys", error)));
    let leases = Api::<Lease>::namespaced(client.clone(), &config.namespace);
    let removed = delete(&leases, &config.lease_name(), &DeleteParams::default()).await;
    record(removed.map_err(|error| failed("the lease", error)));
    result
}

fn failed(
    what: &'static str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> CleanupError {
    CleanupError { what, source: error.into() }
}

/// Deletes an object; one that does not exist is no error.
async fn delete<K>(api: &Api<K>, name: &str, parameters: &DeleteParams) -> Result<(), kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, parameters).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Deletes the operator's Deployment in the foreground and waits until it is gone, which is after
/// its pods.
async fn end_operator(client: &Client, config: &Config) -> Result<(), kube::Error> {
    let api = Api::<Deployment>::namespaced(client.clone(), &config.namespace);
    let name = format!("{}-operator", config.fullname);
    delete(&api, &name, &DeleteParams::foreground()).await?;
    let gone = async {
        while api.get_opt(&name).await?.is_some() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    };
    timeout(OPERATOR_TIMEOUT, gone).await.unwrap_or_else(|_| {
        tracing::warn!(deployment = name, "the operator has not ended, going on without");
        Ok(())
    })
}

/// Removes this cluster's instances and config entries from the servers; a failure is logged.
async fn clear_servers(client: &Client, config: &Arc<Config>) {
    let tasks = Tasks::new();
    let mut current = roots::watch_source(&tasks, client, config);
    let servers = HttpServers::new(Arc::clone(config), current.clone());
    let work = async {
        // An error would mean that the watch ended, and the requests below report that.
        drop(current.wait_for(Option::is_some).await);
        delete_entries(&servers, config).await?;
        deregister_instances(&servers, config).await
    };
    match timeout(SERVERS_TIMEOUT, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "catalog not cleared");
        }
        Err(_) => tracing::warn!("catalog not cleared, the servers do not answer"),
    }
    tasks.end().await;
}

async fn delete_entries(servers: &impl Servers, config: &Config) -> Result<(), ServersError> {
    for entry in servers.all_intentions().await? {
        if config_entries::entry::is_own(&entry, config) {
            servers.delete_intentions(&entry.name).await?;
        }
    }
    Ok(())
}

async fn deregister_instances(servers: &impl Servers, config: &Config) -> Result<(), ServersError> {
    let actual = servers.actual(&config.cluster).await?;
    // No instance is desired, so none is registered.
    let Plan { register: _, deregister, remove_nodes } = plan::plan(&Instances::new(), &actual);
    for removal in deregister {
        servers.deregister(&removal).await?;
    }
    for node in remove_nodes {
        servers.remove_node(&node).await?;
    }
    Ok(())
}

/// Removes the finalizer from every object, so that the definition can be deleted.
async fn release_intentions(client: &Client) -> Result<(), kube::Error> {
    let api = Api::<ServiceIntentions>::all(client.clone());
    let objects = match api.list(&ListParams::default()).await {
        // The definition is not installed.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        objects => objects?,
    };
    for object in objects {
        let (own, others): (Vec<_>, Vec<_>) =
            object.finalizers().iter().cloned().partition(|finalizer| finalizer == FINALIZER);
        if !own.is_empty() {
            config_entries::patch_finalizers(client, &object, others).await?;
        }
    }
    Ok(())
}

async fn remove_roots(client: &Client, config: &Config) -> Result<(), kube::Error> {
    let all = Api::<ConfigMap>::all(client.clone());
    let named = ListParams::default().fields(&format!("metadata.name={ROOTS_CONFIG_MAP}"));
    for copy in all.list(&named).await? {
        let namespace = copy.namespace().unwrap_or_default();
        if namespace != config.namespace && roots::is_copy(&copy) {
            roots::apply(client, &namespace, &roots::Step::Remove).await?;
        }
    }
    Ok(())
}
