//! Maintains what the webhook needs: the authority in the Secret, a fresh leaf, the `caBundle`.
//!
//! Every replica does this for itself. The bundle is set by server-side apply with its own field
//! manager, and set again when it is removed (by an upgrade or a sync of Argo CD). INVARIANT: a
//! leaf is served only after the bundle that verifies it is set.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use lictor_runtime::Tasks;
use serde_json::json;
use tokio::sync::Notify;

use super::certs::{Authorities, CertsError, ServedLeaf};
use crate::{
    config::Config,
    health::Readiness,
    watch::{named, reflect},
};

/// Interval of new leaves: half of a leaf's TTL.
const LEAF_INTERVAL: Duration = Duration::from_secs(12 * 3600);
/// Longest time between two steps when nothing changes.
const RESYNC_INTERVAL: Duration = Duration::from_secs(600);
/// Pause after a failed step.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Separate from the operator's other field manager, so that neither removes what the other set.
const FIELD_MANAGER: &str = "lictor-operator-webhook";

/// The webhook is not callable yet.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The Secret or the webhook configuration could not be read or written.
    #[error("{what} not read or written")]
    Api {
        /// The object.
        what: String,
        /// The API server's error.
        source: kube::Error,
    },
    /// The authority in the Secret is unusable; a new one is generated once the Secret is deleted.
    #[error("secret {name} holds no usable authority; delete it for a new one")]
    Authority {
        /// The Secret.
        name: String,
        /// What is wrong with it.
        source: CertsError,
    },
}

/// Starts the keeper; `readiness` turns true once the webhook can be called.
pub fn start(
    tasks: &Tasks,
    client: &Client,
    config: &Arc<Config>,
    leaf: Arc<ServedLeaf>,
    readiness: Readiness,
) {
    let changed = Arc::new(Notify::new());
    let keeper = Keeper {
        secrets: Api::namespaced(client.clone(), &config.namespace),
        configurations: Api::all(client.clone()),
        config: Arc::clone(config),
        leaf,
        served: None,
    };
    // Watched only for the notification: each step starts from what the API server holds.
    let secrets = keeper.secrets.clone();
    let secrets = reflect(tasks, secrets, named(&config.webhook_secret()), &changed);
    let configurations = keeper.configurations.clone();
    let configurations =
        reflect(tasks, configurations, named(&config.webhook_configuration), &changed);
    tasks.spawn_until_shutdown("webhook.keeper", async move {
        keeper.run(readiness, changed).await;
        drop((secrets, configurations));
    });
}

struct Keeper {
    secrets: Api<Secret>,
    configurations: Api<MutatingWebhookConfiguration>,
    config: Arc<Config>,
    leaf: Arc<ServedLeaf>,
    /// The authorities that the served leaf was generated from, and when.
    served: Option<(Authorities, Instant)>,
}

impl Keeper {
    async fn run(mut self, readiness: Readiness, changed: Arc<Notify>) {
        loop {
            let pause = match self.step().await {
                Ok(()) => {
                    if !readiness.get() {
                        tracing::info!("webhook ready");
                    }
                    readiness.set(true);
                    RESYNC_INTERVAL
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "webhook not set up");
                    RETRY_INTERVAL
                }
            };
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn step(&mut self) -> Result<(), KeeperError> {
        let authorities = self.authorities().await?;
        self.set_bundle(&authorities.bundle()).await?;
        let fresh = self.served.as_ref().is_some_and(|(served, since)| {
            *served == authorities && since.elapsed() < LEAF_INTERVAL
        });
        if !fresh {
            let service = format!("{}.{}.svc", self.config.webhook_service, self.config.namespace);
            let leaf = authorities.leaf(&[service]).map_err(|source| self.unusable(source))?;
            self.leaf.set(leaf);
            self.served = Some((authorities, Instant::now()));
        }
        Ok(())
    }

    /// Returns the authorities in the Secret; generates or rotates them if that is due.
    async fn authorities(&self) -> Result<Authorities, KeeperError> {
        let name = self.config.webhook_secret();
        let api = |source| KeeperError::Api { what: format!("secret {name}"), source };
        let Some(found) = self.secrets.get_opt(&name).await.map_err(api)? else {
            let authorities = Authorities::generate().map_err(|source| self.unusable(source))?;
            let secret = Secret {
                metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
                data: Some(authorities.to_data()),
                ..Secret::default()
            };
            // A conflict means that another replica was faster: the next step reads its authority.
            self.secrets.create(&PostParams::default(), &secret).await.map_err(api)?;
            return Ok(authorities);
        };
        let data = found.data.clone().unwrap_or_default();
        let authorities = Authorities::from_data(&data).map_err(|source| self.unusable(source))?;
        let rotated = authorities.rotated(SystemTime::now());
        let Some(rotated) = rotated.map_err(|source| self.unusable(source))? else {
            return Ok(authorities);
        };
        let secret = Secret { data: Some(rotated.to_data()), ..found };
        self.secrets.replace(&name, &PostParams::default(), &secret).await.map_err(api)?;
        tracing::info!(secret = name, "webhook authority rotated");
        Ok(rotated)
    }

    async fn set_bundle(&self, bundle: &str) -> Result<(), KeeperError> {
        let name = &self.config.webhook_configuration;
        let what = || format!("webhook configuration {name}");
        let api = |source| KeeperError::Api { what: what(), source };
        let found = self.configurations.get(name).await.map_err(api)?;
        let wanted = ByteString(bundle.as_bytes().to_vec());
        let webhooks = found.webhooks.unwrap_or_default();
        if webhooks.iter().all(|webhook| webhook.client_config.ca_bundle.as_ref() == Some(&wanted))
        {
            return Ok(());
        }
        let webhooks = webhooks
            .iter()
            .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": wanted}}));
        let apply = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": webhooks.collect::<Vec<_>>(),
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        self.configurations.patch(name, &parameters, &Patch::Apply(apply)).await.map_err(api)?;
        tracing::info!(configuration = name, "webhook trust set");
        Ok(())
    }

    fn unusable(&self, source: CertsError) -> KeeperError {
        KeeperError::Authority { name: self.config.webhook_secret(), source }
    }
}
