//! The Kubernetes cluster that the servers run in: reviews tokens of pods and writes the ConfigMap
//! of the mesh's roots.
//!
//! INVARIANT: a token is accepted only after the API server has reviewed it for lictor's audience,
//! and for at most [`REVIEW_TTL`] after that. Tokens appear in no log line and no error; only their
//! SHA-256 is cached.
//!
//! Source: Kubernetes TokenReview v1, "Bound service account tokens". Nothing is watched here; the
//! operator does that.

mod api_server;
mod identity;
pub mod pods;
mod secret;

pub use identity::{Identity, Pod, Refusal};
pub use secret::create_secret;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    core::v1::ConfigMap,
};
use kube::api::{Api, Patch, PatchParams, PostParams};
use lictor_config::runtime::Kubernetes as Settings;
use lictor_core::acl::Caller;
use serde_json::json;
use tokio::{sync::Semaphore, time::Instant};

/// Owner of the fields in server-side apply.
const FIELD_MANAGER: &str = "lictor-server";
/// How long the review of a token is cached.
const REVIEW_TTL: Duration = Duration::from_secs(60);
/// The most cached reviews.
const MAX_REVIEWED: usize = 16_384;
/// The most concurrent reviews.
const MAX_REVIEWS: usize = 32;
/// Timeout of a review, the wait for a permit included.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest token that is sent for review.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Why a request to the cluster failed.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// There is no usable configuration.
    #[error("finding the Kubernetes API server")]
    Config(#[source] Box<kube::config::InClusterError>),
    /// The client cannot be created.
    #[error("making a Kubernetes client")]
    Client(#[source] api_server::BoxError),
    /// The token is not of this cluster, not for lictor, or expired; final.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request to the API server failed; retryable.
    #[error("asking the Kubernetes API server")]
    Api(#[source] Box<kube::Error>),
    /// The API server did not respond in time; retryable.
    #[error("the Kubernetes API server did not answer in time")]
    Timeout,
}

/// Access to the cluster.
pub struct Kubernetes {
    client: kube::Client,
    settings: Settings,
    reviewed: Mutex<HashMap<[u8; 32], (Instant, Identity)>>,
    reviews: Semaphore,
}

impl Kubernetes {
    /// Creates a client with the pod's own configuration: servers that review tokens run in the
    /// cluster. Sends nothing yet.
    ///
    /// # Errors
    /// [`KubernetesError::Config`] and [`KubernetesError::Client`].
    pub async fn connect(settings: Settings) -> Result<Self, KubernetesError> {
        let (client, _) = api_server::connect()?;
        Ok(Self {
            client,
            settings,
            reviewed: Mutex::default(),
            reviews: Semaphore::new(MAX_REVIEWS),
        })
    }

    /// Returns the owner of a token, from the cache or from a review.
    ///
    /// # Errors
    /// [`KubernetesError::Refused`] for an invalid token; others are retryable.
    pub async fn identify(&self, token: &str) -> Result<Identity, KubernetesError> {
        if token.len() > MAX_TOKEN_BYTES || token.split('.').count() != 3 {
            return Err(Refusal::NotAToken.into());
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        if let Some(identity) = self.cached(&key) {
            return Ok(identity);
        }
        let review = tokio::time::timeout(REVIEW_TIMEOUT, self.review(token));
        let identity = review.await.map_err(|_| KubernetesError::Timeout)??;
        self.cache(key, identity.clone());
        Ok(identity)
    }

    /// Returns the caller of an HTTP request with this token: the operator, or an anonymous caller.
    pub async fn caller(&self, token: &str) -> Caller {
        match self.identify(token).await {
            Ok(identity) if identity.account() == self.settings.operator_service_account => {
                Caller::Operator
            }
            Ok(_) => Caller::Anonymous,
            Err(error) => {
                tracing::debug!(%error, "token not accepted");
                Caller::Anonymous
            }
        }
    }

    /// Returns the name of the ConfigMap that distributes the mesh's roots.
    pub fn roots_config_map(&self) -> &str {
        &self.settings.roots_config_map
    }

    /// Writes a ConfigMap in the servers' namespace by forced server-side apply, because lictor
    /// owns it.
    ///
    /// # Errors
    /// [`KubernetesError::Api`].
    pub async fn apply_config_map(
        &self,
        name: &str,
        data: [(&'static str, &str); 2],
    ) -> Result<(), KubernetesError> {
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": self.settings.namespace },
            "data": std::collections::BTreeMap::from(data),
        });
        Api::<ConfigMap>::namespaced(self.client.clone(), &self.settings.namespace)
            .patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(map))
            .await
            .map_err(|error| KubernetesError::Api(Box::new(error)))?;
        Ok(())
    }

    async fn review(&self, token: &str) -> Result<Identity, KubernetesError> {
        let _permit = self.reviews.acquire().await.map_err(|_| KubernetesError::Timeout)?;
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![self.settings.audience.clone()]),
            },
            ..TokenReview::default()
        };
        let review = Api::<TokenReview>::all(self.client.clone())
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| KubernetesError::Api(Box::new(error)))?;
        Ok(Identity::reviewed(review.status.unwrap_or_default(), &self.settings.audience)?)
    }

    fn cached(&self, key: &[u8; 32]) -> Option<Identity> {
        // Inserts and removes are single steps, so a poisoned lock is safe to use.
        let reviewed = self.reviewed.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, identity) = reviewed.get(key)?;
        (at.elapsed() < REVIEW_TTL).then(|| identity.clone())
    }

    fn cache(&self, key: [u8; 32], identity: Identity) {
        let mut reviewed = self.reviewed.lock().unwrap_or_else(PoisonError::into_inner);
        if reviewed.len() >= MAX_REVIEWED {
            reviewed.retain(|_, (at, _)| at.elapsed() < REVIEW_TTL);
        }
        if reviewed.len() < MAX_REVIEWED {
            reviewed.insert(key, (Instant::now(), identity));
        }
    }
}
