//! TLS of the agent's own listeners: HTTPS and gRPC.
//!
//! gRPC serves with a certificate of the mesh, because its clients know the mesh's roots and
//! nothing else. HTTPS serves with the operator's files, or with the mesh's certificate where
//! `tls.auto` says so. The mesh's certificate is made again at about 70% of its life and whenever
//! the active root changes; open connections keep the one they began with.
//!
//! Listeners open before there is a certificate; until then handshakes fail.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::KeyPair;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_util::sync::CancellationToken;

use super::{
    Authority, CaError,
    sign::{self, Identity},
};
use crate::{
    config::{RuntimeConfig, runtime::TlsProtocol},
    http::server::TlsConfig,
    state::{State, Topic, WatchSet},
};

/// Pause after a certificate could not be made.
const RETRY: Duration = Duration::from_secs(3);

/// Why the configured files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("reading {what} {}", path.display())]
    File {
        /// What it should be.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not fit, or are of an unknown kind.
    #[error("using certificate {}", path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// `verify_incoming` without anybody to trust.
    #[error(
        "tls.defaults.verify_incoming needs tls.defaults.ca_file with at least one certificate"
    )]
    NoClientRoots,
}

/// The TLS settings of both kinds of listeners, swapped while they serve.
pub struct ListenerTls {
    /// HTTPS.
    pub https: TlsConfig,
    /// gRPC.
    pub grpc: TlsConfig,
    /// Whose client certificates HTTPS asks for.
    clients: Option<Arc<RootCertStore>>,
}

impl ListenerTls {
    /// Loads the operator's files, if there are any.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(config: &RuntimeConfig) -> Result<Self, TlsError> {
        let tls = &config.tls;
        let clients = client_roots(&tls.https)?;
        let https = TlsConfig::default();
        if let (Some(certificate), Some(key)) = (&tls.https.cert_file, &tls.https.key_file) {
            let chain = certificates("certificate", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
                what: "key",
                path: key.clone(),
                source,
            })?;
            let server = server_config(chain, key, clients.clone())
                .map_err(|source| TlsError::Certificate { path: certificate.clone(), source })?;
            https.store(Some(Arc::new(server)));
        } else if !tls.auto && !config.listen.https.is_empty() {
            tracing::warn!("HTTPS has no certificate: set tls.defaults.cert_file or tls.auto");
        }
        Ok(Self { https, grpc: TlsConfig::default(), clients })
    }

    /// Keeps the mesh's certificate on the listeners that use it, until `shutdown`.
    pub async fn keep(
        &self,
        authority: &Authority,
        config: &RuntimeConfig,
        shutdown: CancellationToken,
    ) {
        let tls = &config.tls;
        let https = tls.auto && tls.https.cert_file.is_none() && !config.listen.https.is_empty();
        if !https && config.listen.grpc_tls.is_empty() {
            return;
        }
        let names = names(config);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.serve_one(authority, &names, https) => {}
            }
        }
    }

    /// Makes a certificate, serves with it, and returns when it is time for another.
    async fn serve_one(&self, authority: &Authority, names: &[String], https: bool) {
        let made = match authority.server_certificate(names).await {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(%error, "no certificate for the listeners yet, trying again");
                return tokio::time::sleep(RETRY).await;
            }
        };
        match (made.server_config(None), made.server_config(self.clients.clone())) {
            (Ok(grpc), Ok(own)) => {
                self.grpc.store(Some(Arc::new(grpc)));
                if https {
                    self.https.store(Some(Arc::new(own)));
                }
                authority.wait_until_old(&made).await;
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "listeners cannot use the mesh's certificate");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// A certificate for this server's listeners, with its key.
struct Made {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    root_id: String,
    renew_in: Duration,
}

impl Made {
    fn server_config(
        &self,
        clients: Option<Arc<RootCertStore>>,
    ) -> Result<ServerConfig, rustls::Error> {
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        server_config(self.chain.clone(), key, clients)
    }
}

impl Authority {
    async fn server_certificate(&self, names: &[String]) -> Result<Made, CaError> {
        let ca = self.current().await?;
        let key =
            KeyPair::generate().map_err(CaError::certificate("generating a listener's key"))?;
        let issued = sign::issue(&ca, &key, Identity::Server { names }, SystemTime::now())?;
        let end = UNIX_EPOCH + Duration::from_secs(issued.not_after.max(0).cast_unsigned());
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        let renew_in = left.mul_f64(rand::random_range(0.65..0.75));
        Ok(Made { chain: issued.chain, key, root_id: issued.root_id, renew_in })
    }

    /// Returns when a certificate should be made again.
    async fn wait_until_old(&self, made: &Made) {
        let other_root = self.server.store().wait_for(|state: &State, topics: &mut WatchSet| {
            topics.add(Topic::Roots);
            let active = state.ca.as_ref()?.active_root()?;
            (active.id != made.root_id).then_some(())
        });
        tokio::select! {
            () = other_root => {}
            () = tokio::time::sleep(made.renew_in) => {}
        }
    }
}

/// What clients may call this server.
fn names(config: &RuntimeConfig) -> Vec<String> {
    let mut names = vec![
        format!("server.{}.{}", config.datacenter, config.domain),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    for name in &config.tls.auto_names {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<Arc<RootCertStore>>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?,
        ),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Whose client certificates HTTPS asks for; `None` when it asks for none.
fn client_roots(config: &TlsProtocol) -> Result<Option<Arc<RootCertStore>>, TlsError> {
    if !config.verify_incoming {
        return Ok(None);
    }
    let path = config.ca_file.as_deref().ok_or(TlsError::NoClientRoots)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("certificate authorities", path)?);
    if roots.is_empty() {
        return Err(TlsError::NoClientRoots);
    }
    Ok(Some(Arc::new(roots)))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { what, path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

#[cfg(test)]
mod tests;
