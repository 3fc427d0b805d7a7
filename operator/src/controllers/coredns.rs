//! Maintains the block for the mesh's domain in the CoreDNS ConfigMap `kube-system/coredns`.
//!
//! Runs only if the chart's user opted in. The block is restored when it is removed, and updated
//! when the DNS Service's address changes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::{Api, api::PostParams, runtime::reflector::Store};
use lictor_runtime::Tasks;
use tokio::sync::Notify;

use super::{DEBOUNCE_INTERVAL, RESYNC_INTERVAL, backoff, count_failure};
use crate::{
    context::Context,
    corefile,
    watch::{named, reflect},
};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "coredns";
const KEY: &str = "Corefile";

/// The block could not be set or removed.
#[derive(Debug, thiserror::Error)]
pub enum CorednsError {
    /// The ConfigMap could not be read; nothing was changed.
    #[error("configmap {NAMESPACE}/{NAME} not read")]
    Read(#[source] kube::Error),
    /// The ConfigMap could not be replaced, perhaps because it changed after it was read.
    #[error("configmap {NAMESPACE}/{NAME} not replaced")]
    Replace(#[source] kube::Error),
    /// The cluster's DNS is not CoreDNS, or is configured elsewhere.
    #[error("configmap {NAMESPACE}/{NAME} has no key {KEY}")]
    NoCorefile,
}

/// Starts the controller, if the settings enable it.
pub fn start<S: Send + Sync + 'static>(tasks: &Tasks, context: &Arc<Context<S>>) {
    if !context.config.coredns_manage {
        return;
    }
    let changed = Arc::new(Notify::new());
    let (client, config) = (&context.client, &context.config);
    // Watched only for the notification: the edit starts from what the API server holds.
    let corefiles = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let corefiles = reflect(tasks, corefiles, named(NAME), &changed);
    let services = Api::<Service>::namespaced(client.clone(), &config.namespace);
    let services = reflect(tasks, services, named(&config.dns_service), &changed);
    tasks.spawn_until_shutdown(
        "controllers.coredns",
        run(Arc::clone(context), corefiles, services, changed),
    );
}

async fn run<S: Send + Sync + 'static>(
    context: Arc<Context<S>>,
    corefiles: Store<ConfigMap>,
    services: Store<Service>,
    changed: Arc<Notify>,
) {
    if corefiles.wait_until_ready().await.is_err() || services.wait_until_ready().await.is_err() {
        return;
    }
    let mut backoff = backoff();
    loop {
        let address = services.state().first().and_then(|service| address(service));
        let pause = match pass(&context, address).await {
            Ok(()) => {
                backoff.reset();
                RESYNC_INTERVAL
            }
            Err(error) => {
                let (error, pause): (&dyn std::error::Error, _) = (&error, backoff.next_pause());
                tracing::warn!(error, ?pause, "cluster dns not configured");
                pause
            }
        };
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(DEBOUNCE_INTERVAL).await,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Sets the block for the DNS Service's `address`. Without one there is nothing to forward to, and
/// the Corefile stays as it is.
async fn pass<S>(context: &Context<S>, address: Option<String>) -> Result<(), CorednsError> {
    let Some(address) = address else { return Ok(()) };
    let block = corefile::block(&context.config.domain, &address);
    set(&context.client, Some(&block)).await.inspect_err(|_| count_failure("coredns"))
}

fn address(service: &Service) -> Option<String> {
    let address = service.spec.as_ref()?.cluster_ip.clone()?;
    (address != "None" && !address.is_empty()).then_some(address)
}

/// Sets or removes the block; writes only if something changes.
///
/// # Errors
/// The ConfigMap cannot be read or replaced, or is not CoreDNS's.
pub async fn set(client: &kube::Client, block: Option<&str>) -> Result<(), CorednsError> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let mut found = api.get(NAME).await.map_err(CorednsError::Read)?;
    let data = found.data.get_or_insert_default();
    let corefile = data.get_mut(KEY).ok_or(CorednsError::NoCorefile)?;
    let edited = corefile::edit(corefile, block);
    if edited == *corefile {
        return Ok(());
    }
    *corefile = edited;
    // The resource version that was read turns a concurrent change into a conflict.
    let replaced = api.replace(NAME, &PostParams::default(), &found).await;
    replaced.map_err(CorednsError::Replace)?;
    tracing::info!(managed = block.is_some(), "cluster dns configured");
    Ok(())
}

#[cfg(test)]
mod tests;
