//! Parsed certificates: the mesh's roots, and a leaf with its private key.
//!
//! Both are checked when they are parsed, so that every value is usable. Only TLS gets the private
//! key of a [`Leaf`]; no text that this module prints contains it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lictor_api::{SpiffeId, mesh::v1};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, pem::PemObject as _};

use super::verify::spiffe_id;

/// A certificate, key or root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM, or without the expected section.
    #[error("reading PEM")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// The key is of no supported algorithm, or is not the certificate's.
    #[error("using the private key")]
    Key(#[from] rustls::Error),
    /// A root is not an X.509 certificate.
    #[error("root {number} of {of} is not a usable certificate")]
    Root {
        /// Position, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// What is wrong.
        source: webpki::Error,
    },
    /// The list of roots is empty.
    #[error("there is no root certificate")]
    NoRoots,
    /// The chain is empty.
    #[error("there is no certificate")]
    NoCertificate,
    /// The certificate names no service, or several.
    #[error("the certificate's identity cannot be used: {0}")]
    Identity(String),
    /// The lifetime cannot be read.
    #[error("the certificate's lifetime cannot be read")]
    Lifetime(#[from] x509_parser::nom::Err<x509_parser::error::X509Error>),
}

/// The trusted root certificates of the mesh.
pub struct Roots {
    trust_domain: String,
    der: Vec<Vec<u8>>,
    anchors: Vec<TrustAnchor<'static>>,
}

/// A service's certificate with its private key; only TLS gets the key.
#[derive(Clone)]
pub struct Leaf {
    key: Arc<CertifiedKey>,
    summary: LeafSummary,
}

/// The public facts of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafSummary {
    /// The service it identifies.
    pub spiffe_id: SpiffeId,
    /// Start of its validity.
    pub not_before: SystemTime,
    /// End of its validity.
    pub not_after: SystemTime,
}

impl Roots {
    /// Parses certificates in DER.
    ///
    /// # Errors
    /// The list is empty, or one root cannot be used.
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

    /// Parses a PEM file's content.
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

impl Leaf {
    /// Parses a chain in DER, leaf first, and its private key.
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

    /// Parses PEM: the chain, leaf first, and the key.
    ///
    /// # Errors
    /// As [`Self::from_der`], or it is not PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?;
        Self::from_der(chain, PrivateKeyDer::from_pem_slice(key)?)
    }

    /// Returns the resolver that presents this certificate in handshakes.
    pub(crate) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.key)))
    }

    /// Returns whether both are the same value, not merely equal certificates.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.key, &other.key)
    }

    /// Returns the certificate's identity and validity.
    pub fn summary(&self) -> &LeafSummary {
        &self.summary
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("summary", &self.summary).finish_non_exhaustive()
    }
}
