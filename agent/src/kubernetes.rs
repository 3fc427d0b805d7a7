//! The Kubernetes cluster that the servers run in: who a token belongs to, and the ConfigMap that
//! hands the mesh's roots to everybody.
//!
//! INVARIANT: a token counts only after the API server has reviewed it for lictor's audience, and
//! for at most [`KEPT`] after that. Tokens appear in no log line and no error; they are kept as
//! SHA-256 only.
//!
//! Source: Kubernetes TokenReview v1, "Bound service account tokens". Nothing is watched here; the
//! operator does that.

mod api_server;
mod identity;
pub mod pods;
mod roots;
mod secret;

pub use identity::{Identity, Pod, Refusal};
pub use secret::create_secret;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::{Api, PostParams};
use tokio::{sync::Semaphore, time::Instant};

use crate::{acl::Caller, config::runtime::Kubernetes as Settings};

/// How long a reviewed token is believed without asking again.
const KEPT: Duration = Duration::from_secs(60);
/// Reviewed tokens that are remembered.
const MAX_KEPT: usize = 16_384;
/// Reviews at the same time.
const MAX_REVIEWS: usize = 32;
/// How long a review may take.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest token that is sent on.
const MAX_TOKEN: usize = 16 * 1024;

/// Why the cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// There is no usable configuration.
    #[error("finding the Kubernetes API server")]
    Config(#[source] Box<kube::config::InClusterError>),
    /// The client cannot be made.
    #[error("making a Kubernetes client")]
    Client(#[source] api_server::BoxError),
    /// The token is not of this cluster, not for lictor, or expired; final.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The API server did not answer; retryable.
    #[error("asking the Kubernetes API server")]
    Api(#[source] Box<kube::Error>),
    /// The API server did not answer in time; retryable.
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
    /// Finds the API server as a pod does: servers that review tokens run in the cluster. Nothing is
    /// sent yet.
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

    /// Who a token belongs to.
    ///
    /// # Errors
    /// [`KubernetesError::Refused`] for a token that proves nothing; others are retryable.
    pub async fn identify(&self, token: &str) -> Result<Identity, KubernetesError> {
        if token.len() > MAX_TOKEN || token.split('.').count() != 3 {
            return Err(Refusal::NotAToken.into());
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        if let Some(identity) = self.remembered(&key) {
            return Ok(identity);
        }
        let review = tokio::time::timeout(REVIEW_TIMEOUT, self.review(token));
        let identity = review.await.map_err(|_| KubernetesError::Timeout)??;
        self.remember(key, identity.clone());
        Ok(identity)
    }

    /// Who sends an HTTP request with this token: the operator, or nobody in particular.
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

    async fn review(&self, token: &str) -> Result<Identity, KubernetesError> {
        let _permit = self.reviews.acquire().await.map_err(|_| KubernetesError::Timeout)?;
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![self.settings.audience.clone()]),
            },
            ..TokenReview::default()
        };
        let answer = Api::<TokenReview>::all(self.client.clone())
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| KubernetesError::Api(Box::new(error)))?;
        Ok(Identity::reviewed(answer.status.unwrap_or_default(), &self.settings.audience)?)
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Identity> {
        // Single inserts and removes: a poisoned lock is as good as any.
        let reviewed = self.reviewed.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, identity) = reviewed.get(key)?;
        (at.elapsed() < KEPT).then(|| identity.clone())
    }

    fn remember(&self, key: [u8; 32], identity: Identity) {
        let mut reviewed = self.reviewed.lock().unwrap_or_else(PoisonError::into_inner);
        if reviewed.len() >= MAX_KEPT {
            reviewed.retain(|_, (at, _)| at.elapsed() < KEPT);
        }
        if reviewed.len() < MAX_KEPT {
            reviewed.insert(key, (Instant::now(), identity));
        }
    }
}
