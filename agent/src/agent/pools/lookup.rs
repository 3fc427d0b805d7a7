//! Resolves the targets of `retry_join`: names by DNS, pods by the Kubernetes API.

use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use lictor_membership::join::{KubernetesPods, Resolve};

use crate::{
    dial::Dialer,
    kubernetes::pods::{self, RunningPod},
};

/// Resolves names and pods without a cache, for every attempt.
pub(super) struct Lookup;

impl Resolve for Lookup {
    fn name<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Vec<SocketAddr>, String>> {
        // A new resolver each time, because it reads the hosts file when created.
        Box::pin(async move { Dialer::new().resolve("tcp", &format!("{host}:{port}")).await })
    }

    fn pods<'a>(
        &'a self,
        wanted: &'a KubernetesPods,
    ) -> BoxFuture<'a, Result<Vec<SocketAddr>, String>> {
        Box::pin(async move {
            let KubernetesPods { namespace, label_selector, field_selector, .. } = wanted;
            let pods = pods::running(namespace, label_selector, field_selector).await;
            let pods = pods.map_err(|error| format!("listing the pods to join: {error}"))?;
            let addresses: Vec<_> = pods.iter().filter_map(|pod| address_of(pod, wanted)).collect();
            if addresses.is_empty() {
                return Err(format!("no pod {label_selector:?} runs"));
            }
            Ok(addresses)
        })
    }
}

fn address_of(pod: &RunningPod, wanted: &KubernetesPods) -> Option<SocketAddr> {
    let ip = if wanted.host_network { &pod.host_ip } else { &pod.pod_ip };
    ip.as_ref()?.parse().ok().map(|ip| SocketAddr::new(ip, wanted.port))
}

#[cfg(test)]
mod tests {
    use lictor_membership::join::Target;

    use super::*;

    #[test]
    fn pods_are_joined_at_their_address_and_our_port() {
        let text = "provider=k8s label_selector=app=consul";
        let Ok(Target::Pods(pods)) = Target::parse(text, 8301) else { panic!("not pods") };
        let pod = |ip: Option<&str>| RunningPod { pod_ip: ip.map(str::to_owned), host_ip: None };
        assert_eq!(address_of(&pod(Some("10.244.0.7")), &pods), "10.244.0.7:8301".parse().ok());
        assert_eq!(address_of(&pod(None), &pods), None);
    }

    #[tokio::test]
    async fn localhost_needs_no_files() {
        let target = Target::parse("localhost:9301", 8301).unwrap();
        let found = target.resolve(&Lookup).await.unwrap();
        assert!(found.contains(&"127.0.0.1:9301".parse().unwrap()));
    }
}
