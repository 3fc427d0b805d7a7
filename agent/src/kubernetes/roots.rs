//! The ConfigMap that hands out the mesh's roots, written by the leader whenever they change.
//!
//! Server-side apply, forced: the ConfigMap is lictor's, and writing it again heals whatever was
//! done to it.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Kubernetes, KubernetesError};
use crate::{
    ca::roots,
    server::Server,
    state::{CertificateAuthority, State, Topic, WatchSet},
};

/// Owner of the fields in server-side apply.
const FIELD_MANAGER: &str = "lictor-server";
/// Pause after a failed write.
const RETRY: Duration = Duration::from_secs(3);
/// How often it is written again although nothing changed.
const REFRESH: Duration = Duration::from_secs(600);

/// What the ConfigMap says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Published {
    roots: String,
    trust_domain: String,
}

impl Published {
    fn of(ca: &CertificateAuthority) -> Self {
        Self { roots: roots::bundle_pem(ca), trust_domain: ca.trust_domain() }
    }
}

impl Kubernetes {
    /// Keeps the roots ConfigMap as the state says, while this server leads, until `shutdown`.
    pub async fn publish_roots(&self, server: &Server, shutdown: CancellationToken) {
        let mut leader = server.consensus().leader();
        let mut written: Option<Published> = None;
        loop {
            let leads = leader.borrow_and_update().as_ref().is_some_and(|leader| leader.is_self);
            let changed = server.store().wait_for(|state: &State, topics: &mut WatchSet| {
                topics.add(Topic::Roots);
                let now = Published::of(state.ca.as_deref()?);
                (written.as_ref() != Some(&now)).then_some(now)
            });
            let next = tokio::select! {
                () = shutdown.cancelled() => return,
                changed = leader.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                next = changed, if leads => next,
                () = tokio::time::sleep(REFRESH), if leads && written.is_some() => {
                    written = None;
                    continue;
                }
            };
            match self.write_roots(&next).await {
                Ok(()) => {
                    tracing::debug!(config_map = %self.settings.roots_config_map, "roots published");
                    written = Some(next);
                }
                Err(error) => {
                    tracing::warn!(config_map = %self.settings.roots_config_map,
                        error = &error as &dyn std::error::Error,
                        "roots not published, trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
            }
        }
    }

    async fn write_roots(&self, published: &Published) -> Result<(), KubernetesError> {
        let name = &self.settings.roots_config_map;
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": self.settings.namespace },
            "data": { "roots.pem": published.roots, "trust-domain": published.trust_domain },
        });
        Api::<ConfigMap>::namespaced(self.client.clone(), &self.settings.namespace)
            .patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(map))
            .await
            .map_err(|error| KubernetesError::Api(Box::new(error)))?;
        Ok(())
    }
}
