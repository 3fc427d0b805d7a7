//! `auto_encrypt`: client agents get their certificate from the servers (Consul "Auto-encrypt").
//!
//! The client generates a key, which never leaves it, and sends a request to a server whose
//! certificate it verifies with its own `ca_file`. The server chooses the contents of the
//! certificate: the SPIFFE ID of a client agent. The caller carries the request: it implements
//! [`Issuer`].
//!
//! INVARIANT: [`super::role`] never takes such a certificate for a server's, and a client without
//! its certificate opens no connection but to request it.

use std::{
    future::Future,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lictor_config::RuntimeConfig;
use lictor_core::state::{State, Topic, WatchSet};
use lictor_runtime::backoff::Backoff;
use lictor_store::Store;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use super::{InternalRpc, TlsError, material::Identity};

/// Pauses between attempts: the first and the longest.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(1);
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// A client agent's request for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignRequest {
    /// PKCS #10 in DER; only its key is used.
    pub csr: Vec<u8>,
    /// The agent's datacenter.
    pub datacenter: String,
    /// The agent's node name.
    pub node: String,
    /// DNS names to add to the ID.
    pub dns_san: Vec<String>,
    /// IP addresses to add to the ID.
    pub ip_san: Vec<IpAddr>,
}

/// A signed certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignAnswer {
    /// DER: the agent's certificate, then intermediates.
    pub chain: Vec<Vec<u8>>,
    /// When it expires, in Unix seconds.
    pub not_after: i64,
}

/// Carries a request to a server that signs it.
pub trait Issuer {
    /// Why no certificate was signed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Sends one request; the caller retries.
    fn sign(
        &self,
        request: SignRequest,
    ) -> impl Future<Output = Result<SignAnswer, Self::Error>> + Send;
}

/// Why there is no certificate yet. The one before, if any, stays in force; [`keep`] retries.
#[derive(Debug, thiserror::Error)]
pub enum AskError<E: std::error::Error + 'static> {
    #[error("making a certificate request")]
    Request(#[source] rcgen::Error),
    #[error("asking a server for a certificate")]
    Server(#[source] E),
    #[error("using the certificate that a server signed")]
    Unusable(#[source] TlsError),
    #[error("the server answered without a certificate")]
    Empty,
}

/// Keeps a client agent's certificate in `rpc` current until `shutdown`: requests it, renews it at
/// about 70% of its lifetime, and retries with growing pauses when no server answers.
pub async fn keep(
    rpc: Arc<InternalRpc>,
    issuer: impl Issuer,
    config: Arc<RuntimeConfig>,
    shutdown: CancellationToken,
) {
    let mut backoff = Backoff::new(MIN_RETRY_INTERVAL, MAX_RETRY_INTERVAL);
    loop {
        let asked = tokio::select! {
            () = shutdown.cancelled() => return,
            asked = ask(&rpc, &issuer, &config) => asked,
        };
        let pause = match asked {
            Ok(left) => {
                tracing::info!(seconds_left = left.as_secs(), "certificate received from a server");
                backoff.reset();
                left.mul_f64(rand::random_range(0.65..0.75)).max(MIN_RETRY_INTERVAL)
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no certificate from a server yet, trying again"
                );
                backoff.next_pause()
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Requests a certificate once and puts it in force; returns its remaining lifetime.
///
/// # Errors
/// [`AskError`]; the certificate before it stays.
pub async fn ask<I: Issuer>(
    rpc: &InternalRpc,
    issuer: &I,
    config: &RuntimeConfig,
) -> Result<Duration, AskError<I::Error>> {
    let key = KeyPair::generate().map_err(AskError::Request)?;
    let csr = CertificateParams::default().serialize_request(&key).map_err(AskError::Request)?;
    let request = SignRequest {
        csr: csr.der().to_vec(),
        datacenter: config.datacenter.clone(),
        node: config.node_name.clone(),
        dns_san: config.auto_encrypt.dns_san.clone(),
        ip_san: config.auto_encrypt.ip_san.clone(),
    };
    let answer = issuer.sign(request).await.map_err(AskError::Server)?;
    if answer.chain.is_empty() {
        return Err(AskError::Empty);
    }
    let identity = Identity {
        chain: answer.chain.into_iter().map(CertificateDer::from).collect(),
        key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
    };
    rpc.show(identity).map_err(AskError::Unusable)?;
    let end = UNIX_EPOCH + Duration::from_secs(answer.not_after.max(0).cast_unsigned());
    Ok(end.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Trusts the client agents of the mesh's authority on a server that signs, as its roots change,
/// until `shutdown`.
pub async fn trust_agents(rpc: Arc<InternalRpc>, store: Arc<Store>, shutdown: CancellationToken) {
    let mut trusted = Vec::new();
    loop {
        let changed = store.wait_for(|state: &State, topics: &mut WatchSet| {
            topics.add(Topic::Roots);
            let roots = state.ca.as_deref()?.bundle_der();
            (roots != trusted).then_some(roots)
        });
        let roots = tokio::select! {
            () = shutdown.cancelled() => return,
            roots = changed => roots,
        };
        if let Err(error) = rpc.trust_mesh(roots.clone()) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "client agents of the mesh are not trusted"
            );
        }
        trusted = roots;
    }
}

#[cfg(test)]
mod tests;
