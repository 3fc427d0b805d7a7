//! Certificates of the mesh: roots, leaves, authorization (Consul "Connect HTTP API").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::is_default;
use crate::GoDuration;

/// A certificate authority's root.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaRoot {
    /// SHA-1 fingerprint of the certificate, `aa:bb:...`.
    #[serde(rename = "ID")]
    pub id: String,
    /// For people.
    pub name: String,
    /// The certificate's serial number.
    pub serial_number: u64,
    /// Subject key identifier of the signing key, `aa:bb:...`.
    #[serde(rename = "SigningKeyID")]
    pub signing_key_id: String,
    /// `<uuid>`: the trust domain without `.consul`.
    pub external_trust_domain: String,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
    /// PEM.
    pub root_cert: String,
    /// PEM, sent along with leaves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub intermediate_certs: Vec<String>,
    /// Whether new leaves are signed by it.
    pub active: bool,
    /// `ec` or `rsa`.
    pub private_key_type: String,
    /// 256 for P-256.
    pub private_key_bits: u32,
    /// Raft index of its creation.
    pub create_index: u64,
    /// Raft index of the last change.
    pub modify_index: u64,
}

/// Answer of `GET /v1/agent/connect/ca/roots`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaRootList {
    /// The root that signs new leaves.
    #[serde(rename = "ActiveRootID")]
    pub active_root_id: String,
    /// `<uuid>.consul`.
    pub trust_domain: String,
    /// All trusted roots.
    pub roots: Vec<CaRoot>,
}

/// Answer of `GET /v1/agent/connect/ca/leaf/:service`. Carries a private key: never logged.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LeafCert {
    /// `aa:bb:...`.
    pub serial_number: String,
    /// PEM: the leaf, then intermediates.
    #[serde(rename = "CertPEM")]
    pub cert_pem: String,
    /// PEM, PKCS #8.
    #[serde(rename = "PrivateKeyPEM")]
    pub private_key_pem: String,
    /// The service.
    pub service: String,
    /// Its SPIFFE ID.
    #[serde(rename = "ServiceURI")]
    pub service_uri: String,
    /// RFC 3339.
    pub valid_after: String,
    /// RFC 3339.
    pub valid_before: String,
    /// Index of its issue.
    pub create_index: u64,
    /// Index of its issue; blocking reads compare with it.
    pub modify_index: u64,
}

impl std::fmt::Debug for LeafCert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeafCert")
            .field("serial_number", &self.serial_number)
            .field("service_uri", &self.service_uri)
            .field("private_key_pem", &"<redacted>")
            .finish_non_exhaustive()
    }
}

/// Body of `POST /v1/agent/connect/authorize`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthorizeRequest {
    /// The destination service.
    pub target: String,
    /// The client's SPIFFE ID.
    #[serde(rename = "ClientCertURI")]
    pub client_cert_uri: String,
    /// The client certificate's serial number.
    pub client_cert_serial: String,
}

/// Answer of `POST /v1/agent/connect/authorize`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthorizeResponse {
    /// Whether the connection may be opened.
    pub authorized: bool,
    /// Why, for people.
    pub reason: String,
}

/// Answer and body of `/v1/connect/ca/configuration`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaConfiguration {
    /// `consul`: the built-in authority.
    pub provider: String,
    /// Settings of the provider.
    pub config: BTreeMap<String, serde_json::Value>,
    /// Opaque state of the provider; always `null` for the built-in one.
    pub state: Option<BTreeMap<String, String>>,
    /// Accept a new root that the old one cannot cross-sign.
    #[serde(skip_serializing_if = "is_default")]
    pub force_without_cross_signing: bool,
    /// Raft index of its creation.
    pub create_index: u64,
    /// Raft index of the last change.
    pub modify_index: u64,
}

/// Settings of the built-in authority, read from `connect.ca_config` and `CaConfiguration.config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BuiltinCaConfig {
    /// UUID of the trust domain, or empty for a random one.
    #[serde(rename = "ClusterID", skip_serializing_if = "is_default")]
    pub cluster_id: String,
    /// Life of a service's certificate; 1 h to 8760 h, default 72 h.
    #[serde(rename = "LeafCertTTL")]
    pub leaf_cert_ttl: GoDuration,
    /// Life of a root; default 87600 h.
    #[serde(rename = "RootCertTTL")]
    pub root_cert_ttl: GoDuration,
    /// Life of an intermediate of another datacenter; kept for clients, default 8760 h.
    #[serde(rename = "IntermediateCertTTL")]
    pub intermediate_cert_ttl: GoDuration,
    /// Signing requests per second before clients are asked to come back later; 0 is no limit.
    #[serde(rename = "CSRMaxPerSecond", skip_serializing_if = "is_default_csr_rate")]
    pub csr_max_per_second: u32,
    /// COMPAT: the Go client's tests store provider state through this key and read it back.
    #[serde(rename = "test_state", skip_serializing_if = "is_default")]
    pub test_state: BTreeMap<String, String>,
}

/// Consul shows the rate only where an operator has set it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_default_csr_rate(rate: &u32) -> bool {
    *rate == BuiltinCaConfig::default().csr_max_per_second
}

impl Default for BuiltinCaConfig {
    fn default() -> Self {
        Self {
            cluster_id: String::new(),
            leaf_cert_ttl: GoDuration::from_secs(72 * 3600),
            root_cert_ttl: GoDuration::from_secs(87600 * 3600),
            intermediate_cert_ttl: GoDuration::from_secs(8760 * 3600),
            csr_max_per_second: 50,
            test_state: BTreeMap::new(),
        }
    }
}
