//! The built-in certificate authority: the mesh's roots, and certificates signed by them.
//!
//! The leader creates the first root. Roots, settings and the signing key are replicated, so any
//! server signs by itself. INVARIANT: no response carries the signing key, and the identity in a
//! certificate is set by the caller of [`Authority::sign`], never by the request.
//!
//! Consul pages: "Connect certificate authority", "Connect certificates". Deliberately absent:
//! providers other than the built-in one, intermediates for other datacenters, pruning of old
//! roots.

pub mod leaf;
pub mod publish;
pub mod roots;
pub mod server_tls;
pub mod sign;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use lictor_api::{
    SpiffeId,
    types::connect::{BuiltinCaConfig, LeafCert},
};
use lictor_core::{
    fsm::{CaCommand, Command},
    state::{CertificateAuthority, State, Topic, WatchSet},
};
use lictor_transport::tls::auto_encrypt::{SignAnswer, SignRequest};
use tokio_util::sync::CancellationToken;

use crate::{
    rate::Bucket,
    server::{Server, ServerError},
};
use leaf::Leaves;
use roots::NewRoot;
use sign::{Identity, Issued, RequestError};

/// How long a request waits for the first leader to create the authority.
const START_TIMEOUT: Duration = Duration::from_secs(7);
/// Pause before the leader retries to create the authority.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Why the authority rejected or failed a request.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The first leader has not created it yet. Retryable.
    #[error("the certificate authority is not initialized")]
    NotInitialized,
    /// More requests than `CSRMaxPerSecond`. Retryable.
    #[error("Rate limit reached, try again later")]
    RateLimited,
    /// The request is invalid; final.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The service name is not valid in a certificate; final.
    #[error("service name {0:?} must be 1 to 128 letters, digits, '-', '_' or '.'")]
    ServiceName(String),
    /// The name is not valid in a client agent's certificate; final.
    #[error("{0:?} cannot stand in a client agent's certificate")]
    AgentName(String),
    /// The new settings are invalid; final.
    #[error("invalid certificate authority configuration: {0}")]
    Config(String),
    /// The root has expired: the operator must rotate it.
    #[error("the active root certificate has expired")]
    RootExpired,
    /// The root cannot be parsed.
    #[error("the root is not a valid certificate")]
    BadRoot,
    /// The certificate library failed.
    #[error("{action}")]
    Certificate {
        /// What was attempted.
        action: &'static str,
        /// The cause.
        source: rcgen::Error,
    },
    /// The cluster could not read or commit.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl CaError {
    fn certificate(action: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |source| Self::Certificate { action, source }
    }
}

/// Installs aws-lc-rs as the process's TLS and certificate provider. Idempotent.
pub fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have won the race, with the same provider.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    }
}

/// A signed service certificate with the authority that signed it.
#[derive(Debug)]
pub struct Signed {
    /// The certificate.
    pub issued: Issued,
    /// Its identity.
    pub spiffe_id: SpiffeId,
    /// The authority at that time.
    pub ca: Arc<CertificateAuthority>,
}

/// This agent's access to the authority.
pub struct Authority {
    server: Arc<Server>,
    datacenter: String,
    limit: Bucket,
    leaves: Leaves,
}

impl Authority {
    /// Returns the access of `server` to its cluster's authority.
    pub fn new(server: Arc<Server>, datacenter: impl Into<String>) -> Self {
        Self {
            server,
            datacenter: datacenter.into(),
            limit: Bucket::default(),
            leaves: Leaves::default(),
        }
    }

