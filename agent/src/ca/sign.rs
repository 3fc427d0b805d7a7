//! Signing: turns a public key and an identity into a certificate.
//!
//! INVARIANT: of a certificate request only the public key is used, and the proof that the sender
//! holds the private key. The identity comes from the server, lifetimes from the authority's
//! settings, and no leaf outlives its root.
//!
//! Sources: RFC 2986 (PKCS #10), RFC 5280, SPIFFE X509-SVID, Consul "Connect certificates".

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lictor_api::SpiffeId;
use lictor_core::state::CertificateAuthority;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
    public_key::PublicKey,
};

use super::{
    CaError,
    roots::{self, BACKDATE},
};

/// The largest request that is parsed; a P-256 request has about 300 bytes.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// The longest service name.
const MAX_SERVICE_NAME_BYTES: usize = 128;

/// The subject of a certificate.
#[derive(Debug, Clone, Copy)]
pub enum Identity<'a> {
    /// A service of the mesh.
    Service {
        /// The issuing datacenter.
        datacenter: &'a str,
        /// The service's name.
        service: &'a str,
    },
    /// A client agent (`auto_encrypt`).
    Agent {
        /// The issuing datacenter.
        datacenter: &'a str,
        /// The agent's node name.
        node: &'a str,
        /// DNS names and IP addresses, as text.
        names: &'a [String],
    },
    /// A server's own listeners: DNS names and IP addresses.
    Server {
        /// Names and addresses, as text.
        names: &'a [String],
    },
}

/// A signed certificate with its metadata.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The leaf, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// ID of the root that signed it.
    pub root_id: String,
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// Start of validity, Unix seconds.
    pub not_before: i64,
    /// End of validity, Unix seconds.
    pub not_after: i64,
}

/// Why a certificate request is rejected; the client's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not PKCS #10.
    #[error("the certificate request is not valid PKCS #10")]
    Syntax,
    /// Proof of possession failed.
    #[error("the certificate request's signature does not match its key")]
    Signature,
    /// The key has a type that is not accepted.
    #[error("the certificate request's key is not ECDSA P-256 or P-384")]
    Key,
    /// CVE-2022-40716: one identity per certificate.
    #[error("the certificate request has {0} URIs, at most one is allowed")]
    Uris(usize),
    /// It requests an identity other than the caller's.
    #[error("the certificate request is for {0:?}, not for service {1:?}")]
    OtherIdentity(String, String),
}

/// Validates a service name for a SPIFFE ID: 1 to 128 letters, digits, `-`, `_`, `.`.
///
/// # Errors
/// [`CaError::ServiceName`].
pub fn check_service_name(name: &str) -> Result<(), CaError> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > MAX_SERVICE_NAME_BYTES || !name.bytes().all(legal) {
        return Err(CaError::ServiceName(name.to_owned()));
    }
    Ok(())
}

/// Validates the names that a client agent requests: a node name under the rules of service names,
/// and DNS names that are not a server's.
///
/// # Errors
/// [`CaError::AgentName`].
pub fn check_agent_names(node: &str, dns_names: &[String]) -> Result<(), CaError> {
    check_service_name(node).map_err(|_| CaError::AgentName(node.to_owned()))?;
    for name in dns_names {
        let lower = name.to_ascii_lowercase();
        let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        if lower.starts_with("server.") || name.is_empty() || !name.bytes().all(legal) {
            return Err(CaError::AgentName(name.clone()));
        }
    }
    Ok(())
}

/// Validates a request for the identity `expected` and returns its public key.
///
/// # Errors
/// [`RequestError`] states why it is rejected.
pub fn public_key(
    csr_der: &[u8],
    expected: &SpiffeId,
) -> Result<SubjectPublicKeyInfo, RequestError> {
    if csr_der.len() > MAX_REQUEST_BYTES {
        return Err(RequestError::Syntax);
    }
    let (rest, request) =
        X509CertificationRequest::from_der(csr_der).map_err(|_| RequestError::Syntax)?;
    if !rest.is_empty() {
        return Err(RequestError::Syntax);
    }
    request.verify_signature().map_err(|_| RequestError::Signature)?;
    let uris = requested_uris(&request);
    if uris.len() > 1 {
        return Err(RequestError::Uris(uris.len()));
    }
    if let Some(uri) = uris.first()
        && uri.parse::<SpiffeId>().as_ref() != Ok(expected)
    {
        let service = expected.service_name().unwrap_or_default().to_owned();
        return Err(RequestError::OtherIdentity((*uri).to_owned(), service));
    }
    let key = &request.certification_request_info.subject_pki;
    match key.parsed() {
        Ok(PublicKey::EC(_)) => {
            SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| RequestError::Key)
        }
        _ => Err(RequestError::Key),
    }
}

fn requested_uris<'a>(request: &'a X509CertificationRequest<'_>) -> Vec<&'a str> {
    let mut uris = Vec::new();
    for extension in request.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension {
            uris.extend(names.general_names.iter().filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            }));
        }
    }
    uris
}

/// Signs a leaf with the active root.
///
/// # Errors
/// [`CaError`]: there is no root, or it has expired.
pub fn issue(
    ca: &CertificateAuthority,
    key: &impl rcgen::PublicKeyData,
    identity: Identity<'_>,
    now: SystemTime,
) -> Result<Issued, CaError> {
    let root = ca.active_root().ok_or(CaError::NotInitialized)?;
    let root_der = roots::certificate_der(&root.root_cert)?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(&root_der).map_err(|_| CaError::BadRoot)?;
    let root_end = UNIX_EPOCH
        + Duration::from_secs(parsed.validity().not_after.timestamp().try_into().unwrap_or(0));
    if root_end <= now {
        return Err(CaError::RootExpired);
    }
    let not_before = now - BACKDATE;
    let not_after = (now + ca.config.leaf_cert_ttl.0).min(root_end);
    let serial = (rand::random::<u128>() >> 1 | 1 << 120).to_be_bytes().to_vec();

    let mut params = CertificateParams::default();
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    params.serial_number = Some(serial.clone().into());
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = alternative_names(ca, identity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DataEncipherment,
        KeyUsagePurpose::KeyAgreement,
    ];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = params
        .signed_by(key, &roots::issuer(ca)?)
        .map_err(CaError::certificate("signing a certificate"))?;

    let mut chain = vec![leaf.der().clone()];
    for intermediate in &root.intermediate_certs {
        chain.push(roots::certificate_der(intermediate)?);
    }
    Ok(Issued {
        chain,
        root_id: root.id.clone(),
        serial,
        not_before: unix_seconds(not_before),
        not_after: unix_seconds(not_after),
    })
}

fn alternative_names(
    ca: &CertificateAuthority,
    identity: Identity<'_>,
) -> Result<Vec<SanType>, CaError> {
    let invalid = |source| CaError::Certificate { action: "naming a certificate", source };
    match identity {
        Identity::Service { datacenter, service } => {
            let id = SpiffeId::service(&ca.trust_domain(), datacenter, service);
            Ok(vec![SanType::URI(id.to_string().try_into().map_err(invalid)?)])
        }
        Identity::Agent { datacenter, node, names } => {
            let id = SpiffeId::agent(&ca.trust_domain(), datacenter, node);
            let mut all =
                CertificateParams::new(names.to_vec()).map_err(invalid)?.subject_alt_names;
            all.push(SanType::URI(id.to_string().try_into().map_err(invalid)?));
            Ok(all)
        }
        Identity::Server { names } => {
            Ok(CertificateParams::new(names.to_vec()).map_err(invalid)?.subject_alt_names)
        }
    }
}

fn unix_seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
