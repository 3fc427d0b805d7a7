//! The authority's roots: creating one, cross-signing it at a rotation, describing them.
//!
//! INVARIANT: pure except for key generation and random serial numbers; the caller passes the time
//! and replicates the result. A generated root key is P-256 and appears only in [`NewRoot::key`].
//!
//! Source: Consul "Connect certificate authority", built-in provider. Keys that an operator
//! supplies may be of any type that rcgen signs with.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use lictor_api::types::connect::{BuiltinCaConfig, CaRoot};
use lictor_core::state::{CertificateAuthority, certificate_authority::PrivateKeyPem};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension};

use super::CaError;

/// How far certificates are backdated, for peers whose clocks are behind.
pub(super) const BACKDATE: Duration = Duration::from_secs(60);
/// Lifetime of a cross-signed root: leaves of the old root are renewed within it.
const CROSS_SIGNED_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// A root to be replicated, with its key.
pub struct NewRoot {
    /// The root as the API returns it.
    pub root: CaRoot,
    /// Its private key, PKCS #8.
    pub key: PrivateKeyPem,
}

/// Creates a root for `cluster_id` with a new P-256 key, or with the given PEM key.
///
/// # Errors
/// [`CaError::Certificate`]: the given key is unusable.
pub fn create(
    cluster_id: &str,
    config: &BuiltinCaConfig,
    key_pem: Option<&str>,
    now: SystemTime,
) -> Result<NewRoot, CaError> {
    let key = match key_pem {
        Some(pem) => KeyPair::from_pem(pem).map_err(CaError::certificate("reading the key"))?,
        None => KeyPair::generate().map_err(CaError::certificate("generating a root's key"))?,
    };
    let serial = rand::random_range(1..=u64::MAX >> 1);
    let params =
        params(&format!("{cluster_id}.consul"), serial, now, now + config.root_cert_ttl.0)?;
    let certificate =
        params.self_signed(&key).map_err(CaError::certificate("signing a new root"))?;
    let root = describe(cluster_id, &certificate.pem())?;
    Ok(NewRoot { root, key: PrivateKeyPem::new(key.serialize_pem()) })
}

/// Adopts an operator's root and key. The certificate must be an authority's and match the key.
///
/// # Errors
/// [`CaError::Config`] states the mismatch.
pub fn adopt(cluster_id: &str, root_pem: &str, key_pem: &str) -> Result<NewRoot, CaError> {
    let key = KeyPair::from_pem(key_pem).map_err(CaError::certificate("reading the key"))?;
    let root = describe(cluster_id, root_pem)?;
    let der = certificate_der(root_pem)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| CaError::BadRoot)?;
    if !parsed.is_ca() {
        return Err(CaError::Config("RootCert is not a certificate authority".to_owned()));
    }
    if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(CaError::Config("RootCert does not belong to PrivateKey".to_owned()));
    }
    Ok(NewRoot { root, key: PrivateKeyPem::new(key.serialize_pem()) })
}