    /// Creates the authority whenever this server leads and there is none, until `shutdown`.
    pub async fn run(&self, config: &BuiltinCaConfig, shutdown: CancellationToken) {
        let mut leader = self.server.consensus().leader();
        loop {
            let leads = leader.borrow_and_update().as_ref().is_some_and(|leader| leader.is_self);
            let mut retry = false;
            if leads && self.server.store().snapshot().ca.is_none() {
                match self.initialize(config).await {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::warn!(%error, "certificate authority not made yet, trying again");
                        retry = true;
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = leader.changed() => if changed.is_err() {
                    // Consensus stopped, and reports that itself.
                    return shutdown.cancelled().await;
                },
                () = tokio::time::sleep(RETRY_INTERVAL), if retry => {}
            }
        }
    }

    /// Creates the authority unless there is one.
    ///
    /// # Errors
    /// [`CaError`]; the caller may retry.
    pub async fn initialize(&self, config: &BuiltinCaConfig) -> Result<(), CaError> {
        // The whole log must be applied before the absence of an authority is certain.
        self.server.barrier(lictor_api::query::Consistency::Consistent).await?;
        if self.server.store().snapshot().ca.is_some() {
            return Ok(());
        }
        let cluster_id = match config.cluster_id.as_str() {
            "" => uuid::Uuid::new_v4().to_string(),
            given => given.to_ascii_lowercase(),
        };
        let NewRoot { root, key } = roots::create(&cluster_id, config, None, SystemTime::now())?;
        let id = root.id.clone();
        let made = self
            .propose(CaCommand::Initialize {
                cluster_id: cluster_id.clone(),
                config: config.clone(),
                root,
                signing_key: key,
            })
            .await?;
        if made {
            tracing::info!(trust_domain = %format!("{cluster_id}.consul"), root = %id,
                "certificate authority made");
        }
        Ok(())
    }

    /// Returns the authority; waits up to seven seconds for the first leader to create it.
    ///
    /// # Errors
    /// [`CaError::NotInitialized`] at the timeout.
    pub async fn current(&self) -> Result<Arc<CertificateAuthority>, CaError> {
        let made = self.server.store().wait_for(|state: &State, topics: &mut WatchSet| {
            topics.add(Topic::Roots);
            state.ca.clone()
        });
        tokio::time::timeout(START_TIMEOUT, made).await.map_err(|_| CaError::NotInitialized)
    }

    /// Signs a certificate request for the identity of `service`, which the caller has authorized.
    ///
    /// # Errors
    /// [`CaError`]; nothing was signed.
    pub async fn sign(&self, csr_der: &[u8], service: &str) -> Result<Signed, CaError> {
        sign::check_service_name(service)?;
        let ca = self.current().await?;
        let spiffe_id = SpiffeId::service(&ca.trust_domain(), &self.datacenter, service);
        let key = sign::public_key(csr_der, &spiffe_id)?;
        self.admit(&ca)?;
        let identity = Identity::Service { datacenter: &self.datacenter, service };
        let issued = sign::issue(&ca, &key, identity, SystemTime::now())?;
        Ok(Signed { issued, spiffe_id, ca })
    }

    /// Signs a client agent's certificate request (`auto_encrypt`); the caller has authorized its
    /// node name.
    ///
    /// # Errors
    /// [`CaError`]; nothing was signed.
    pub async fn sign_agent(&self, request: &SignRequest) -> Result<SignAnswer, CaError> {
        sign::check_agent_names(&request.node, &request.dns_san)?;
        let ca = self.current().await?;
        let id = SpiffeId::agent(&ca.trust_domain(), &self.datacenter, &request.node);
        let key = sign::public_key(&request.csr, &id)?;
        self.admit(&ca)?;
        let addresses = request.ip_san.iter().map(ToString::to_string);
        let names: Vec<String> = request.dns_san.iter().cloned().chain(addresses).collect();
        let identity =
            Identity::Agent { datacenter: &self.datacenter, node: &request.node, names: &names };
        let issued = sign::issue(&ca, &key, identity, SystemTime::now())?;
        Ok(SignAnswer {
            chain: issued.chain.iter().map(|certificate| certificate.to_vec()).collect(),
            not_after: issued.not_after,
        })
    }

    /// Returns the cached certificate and key of `service`; blocks while their index is `index`, up
    /// to `wait`.
    ///
    /// # Errors
    /// [`CaError`] when there is no valid certificate and none can be signed.
    pub async fn leaf(
        &self,
        service: &str,
        index: u64,
        wait: Duration,
    ) -> Result<LeafCert, CaError> {
        self.leaves.get(self, service, index, wait).await
    }

    /// Changes the settings. A new private key rotates the root; the old root cross-signs the new
    /// one unless `force` is set.
    ///
    /// # Errors
    /// [`CaError::Config`] names the invalid setting; nothing is changed.
    pub async fn configure(
        &self,
        config: BuiltinCaConfig,
        key_pem: Option<&str>,
        root_pem: Option<&str>,
        force: bool,
    ) -> Result<(), CaError> {
        check_config(&config)?;
        let old = self.current().await?;
        let Some(key_pem) = key_pem.filter(|pem| *pem != old.signing_key.expose()) else {
            self.propose(CaCommand::Configure { config }).await?;
            return Ok(());
        };
        let now = SystemTime::now();
        let mut new = match root_pem {
            Some(root_pem) => roots::adopt(&old.cluster_id, root_pem, key_pem)?,
            None => roots::create(&old.cluster_id, &config, Some(key_pem), now)?,
        };
        if !force {
            new.root.intermediate_certs.push(roots::cross_sign(&old, &new, now)?);
        }
        let id = new.root.id.clone();
        self.propose(CaCommand::Rotate { config, root: new.root, signing_key: new.key }).await?;
        tracing::info!(root = %id, "root certificate rotated");
        Ok(())
    }

    /// Enforces `CSRMaxPerSecond`; 0 means no limit.
    fn admit(&self, ca: &CertificateAuthority) -> Result<(), CaError> {
        let rate = f64::from(ca.config.csr_max_per_second);
        match rate == 0.0 || self.limit.take(rate, rate) {
            true => Ok(()),
            false => Err(CaError::RateLimited),
        }
    }

    async fn propose(&self, command: CaCommand) -> Result<bool, ServerError> {
        self.server.propose(Command::Ca(Box::new(command))).await
    }
}

fn check_config(config: &BuiltinCaConfig) -> Result<(), CaError> {
    const HOUR: Duration = Duration::from_secs(3600);
    let (leaf, root) = (config.leaf_cert_ttl.0, config.root_cert_ttl.0);
    if leaf < HOUR {
        return Err(CaError::Config("leaf cert TTL must be greater or equal than 1h0m0s".into()));
    }
    if leaf > HOUR * 8760 {
        return Err(CaError::Config("leaf cert TTL must be less than 8760h0m0s".into()));
    }
    if root <= leaf {
        return Err(CaError::Config("root cert TTL must be greater than the leaf cert TTL".into()));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
