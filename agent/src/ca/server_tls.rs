//! TLS of the agent's own listeners: HTTPS and gRPC, and server RPC beside them.
//!
//! gRPC serves a certificate of the mesh unless `tls.grpc` names another, because sidecars trust
//! the mesh's roots only. HTTPS serves the operator's files, or the mesh's certificate if
//! `tls.auto` is set. The mesh's certificate is renewed at about 70% of its lifetime and whenever
//! the active root changes; open connections keep theirs.
//!
//! Listeners open before there is a certificate; handshakes fail until then.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use lictor_api::contract::server_name;
use lictor_config::{
    RuntimeConfig,
    runtime::{MinVersion, TlsProtocol},
};
use lictor_core::state::{State, Topic, WatchSet};
use lictor_transport::tls::{InternalRpc, RpcFiles, StagedRpc, TlsConfig, TlsError, material};
use rcgen::KeyPair;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use super::{
    Authority, CaError,
    sign::{self, Identity},
};

/// Pause after a failed renewal.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// The TLS settings of all listeners, swapped while they serve.
#[derive(Default)]
pub struct ListenerTls {
    /// HTTPS.
    pub https: TlsConfig,
    /// gRPC.
    pub grpc: TlsConfig,
    /// Server RPC, both directions.
    pub rpc: Arc<InternalRpc>,
    /// Roots of the client certificates that HTTPS requires when it serves the mesh's certificate.
    clients: ArcSwapOption<RootCertStore>,
}

/// The configured TLS files of the listeners, loaded and not yet in force.
pub(crate) struct ListenerFiles {
    https: Option<ServerConfig>,
    grpc: Option<ServerConfig>,
    rpc: RpcFiles,
    clients: Option<Arc<RootCertStore>>,
}

impl ListenerFiles {
    /// Loads and validates the operator's files.
    pub(crate) fn load(config: &RuntimeConfig) -> Result<Self, TlsError> {
        let tls = &config.tls;
        Ok(Self {
            https: from_files("https", &tls.https)?,
            grpc: from_files("grpc", &tls.grpc)?,
            rpc: RpcFiles::load(config)?,
            clients: material::client_authorities("https", &tls.https)?,
        })
    }
}

/// Builds a listener's settings from the operator's certificate; `None` without one.
fn from_files(
    protocol: &'static str,
    files: &TlsProtocol,
) -> Result<Option<ServerConfig>, TlsError> {
    let clients = material::client_authorities(protocol, files)?;
    let (Some(identity), Some(path)) = (material::identity(files)?, &files.cert_file) else {
        return Ok(None);
    };
    material::http_server(identity, clients, files.min_version)
        .map(Some)
        .map_err(|source| TlsError::Certificate { path: path.clone(), source })
}

/// Validated files, whose commit cannot fail.
pub(crate) struct Staged<'a> {
    tls: &'a ListenerTls,
    rpc: StagedRpc<'a>,
    https: Option<ServerConfig>,
    grpc: Option<ServerConfig>,
    clients: Option<Arc<RootCertStore>>,
}

impl Staged<'_> {
    /// Puts the files in force.
    pub(crate) fn commit(self) {
        self.rpc.commit();
        for (listener, loaded) in [(&self.tls.https, self.https), (&self.tls.grpc, self.grpc)] {
            if let Some(loaded) = loaded {
                listener.store(Some(Arc::new(loaded)));
            }
        }
        self.tls.clients.store(self.clients);
    }
}

