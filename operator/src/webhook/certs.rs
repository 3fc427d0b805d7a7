//! The webhook's certificates, which the operator makes itself.
//!
//! An authority of one year lives in a Secret that all replicas share; the first replica writes
//! it, and a resource version decides races. Each replica keeps a leaf of one day in memory only.
//! A successor is put into the Secret, and so into `caBundle`, long before anything is signed with
//! it: the API server never meets a leaf whose authority it does not know yet.

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
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(365);
/// A successor is made when so little of the authority's life is left ...
const SUCCESSOR_BEFORE: Duration = DAY.saturating_mul(60);
/// ... and takes over when it is so old.
const SUCCESSOR_RESTS: Duration = DAY.saturating_mul(7);
const LEAF_LIFE: Duration = DAY;
/// Certificates are valid from a little before now, for clocks that are behind.
const SKEW: Duration = Duration::from_secs(300);

/// The authority in the Secret cannot be used, or none can be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A key of the Secret is missing or not text.
    #[error("key {0:?} of the webhook's Secret is missing or not text")]
    Field(&'static str),
    /// A certificate of the Secret cannot be read.
    #[error("certificate of the webhook's authority cannot be read")]
    Unreadable,
    /// A certificate could not be made.
    #[error("certificate not made")]
    Generate(#[from] rcgen::Error),
    /// A key does not fit TLS.
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
        set_life(&mut params, now, AUTHORITY_LIFE);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Start and end of its life, in seconds since the epoch.
    fn life(&self) -> Result<(i64, i64), CertsError> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(self.certificate.as_bytes())
            .map_err(|_| CertsError::Unreadable)?;
        let certificate = pem.parse_x509().map_err(|_| CertsError::Unreadable)?;
        let validity = certificate.validity();
        Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
    }
}

fn set_life(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since.saturating_sub(SKEW);
    params.not_after = epoch + since + life;
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

// === impl Authorities ===

impl Authorities {
    /// A new authority without a successor.
    ///
    /// # Errors
    /// No key or certificate could be made.
    pub fn generate() -> Result<Self, CertsError> {
        Ok(Self { current: Authority::generate(SystemTime::now())?, next: None })
    }

    /// Reads the Secret's data.
    ///
    /// # Errors
    /// A missing key; the Secret is not ours or was damaged.
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

    /// The Secret's data.
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

    /// What the API server trusts: both authorities, as PEM.
    pub fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| next.certificate.as_str());
        std::iter::once(self.current.certificate.as_str()).chain(next).collect()
    }

    /// The next step of rotation that is due at `now`, if one is.
    ///
    /// # Errors
    /// A certificate cannot be read or made.
    pub fn rotated(&self, now: SystemTime) -> Result<Option<Self>, CertsError> {
        let at = seconds(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        if let Some(next) = &self.next {
            let rested = at - next.life()?.0 >= seconds(SUCCESSOR_RESTS);
            return Ok(rested.then(|| Self { current: next.clone(), next: None }));
        }
        if self.current.life()?.1 - at > seconds(SUCCESSOR_BEFORE) {
            return Ok(None);
        }
        let next = Some(Authority::generate(now)?);
        Ok(Some(Self { current: self.current.clone(), next }))
    }

    /// A leaf for `names`, its key in memory only.
    ///
    /// # Errors
    /// The authority cannot be read or the leaf not be made.
    pub fn leaf(&self, names: &[String]) -> Result<CertifiedKey, CertsError> {
        let authority = KeyPair::from_pem(&self.current.key)?;
        let issuer = Issuer::from_ca_cert_pem(&self.current.certificate, authority)?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "lictor webhook");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_life(&mut params, SystemTime::now(), LEAF_LIFE);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], signer))
    }
}

/// The leaf that new connections are answered with.
#[derive(Debug, Default)]
pub struct ServedLeaf(ArcSwapOption<CertifiedKey>);

impl ServedLeaf {
    /// Serves `leaf` from now on.
    pub fn set(&self, leaf: CertifiedKey) {
        self.0.store(Some(Arc::new(leaf)));
    }

    /// An acceptor that always uses the current leaf.
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
