//! A certificate authority of the mesh, whose certificates rustls accepts.

use std::time::{Duration, SystemTime};

use lictor_api::{SpiffeId, mesh::v1};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::HOUR;

/// An authority of the mesh.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    trust_domain: String,
}

impl Ca {
    pub(crate) fn new(trust_domain: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names =
            vec![SanType::URI(format!("spiffe://{trust_domain}").try_into().unwrap())];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, trust_domain: trust_domain.to_owned() }
    }

    pub(super) fn der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    pub(crate) fn roots(&self) -> v1::Roots {
        v1::Roots {
            trust_domain: self.trust_domain.clone(),
            datacenter: "dc1".into(),
            roots_der: vec![self.der()],
        }
    }

    /// Returns a server's certificate and key for a DNS name, in PEM.
    pub(crate) fn server_leaf(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = Self::params(&[], HOUR);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn params(uris: &[String], life: Duration) -> CertificateParams {
        let mut params = CertificateParams::default();
        let uri = |uri: &String| SanType::URI(uri.clone().try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = SystemTime::now().into();
        params.not_after = (SystemTime::now() + life).into();
        params
    }

    /// Returns a certificate and key with these URI names, in PEM.
    pub(crate) fn leaf(&self, uris: &[String]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(uris, HOUR);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(super) fn sign(
        &self,
        csr: &[u8],
        service: &str,
        life: Duration,
    ) -> CertificateDer<'static> {
        let csr = CertificateSigningRequestDer::from(csr);
        let mut request = CertificateSigningRequestParams::from_der(&csr).unwrap();
        request.params = Self::params(&[self.id(service).to_string()], life);
        request.signed_by(&self.issuer).unwrap().der().clone()
    }

    pub(crate) fn id(&self, service: &str) -> SpiffeId {
        SpiffeId::service(&self.trust_domain, "dc1", service)
    }
}
