//! The pods that `retry_join` finds others by: where those that run are.
//!
//! Of a pod only the addresses are read: decoding all that a pod may hold was half a megabyte of code.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    api::{Api, ListParams},
    core::{ApiResource, NotUsed, Object},
};
use serde::Deserialize;

/// What is read of a pod's status.
#[derive(Debug, Clone, Default, Deserialize)]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
}

/// Where one running pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningPod {
    /// Its own address, as text.
    pub pod_ip: Option<String>,
    /// That of its host.
    pub host_ip: Option<String>,
}

/// The running pods of a namespace that both selectors choose; an empty namespace is that of the
/// pod that asks.
///
/// # Errors
/// What the API server or the credentials say.
pub async fn running(
    namespace: &str,
    label_selector: &str,
    field_selector: &str,
) -> Result<Vec<RunningPod>, kube::Error> {
    let config =
        kube::Config::incluster().map_err(|error| kube::Error::Service(Box::new(error)))?;
    let own = config.default_namespace.clone();
    let client = kube::Client::try_from(config)?;
    let namespace = if namespace.is_empty() { &own } else { namespace };
    let wanted = ListParams::default().labels(label_selector).fields(field_selector);
    let kind = ApiResource::erase::<Pod>(&());
    let pods = Api::<Object<NotUsed, Status>>::namespaced_with(client, namespace, &kind);
    let pods = pods.list(&wanted).await?;
    let running = |pod: Object<NotUsed, Status>| {
        let status = pod.status.filter(|status| status.phase.as_deref() == Some("Running"))?;
        Some(RunningPod { pod_ip: status.pod_ip, host_ip: status.host_ip })
    };
    Ok(pods.items.into_iter().filter_map(running).collect())
}
