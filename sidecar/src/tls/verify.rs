//! Verifies peers: a chain to the mesh's roots, then exactly one SPIFFE ID.
//!
//! rustls-webpki verifies the chain; host names are ignored. A client accepts only the ID that the
//! servers list for the endpoint; a server accepts any service of its own trust domain (the policy
//! decides whether it may connect, not TLS). SPIFFE X.509-SVID §4 and §5.2: exactly one URI.
//! Revocation lists are not used: leaves are short-lived, and an intention cuts a peer off sooner.

use std::sync::Arc;

use lictor_api::{SpiffeId, tls::algorithms, verify_signatures};
use rustls::{
    CertificateError as TlsCertificateError, DistinguishedName, OtherError,
    client::danger::{ServerCertVerified, ServerCertVerifier},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::material::Roots;

/// Why a peer's certificate was rejected although TLS itself is in order.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    #[error("the certificate does not chain to a root of the mesh: {0}")]
    Chain(String),
    #[error("the certificate has {0} URI names, expected exactly one SPIFFE ID")]
    NotOneUri(usize),
    #[error("the certificate's name is {0}")]
    Name(lictor_api::spiffe::InvalidSpiffeId),
    #[error("the peer is {actual}, expected {expected}")]
    OtherService { actual: Box<SpiffeId>, expected: Box<SpiffeId> },
    #[error("the peer is {actual}, which is no service of trust domain {expected}")]
    OtherTrustDomain { actual: Box<SpiffeId>, expected: String },
}

impl From<Refused> for rustls::Error {
    fn from(refused: Refused) -> Self {
        Self::InvalidCertificate(TlsCertificateError::Other(OtherError(Arc::new(refused))))
    }
}

/// Returns the one SPIFFE ID in a certificate.
///
/// # Errors
/// The certificate cannot be parsed, or does not have exactly one URI that is a SPIFFE ID.
pub(crate) fn spiffe_id(certificate: &CertificateDer<'_>) -> Result<SpiffeId, Refused> {
    let parsed = EndEntityCert::try_from(certificate).map_err(unreadable)?;
    let uris: Vec<&str> = parsed.valid_uri_names().collect();
    match uris[..] {
        [uri] => uri.parse().map_err(Refused::Name),
        _ => Err(Refused::NotOneUri(uris.len())),
    }
}

fn unreadable(error: webpki::Error) -> Refused {
    Refused::Unreadable(error.to_string())
}

/// Checks that the certificate chains to a root at `now` and may be used for `usage`.
fn verify_chain(
    roots: &Roots,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    usage: KeyUsage,
) -> Result<(), Refused> {
    EndEntityCert::try_from(end_entity)
        .map_err(unreadable)?
        .verify_for_usage(algorithms().all, roots.anchors(), intermediates, now, usage, None, None)
        .map(drop)
        .map_err(|error| Refused::Chain(error.to_string()))
}

/// Accepts only the endpoint that the connection is for.
#[derive(Debug)]
pub(crate) struct ExactPeer {
    pub(crate) roots: Arc<Roots>,
    pub(crate) expected: SpiffeId,
}

/// Accepts every service of our trust domain; a client without a certificate is rejected.
#[derive(Debug)]
pub(crate) struct AnyService {
    pub(crate) roots: Arc<Roots>,
}

impl ServerCertVerifier for ExactPeer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_chain(&self.roots, end_entity, intermediates, now, KeyUsage::server_auth())?;
        let actual = spiffe_id(end_entity)?;
        if actual != self.expected {
            let (actual, expected) = (Box::new(actual), Box::new(self.expected.clone()));
            return Err(Refused::OtherService { actual, expected }.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!(tls13);
}

impl ClientCertVerifier for AnyService {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        verify_chain(&self.roots, end_entity, intermediates, now, KeyUsage::client_auth())?;
        let actual = spiffe_id(end_entity)?;
        let expected = self.roots.trust_domain();
        if actual.trust_domain() != expected || actual.service_name().is_none() {
            let (actual, expected) = (Box::new(actual), expected.to_owned());
            return Err(Refused::OtherTrustDomain { actual, expected }.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    verify_signatures!(tls13);
}
