//! Addresses of running pods, which `retry_join` uses as join targets.
//!
//! Only the addresses of a pod are decoded: decoding a whole pod added half a megabyte of code.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    api::{Api, ListParams},
    core::{ApiResource, NotUsed, Object},
};
use serde::Deserialize;

use super::{KubernetesError, api_server};

/// The decoded part of a pod's status.
#[derive(Debug, Clone, Default, Deserialize)]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
}

/// The addresses of one running pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningPod {
    /// Its own address, as text.
    pub pod_ip: Option<String>,
    /// Its host's address, as text.
    pub host_ip: Option<String>,
}

/// Lists the running pods of a namespace that match both selectors; an empty namespace means this
/// pod's own.
///
/// # Errors
/// [`KubernetesError`]: the credentials are unusable, or the request failed.
pub async fn running(
    namespace: &str,
    label_selector: &str,
    field_selector: &str,
) -> Result<Vec<RunningPod>, KubernetesError> {
    let (client, own) = api_server::connect()?;
    let namespace = if namespace.is_empty() { &own } else { namespace };
    let wanted = ListParams::default().labels(label_selector).fields(field_selector);
    let kind = ApiResource::erase::<Pod>(&());
    let pods = Api::<Object<NotUsed, Status>>::namespaced_with(client, namespace, &kind);
    let pods = pods.list(&wanted).await.map_err(|error| KubernetesError::Api(Box::new(error)))?;
    Ok(pods.items.into_iter().filter_map(to_running).collect())
}

fn to_running(pod: Object<NotUsed, Status>) -> Option<RunningPod> {
    let status = pod.status.filter(|status| status.phase.as_deref() == Some("Running"))?;
    Some(RunningPod { pod_ip: status.pod_ip, host_ip: status.host_ip })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(phase: &str) -> Object<NotUsed, Status> {
        let status = json!({"phase": phase, "podIP": "10.244.0.7", "conditions": []});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
            "spec": {"containers": []}, "status": status,
        });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn only_running_pods_are_found_because_others_have_no_agent_or_no_address_to_keep() {
        let found: Vec<_> = ["Pending", "Running", "Succeeded", "Failed"]
            .into_iter()
            .filter_map(|phase| to_running(pod(phase)))
            .collect();
        let running = RunningPod { pod_ip: Some("10.244.0.7".to_owned()), host_ip: None };
        assert_eq!(found, [running]);
    }
}
