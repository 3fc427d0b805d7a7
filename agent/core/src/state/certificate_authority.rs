//! The mesh's certificate authority as replicated among the servers.
//!
//! The signing key is replicated, because any server may become leader and sign; it leaves the
//! servers in no response and no log line.

use std::fmt;

use lictor_api::types::connect::{BuiltinCaConfig, CaRoot, CaRootList};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};

/// A private key in PEM; prints as `<redacted>`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKeyPem(String);

impl PrivateKeyPem {
    /// Takes ownership of a PEM text.
    pub fn new(pem: String) -> Self {
        Self(pem)
    }

    /// Returns the key itself, for signing and for snapshots.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Roots, settings and the signing key.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CertificateAuthority {
    /// UUID; the trust domain is `<cluster id>.consul`.
    pub cluster_id: String,
    /// Settings.
    pub config: BuiltinCaConfig,
    /// Trusted roots; exactly one is active.
    pub roots: Vec<CaRoot>,
    /// Key of the active root, PKCS #8.
    pub signing_key: PrivateKeyPem,
    /// Raft index of the settings' creation.
    pub create_index: u64,
    /// Raft index of the settings' last change.
    pub config_index: u64,
    /// Raft index of the roots' last change.
    pub roots_index: u64,
}

impl CertificateAuthority {
    /// Returns the trust domain, `<cluster id>.consul`.
    pub fn trust_domain(&self) -> String {
        format!("{}.consul", self.cluster_id)
    }

    /// Returns the root that signs new leaves.
    pub fn active_root(&self) -> Option<&CaRoot> {
        self.roots.iter().find(|root| root.active)
    }

    /// Returns the response of the roots endpoints.
    pub fn root_list(&self) -> CaRootList {
        CaRootList {
            active_root_id: self.active_root().map(|root| root.id.clone()).unwrap_or_default(),
            trust_domain: self.trust_domain(),
            roots: self.roots.clone(),
        }
    }

    /// Returns all trusted roots, one PEM block after the other.
    pub fn bundle_pem(&self) -> String {
        self.roots.iter().map(|root| format!("{}\n", root.root_cert.trim_end())).collect()
    }

    /// Returns all trusted roots in DER. An unreadable root is never accepted, so none is omitted.
    pub fn bundle_der(&self) -> Vec<CertificateDer<'static>> {
        let der = |root: &CaRoot| CertificateDer::from_pem_slice(root.root_cert.as_bytes()).ok();
        self.roots.iter().filter_map(der).collect()
    }
}