impl ListenerTls {
    /// Loads the operator's files, if there are any, and puts them in force.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(config: &RuntimeConfig) -> Result<Self, TlsError> {
        let this = Self::default();
        this.stage(ListenerFiles::load(config)?)?.commit();
        if this.https.load().is_none() && !config.tls.auto && !config.listen.https.is_empty() {
            tracing::warn!("HTTPS has no certificate: set tls.defaults.cert_file or tls.auto");
        }
        Ok(this)
    }

    /// Validates loaded files, which serve new connections after [`Staged::commit`]. A listener
    /// without files keeps its current settings.
    ///
    /// # Errors
    /// [`TlsError`]; nothing is changed.
    pub(crate) fn stage(&self, files: ListenerFiles) -> Result<Staged<'_>, TlsError> {
        let ListenerFiles { https, grpc, rpc, clients } = files;
        Ok(Staged { tls: self, rpc: self.rpc.stage(rpc)?, https, grpc, clients })
    }

    /// Renews the mesh's certificate of the listeners that use it, until `shutdown`.
    pub async fn run(
        &self,
        authority: &Authority,
        config: &RuntimeConfig,
        shutdown: CancellationToken,
    ) {
        let tls = &config.tls;
        let https = tls.auto && tls.https.cert_file.is_none() && !config.listen.https.is_empty();
        let grpc = tls.grpc.cert_file.is_none() && !config.listen.grpc_tls.is_empty();
        if !https && !grpc {
            return;
        }
        let names = names(config);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.serve_certificate(authority, &names, https, grpc) => {}
            }
        }
    }

    /// Issues a certificate, serves it, and returns when it is due for renewal.
    async fn serve_certificate(
        &self,
        authority: &Authority,
        names: &[String],
        https: bool,
        grpc: bool,
    ) {
        let certificate = match authority.server_certificate(names).await {
            Ok(certificate) => certificate,
            Err(error) => {
                tracing::warn!(%error, "no certificate for the listeners yet, trying again");
                return tokio::time::sleep(RETRY_INTERVAL).await;
            }
        };
        let for_clients = certificate.server_config(self.clients.load_full());
        match (certificate.server_config(None), for_clients) {
            (Ok(for_grpc), Ok(for_https)) => {
                if grpc {
                    self.grpc.store(Some(Arc::new(for_grpc)));
                }
                if https {
                    self.https.store(Some(Arc::new(for_https)));
                }
                authority.wait_until_due(&certificate).await;
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "listeners cannot use the mesh's certificate");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

/// A certificate for this server's listeners, with its key.
struct ListenerCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    root_id: String,
    renew_in: Duration,
}

impl ListenerCertificate {
    fn server_config(
        &self,
        clients: Option<Arc<RootCertStore>>,
    ) -> Result<ServerConfig, rustls::Error> {
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let identity = material::Identity { chain: self.chain.clone(), key };
        material::http_server(identity, clients, MinVersion::Tls12)
    }
}

impl Authority {
    async fn server_certificate(&self, names: &[String]) -> Result<ListenerCertificate, CaError> {
        let ca = self.current().await?;
        let key =
            KeyPair::generate().map_err(CaError::certificate("generating a listener's key"))?;
        let issued = sign::issue(&ca, &key, Identity::Server { names }, SystemTime::now())?;
        let end = UNIX_EPOCH + Duration::from_secs(issued.not_after.max(0).cast_unsigned());
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        let renew_in = left.mul_f64(rand::random_range(0.65..0.75));
        Ok(ListenerCertificate { chain: issued.chain, key, root_id: issued.root_id, renew_in })
    }

    /// Waits until a certificate is due for renewal.
    async fn wait_until_due(&self, certificate: &ListenerCertificate) {
        let other_root = self.server.store().wait_for(|state: &State, topics: &mut WatchSet| {
            topics.add(Topic::Roots);
            let active = state.ca.as_ref()?.active_root()?;
            (active.id != certificate.root_id).then_some(())
        });
        tokio::select! {
            () = other_root => {}
            () = tokio::time::sleep(certificate.renew_in) => {}
        }
    }
}

/// Returns the names by which clients address this server.
fn names(config: &RuntimeConfig) -> Vec<String> {
    let mut names = vec![
        server_name(&config.datacenter, &config.domain),
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

#[cfg(test)]
mod tests;