/// Signs the new root with the old one and returns PEM: with it, peers that trust only the old root
/// accept leaves of the new one.
///
/// # Errors
/// [`CaError::Certificate`]; [`CaError::Config`] for a root that cannot be cross-signed.
pub fn cross_sign(
    old: &CertificateAuthority,
    new: &NewRoot,
    now: SystemTime,
) -> Result<String, CaError> {
    let signer = issuer(old)?;
    let key = KeyPair::from_pem(new.key.expose())
        .map_err(CaError::certificate("reading the new root's key"))?;
    let serial = rand::random_range(1..=u64::MAX >> 1);
    let new_der = certificate_der(&new.root.root_cert)?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(&new_der).map_err(|_| CaError::BadRoot)?;
    let mut params = params(&old.trust_domain(), serial, now, now + CROSS_SIGNED_TTL)?;
    if let Some(name) = parsed.subject().iter_common_name().next().and_then(|n| n.as_str().ok()) {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    if let Some(id) = subject_key_id(&parsed) {
        params.key_identifier_method = KeyIdMethod::PreSpecified(id.to_vec());
    }
    params.use_authority_key_identifier_extension = true;
    let certificate = params
        .signed_by(&key, &signer)
        .map_err(CaError::certificate("cross-signing the new root"))?;
    // Leaves name their issuer byte for byte.
    let (_, signed) =
        x509_parser::parse_x509_certificate(certificate.der()).map_err(|_| CaError::BadRoot)?;
    if signed.subject().as_raw() != parsed.subject().as_raw() {
        return Err(CaError::Config(
            "RootCert's subject is not one UTF-8 common name and cannot be cross-signed; \
             set ForceWithoutCrossSigning to go ahead without"
                .to_owned(),
        ));
    }
    Ok(certificate.pem())
}

/// Returns the active root as an issuer.
///
/// # Errors
/// [`CaError::NotInitialized`] without an active root.
pub(super) fn issuer(ca: &CertificateAuthority) -> Result<Issuer<'static, KeyPair>, CaError> {
    let root = ca.active_root().ok_or(CaError::NotInitialized)?;
    let key = KeyPair::from_pem(ca.signing_key.expose())
        .map_err(CaError::certificate("reading the active root's key"))?;
    Issuer::from_ca_cert_pem(&root.root_cert, key)
        .map_err(CaError::certificate("reading the active root"))
}

/// Parses the first certificate of a PEM text.
pub(super) fn certificate_der(pem: &str) -> Result<CertificateDer<'static>, CaError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| CaError::BadRoot)
}

/// Formats bytes as Consul prints fingerprints and serial numbers: `0a:1b`.
pub fn colon_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Formats Unix seconds as the API prints times, in whole seconds as in certificates.
pub(super) fn rfc3339(unix_seconds: i64) -> String {
    jiff::Timestamp::from_second(unix_seconds).map(|time| time.to_string()).unwrap_or_default()
}

fn params(
    trust_domain: &str,
    serial: u64,
    now: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.not_before = (now - BACKDATE).into();
    params.not_after = not_after.into();
    params.serial_number = Some(serial.into());
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name(trust_domain));
    let uri = format!("spiffe://{trust_domain}")
        .try_into()
        .map_err(CaError::certificate("naming a root"))?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    Ok(params)
}

/// Returns `pri-<8 base 36>.consul.ca.<first 8 of the trust domain>.consul`.
fn common_name(trust_domain: &str) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let random: String =
        (0..8).map(|_| char::from(DIGITS[rand::random_range(0..DIGITS.len())])).collect();
    let short: String = trust_domain.chars().take(8).collect();
    format!("pri-{random}.consul.ca.{short}.consul")
}

/// Returns the API's description of a root.
fn describe(cluster_id: &str, root_pem: &str) -> Result<CaRoot, CaError> {
    let der = certificate_der(root_pem)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| CaError::BadRoot)?;
    let key = parsed.public_key().parsed().map_err(|_| CaError::BadRoot)?;
    let kind = if matches!(key, x509_parser::public_key::PublicKey::RSA(_)) { "rsa" } else { "ec" };
    let serial = parsed.raw_serial();
    Ok(CaRoot {
        id: colon_hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &der).as_ref()),
        name: "Consul CA Primary Cert".to_owned(),
        // A foreign root's serial may be longer than the field, which then has its last 8 bytes.
        serial_number: serial.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        signing_key_id: colon_hex(subject_key_id(&parsed).unwrap_or_default()),
        external_trust_domain: cluster_id.to_owned(),
        not_before: rfc3339(parsed.validity().not_before.timestamp()),
        not_after: rfc3339(parsed.validity().not_after.timestamp()),
        root_cert: format!("{}\n", root_pem.trim_end()),
        private_key_type: kind.to_owned(),
        private_key_bits: u32::try_from(key.key_size()).unwrap_or_default(),
        ..CaRoot::default()
    })
}

fn subject_key_id<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}
