//! The current certificate and roots, ready for handshakes.
//!
//! Leaf and roots change independently; either change publishes a new [`Identity`] in one step.
//! A handshake takes the identity of its moment, and open connections keep the keys they have, so
//! a renewal drops nothing. Sessions are not resumed: a resumed session would skip the check of
//! the peer's certificate against roots and names that may have changed since.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lictor_api::{SpiffeId, mesh::v1};
use rustls::{ClientConfig, ServerConfig, client::Resumption, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, pem::PemObject as _};
use tokio::sync::watch;

use super::verify::{AnyService, ExactPeer, spiffe_id};

/// A certificate, key or root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM, or not the kind of PEM.
    #[error("reading PEM")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// The key fits no algorithm, or not the certificate.
    #[error("using the private key")]
    Key(#[from] rustls::Error),
    /// A root that is no X.509 certificate.
    #[error("root {number} of {of} is not a usable certificate")]
    Root {
        /// Position, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// What is wrong.
        source: webpki::Error,
    },
    /// Nothing to trust.
    #[error("there is no root certificate")]
    NoRoots,
    /// Nothing to present.
    #[error("there is no certificate")]
    NoCertificate,
    /// The certificate names no service, or several.
    #[error("the certificate's identity cannot be used: {0}")]
    Identity(String),
    /// The lifetime cannot be read.
    #[error("the certificate's lifetime cannot be read")]
    Lifetime(#[from] x509_parser::nom::Err<x509_parser::error::X509Error>),
}

/// What the mesh trusts.
pub struct Roots {
    trust_domain: String,
    der: Vec<Vec<u8>>,
    anchors: Vec<TrustAnchor<'static>>,
}

/// A service's certificate with its key, which leaves this type only into TLS.
#[derive(Clone)]
pub struct Leaf {
    key: Arc<CertifiedKey>,
    summary: LeafSummary,
}

/// What may be said about a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafSummary {
    /// Whose it is.
    pub spiffe_id: SpiffeId,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
}

/// Holds what is current; see the module's words.
#[derive(Debug, Default)]
pub(crate) struct Certs {
    parts: Mutex<Parts>,
    current: watch::Sender<Option<Arc<Identity>>>,
}

#[derive(Debug, Default)]
struct Parts {
    leaf: Option<Leaf>,
    roots: Option<Arc<Roots>>,
}

/// A leaf and the roots to check peers with, compiled for handshakes.
pub(crate) struct Identity {
    leaf: Leaf,
    roots: Arc<Roots>,
    server: Arc<ServerConfig>,
}

// === impl Roots ===

impl Roots {
    /// From certificates in DER.
    ///
    /// # Errors
    /// There is none, or one cannot be used.
    pub fn from_der(trust_domain: &str, der: Vec<Vec<u8>>) -> Result<Self, CertificateError> {
        let of = der.len();
        let mut anchors = Vec::with_capacity(of);
        for (number, root) in (1..).zip(&der) {
            let root = CertificateDer::from(root.as_slice());
            let anchor = webpki::anchor_from_trusted_cert(&root)
                .map_err(|source| CertificateError::Root { number, of, source })?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err(CertificateError::NoRoots);
        }
        Ok(Self { trust_domain: trust_domain.to_ascii_lowercase(), der, anchors })
    }

    /// From a PEM file's content.
    ///
    /// # Errors
    /// As [`Self::from_der`], or it is not PEM.
    pub fn from_pem(trust_domain: &str, pem: &[u8]) -> Result<Self, CertificateError> {
        let der = CertificateDer::pem_slice_iter(pem)
            .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
            .collect::<Result<_, _>>()?;
        Self::from_der(trust_domain, der)
    }

    pub(crate) fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

impl TryFrom<v1::Roots> for Roots {
    type Error = CertificateError;

