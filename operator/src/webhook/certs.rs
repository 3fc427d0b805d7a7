//! Generates and rotates the webhook's certificates.
//!
//! An authority, valid for one year, is in a Secret that all replicas share; the first replica
//! writes it, and a resource version decides races. Each replica holds a leaf, valid for one day,
//! in memory only. INVARIANT: a successor is in the Secret, and so in `caBundle`, for
//! [`MIN_SUCCESSOR_AGE`] before it signs a leaf, so the API server trusts every leaf it receives.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

const DAY: Duration = Duration::from_secs(24 * 3600);
const AUTHORITY_TTL: Duration = DAY.saturating_mul(365);
/// A successor is generated when the authority is valid for no longer than this.
const MIN_REMAINING_TTL: Duration = DAY.saturating_mul(60);
/// The successor replaces the authority at this age.
const MIN_SUCCESSOR_AGE: Duration = DAY.saturating_mul(7);
const LEAF_TTL: Duration = DAY;
/// Certificates are valid from this long before now, for clocks that are behind.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);

/// The authority in the Secret cannot be used, or a certificate cannot be generated.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A key of the Secret is missing or not text.
    #[error("key {0:?} of the webhook's Secret is missing or not text")]
    Field(&'static str),
    /// A certificate of the Secret cannot be read.
    #[error("certificate of the webhook's authority cannot be read")]
    Unreadable,
    /// A key or certificate could not be generated.
    #[error("certificate not made")]
    Generate(#[from] rcgen::Error),
    /// TLS does not support the leaf's key.
    #[error("key of the webhook's leaf not usable")]
    Key(#[from] rustls::Error),
}

/// A certificate authority, as PEM.
#[derive(Clone, PartialEq, Eq)]
struct Authority {
    certificate: String,
    key: String,
}

/// The authority that signs, and its successor while there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities {
    current: Authority,
    next: Option<Authority>,
}

// === impl Authority ===

impl Authority {
    fn generate(now: SystemTime) -> Result<Self, CertsError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "lictor webhook authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        set_validity(&mut params, now, AUTHORITY_TTL);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Returns start and end of its validity, in seconds since the epoch.
    fn validity(&self) -> Result<(i64, i64), CertsError> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(self.certificate.as_bytes())
            .map_err(|_| CertsError::Unreadable)?;
        let certificate = pem.parse_x509().map_err(|_| CertsError::Unreadable)?;
        let validity = certificate.validity();
        Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
    }
}

/// Makes a certificate valid from [`MAX_CLOCK_SKEW`] before `now` until `ttl` after it.
fn set_validity(params: &mut CertificateParams, now: SystemTime, ttl: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since.saturating_sub(MAX_CLOCK_SKEW);
    params.not_after = epoch + since + ttl;
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

// === impl Authorities ===

impl Authorities {
    /// Generates an authority without a successor.
    ///
    /// # Errors
    /// No key or certificate could be generated.
    pub fn generate() -> Result<Self, CertsError> {
        Ok(Self { current: Authority::generate(SystemTime::now())?, next: None })
    }

    /// Parses the Secret's data.
    ///
    /// # Errors
    /// [`CertsError::Field`] names a missing key; the Secret is not ours or was damaged.
    pub fn from_data(data: &BTreeMap<String, ByteString>) -> Result<Self, CertsError> {
        let field = |name| {
            let text = data.get(name).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
            text.ok_or(CertsError::Field(name))
        };
        let current = Authority { certificate: field("ca.crt")?, key: field("ca.key")? };
        let next = if data.contains_key("next.crt") {
            Some(Authority { certificate: field("next.crt")?, key: field("next.key")? })
        } else {
            None
        };
        Ok(Self { current, next })
    }

    /// Returns the Secret's data.
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        let pair = |authority: &Authority, names: [&str; 2]| {
            [(names[0], &authority.certificate), (names[1], &authority.key)]
                .map(|(name, text)| (name.to_owned(), ByteString(text.clone().into_bytes())))
        };
        let mut data = BTreeMap::from(pair(&self.current, ["ca.crt", "ca.key"]));
        if let Some(next) = &self.next {
            data.extend(pair(next, ["next.crt", "next.key"]));
        }
        data
    }

    /// Returns the PEM that the API server trusts: the authority and its successor.
    pub fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| next.certificate.as_str());
        std::iter::once(self.current.certificate.as_str()).chain(next).collect()
    }

    /// Returns the authorities after the step of rotation that is due at `now`, if one is.
    ///
    /// # Errors
    /// A certificate cannot be read or generated.
    pub fn rotated(&self, now: SystemTime) -> Result<Option<Self>, CertsError> {
        let at = seconds(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        if let Some(next) = &self.next {
            let due = at - next.validity()?.0 >= seconds(MIN_SUCCESSOR_AGE);
            return Ok(due.then(|| Self { current: next.clone(), next: None }));
        }
        if self.current.validity()?.1 - at > seconds(MIN_REMAINING_TTL) {
            return Ok(None);
        }
        let next = Some(Authority::generate(now)?);
        Ok(Some(Self { current: self.current.clone(), next }))
    }

    /// Generates a leaf for `names`, its key in memory only.
    ///
    /// # Errors
    /// The authority cannot be read or the leaf cannot be generated.
    pub fn leaf(&self, names: &[String]) -> Result<CertifiedKey, CertsError> {
        let authority = KeyPair::from_pem(&self.current.key)?;
        let issuer = Issuer::from_ca_cert_pem(&self.current.certificate, authority)?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "lictor webhook");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut params, SystemTime::now(), LEAF_TTL);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], signer))
    }
}

/// The leaf that new connections are served with.
#[derive(Debug, Default)]
pub struct ServedLeaf(ArcSwapOption<CertifiedKey>);

impl ServedLeaf {
    /// Serves `leaf` from now on.
    pub fn set(&self, leaf: CertifiedKey) {
        self.0.store(Some(Arc::new(leaf)));
    }

    /// Returns an acceptor that always uses the current leaf.
    pub fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let resolver: Arc<Self> = Arc::clone(self);
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        TlsAcceptor::from(Arc::new(config))
    }
}

impl ResolvesServerCert for ServedLeaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
pub(crate) mod tests;