    fn try_from(roots: v1::Roots) -> Result<Self, Self::Error> {
        Self::from_der(&roots.trust_domain, roots.roots_der)
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain && self.der == other.der
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({} of {})", self.der.len(), self.trust_domain)
    }
}

// === impl Leaf ===

impl Leaf {
    /// From a chain in DER, leaf first, and its private key.
    ///
    /// # Errors
    /// The chain is empty, the key is not its key, or the leaf has no single SPIFFE ID.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        let first = chain.first().ok_or(CertificateError::NoCertificate)?;
        let id = spiffe_id(first).map_err(|error| CertificateError::Identity(error.to_string()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(first)?;
        let time = |time: x509_parser::time::ASN1Time| {
            UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
        };
        let summary = LeafSummary {
            spiffe_id: id,
            not_before: time(parsed.validity().not_before),
            not_after: time(parsed.validity().not_after),
        };
        let key = CertifiedKey::from_der(chain, key, &super::provider())?;
        Ok(Self { key: Arc::new(key), summary })
    }

    /// From PEM: the chain, leaf first, and the key.
    ///
    /// # Errors
    /// As [`Self::from_der`], or it is not PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?;
        Self::from_der(chain, PrivateKeyDer::from_pem_slice(key)?)
    }

    /// Whose it is and how long it lives.
    pub fn summary(&self) -> &LeafSummary {
        &self.summary
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("summary", &self.summary).finish_non_exhaustive()
    }
}

// === impl Certs ===

impl Certs {
    /// Follows the current identity; `None` until leaf and roots are both there.
    pub(crate) fn current(&self) -> &watch::Sender<Option<Arc<Identity>>> {
        &self.current
    }

    pub(crate) fn set_leaf(&self, leaf: Leaf) {
        self.change(|parts| parts.leaf = Some(leaf));
    }

    pub(crate) fn set_roots(&self, roots: Arc<Roots>) {
        self.change(|parts| {
            if parts.roots.as_ref() != Some(&roots) {
                parts.roots = Some(roots);
            }
        });
    }

    /// The roots that came with a certificate, for as long as the stream has brought none.
    pub(crate) fn set_first_roots(&self, roots: Roots) {
        self.change(|parts| {
            parts.roots.get_or_insert_with(|| Arc::new(roots));
        });
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut parts);
        let (Some(leaf), Some(roots)) = (&parts.leaf, &parts.roots) else { return };
        self.current.send_if_modified(|current| {
            if current.as_ref().is_some_and(|identity| identity.is_of(leaf, roots)) {
                return false;
            }
            *current = Some(Arc::new(Identity::new(leaf.clone(), Arc::clone(roots))));
            true
        });
    }
}

// === impl Identity ===

impl Identity {
    fn new(leaf: Leaf, roots: Arc<Roots>) -> Self {
        let verifier = Arc::new(AnyService { roots: Arc::clone(&roots) });
        let mut server = ServerConfig::builder_with_provider(super::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has suites for TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(
                &leaf.key,
            ))));
        server.send_tls13_tickets = 0;
        Self { leaf, roots, server: Arc::new(server) }
    }

    fn is_of(&self, leaf: &Leaf, roots: &Arc<Roots>) -> bool {
        Arc::ptr_eq(&self.leaf.key, &leaf.key) && Arc::ptr_eq(&self.roots, roots)
    }

    pub(crate) fn leaf(&self) -> &LeafSummary {
        self.leaf.summary()
    }

    /// For the public listener.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For a connection to the endpoint known as `expected`.
    pub(crate) fn client(&self, expected: &SpiffeId) -> Arc<ClientConfig> {
        let verifier =
            Arc::new(ExactPeer { roots: Arc::clone(&self.roots), expected: expected.clone() });
        let mut client = ClientConfig::builder_with_provider(super::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has suites for TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(
                &self.leaf.key,
            ))));
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Arc::new(client)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("leaf", &self.leaf).field("roots", &self.roots).finish()
    }
}
