use std::{
    process::Command as Process,
    time::{Duration, UNIX_EPOCH},
};

use lictor_api::GoDuration;
use lictor_consensus::{Consensus, LogWrites, PeerDirectory, Settings};
use lictor_store::Store;
use rcgen::{CertificateParams, KeyPair, SanType};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

use super::*;

const CLUSTER: &str = "11111111-2222-3333-4444-555555555555";
const WEB: &str = "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web";

pub(crate) async fn server() -> Arc<Server> {
    let store = Arc::new(Store::default());
    let settings = Settings {
        node_id: "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee".to_owned(),
        node_name: "n1".to_owned(),
        address: "127.0.0.1:8300".parse().unwrap(),
        data_dir: None,
        bootstrap_expect: 1,
        multiplier: 1,
        compaction: lictor_consensus::Compaction::default(),
        log_writes: LogWrites::Thread,
        peers: PeerDirectory::none("dc1"),
    };
    let consensus = Consensus::start(settings, store.clone()).await.unwrap();
    Arc::new(Server::new(store, consensus, PeerDirectory::none("dc1"), Duration::from_secs(7)))
}

fn config() -> BuiltinCaConfig {
    BuiltinCaConfig { cluster_id: CLUSTER.to_owned(), ..BuiltinCaConfig::default() }
}

async fn authority(config: &BuiltinCaConfig) -> Authority {
    let authority = Authority::new(server().await, "dc1");
    authority.initialize(config).await.unwrap();
    authority
}

fn request(uris: &[&str]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn uris(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    names
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::URI(uri) => (*uri).to_owned(),
            other => panic!("unexpected name {other}"),
        })
        .collect()
}

/// What openssl says about a chain with a purpose.
fn openssl_verify(roots: &str, chain: &str, purpose: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (root_file, leaf_file) = (dir.path().join("roots.pem"), dir.path().join("leaf.pem"));
    std::fs::write(&root_file, roots).unwrap();
    std::fs::write(&leaf_file, chain).unwrap();
    let output = Process::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
        .arg(&root_file)
        .arg("-untrusted")
        .arg(&leaf_file)
        .arg(&leaf_file)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn the_first_root_is_what_consul_describes() {
    let authority = authority(&config()).await;
    let ca = authority.current().await.unwrap();
    let list = ca.root_list();
    assert_eq!(list.trust_domain, format!("{CLUSTER}.consul"));
    let [root] = &list.roots[..] else { panic!("one root expected") };
    assert!(root.active && root.id == list.active_root_id && root.id.len() == 59);
    assert_eq!((root.private_key_type.as_str(), root.private_key_bits), ("ec", 256));
    assert_eq!(root.external_trust_domain, CLUSTER);

    let der = roots::certificate_der(&root.root_cert).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert!(parsed.is_ca());
    assert_eq!(uris(&parsed), [format!("spiffe://{CLUSTER}.consul")]);
    let name = parsed.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
    assert!(name.starts_with("pri-") && name.ends_with(".consul.ca.11111111.consul"), "{name}");
    let life = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
    assert_eq!(life, 87_600 * 3600 + 60);
    assert_eq!(parsed.raw_serial().len(), 8);

    // A second leader changes nothing.
    authority.initialize(&BuiltinCaConfig::default()).await.unwrap();
    assert_eq!(authority.current().await.unwrap().cluster_id, CLUSTER);
}

#[tokio::test]
async fn a_leaf_carries_its_service_and_verifies() {
    let authority = authority(&config()).await;
    let signed = authority.sign(&request(&[WEB]), "web").await.unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&signed.issued.chain[0]).unwrap();
    assert_eq!(uris(&leaf), [WEB]);
    assert!(leaf.subject().iter().next().is_none(), "the subject is empty");
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment());
    assert!(usage.data_encipherment() && usage.key_agreement() && !usage.key_cert_sign());
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && extended.server_auth);
    for wanted in ["SubjectKeyIdentifier", "AuthorityKeyIdentifier"] {
        let has = leaf.extensions().iter().any(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(_) => wanted == "SubjectKeyIdentifier",
            ParsedExtension::AuthorityKeyIdentifier(_) => wanted == "AuthorityKeyIdentifier",
            _ => false,
        });
        assert!(has, "{wanted}");
    }
    assert!(leaf.raw_serial().len() <= 20 && leaf.raw_serial()[0] < 0x80);
    assert_eq!(signed.issued.not_after - signed.issued.not_before, 72 * 3600 + 60);

    let chain = authority.leaf("web", 0, Duration::ZERO).await.unwrap().cert_pem;
    let roots = signed.ca.bundle_pem();
    for purpose in ["sslclient", "sslserver"] {
        let verdict = openssl_verify(&roots, &chain, purpose);
        assert!(verdict.contains(": OK"), "{verdict}");
    }
}

#[tokio::test]
async fn no_leaf_outlives_its_root() {
    let config = BuiltinCaConfig { root_cert_ttl: GoDuration::from_secs(7200), ..config() };
    let authority = authority(&config).await;
    let signed = authority.sign(&request(&[]), "web").await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((7190..=7200).contains(&(signed.issued.not_after - now)));
}

#[tokio::test]
async fn requests_for_others_are_refused() {
    let authority = authority(&config()).await;
    let other = "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/db";
    for uris in [&[other][..], &["spiffe://elsewhere.consul/ns/default/dc/dc1/svc/web"]] {
        let error = authority.sign(&request(uris), "web").await.unwrap_err();
        assert!(
            matches!(error, CaError::Request(RequestError::OtherIdentity(..))),
            "{uris:?}: {error}"
        );
    }
    let error = authority.sign(&request(&[WEB, other]), "web").await.unwrap_err();
    assert!(matches!(error, CaError::Request(RequestError::Uris(2))), "{error}");
    let error = authority.sign(&request(&[]), "we/b").await.unwrap_err();
    assert!(matches!(error, CaError::ServiceName(_)), "{error}");
}

#[tokio::test]
async fn a_request_must_prove_that_it_has_the_key() {
    let authority = authority(&config()).await;
    let mut tampered = request(&[]);
    *tampered.last_mut().unwrap() ^= 1;
    let error = authority.sign(&tampered, "web").await.unwrap_err();
    assert!(
        matches!(error, CaError::Request(RequestError::Signature | RequestError::Syntax)),
        "{error}"
    );
    let error = authority.sign(b"not a request", "web").await.unwrap_err();
    assert!(matches!(error, CaError::Request(RequestError::Syntax)), "{error}");
}

#[tokio::test]
async fn too_many_requests_are_asked_to_come_back() {
    let authority = authority(&BuiltinCaConfig { csr_max_per_second: 2, ..config() }).await;
    let csr = request(&[]);
    let mut refused = 0;
    for _ in 0..4 {
        match authority.sign(&csr, "web").await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.to_string(), "Rate limit reached, try again later");
                refused += 1;
            }
        }
    }
    assert!(refused >= 1);
}

#[tokio::test]
async fn a_leaf_is_kept_and_blocked_on_until_the_root_changes() {
    let authority = Arc::new(authority(&config()).await);
    let first = authority.leaf("web", 0, Duration::ZERO).await.unwrap();
    assert_eq!(authority.leaf("web", 0, Duration::ZERO).await.unwrap(), first);

    let waiting = tokio::spawn({
        let (authority, index) = (authority.clone(), first.modify_index);
        async move { authority.leaf("web", index, Duration::from_secs(60)).await.unwrap() }
    });
    let key = KeyPair::generate().unwrap().serialize_pem();
    authority.configure(config(), Some(&key), None, false).await.unwrap();
    let second = waiting.await.unwrap();
    assert!(second.modify_index > first.modify_index);
    assert_ne!(second.cert_pem, first.cert_pem);
}

#[tokio::test]
async fn a_rotated_root_is_trusted_through_the_old_one() {
    let authority = authority(&config()).await;
    let old = authority.current().await.unwrap();
    let key = KeyPair::generate().unwrap().serialize_pem();
    authority.configure(config(), Some(&key), None, false).await.unwrap();
    let new = authority.current().await.unwrap();
    assert_eq!(new.roots.len(), 2);
    assert!(!new.roots[0].active && new.roots[1].active);
    let leaf = authority.leaf("web", 0, Duration::ZERO).await.unwrap();
    assert_eq!(leaf.cert_pem.matches("BEGIN CERTIFICATE").count(), 2);
    // Those who have only the old root and those who have only the new one both accept the leaf.
    for root in [&old.roots[0].root_cert, &new.roots[1].root_cert] {
        let verdict = openssl_verify(root, &leaf.cert_pem, "sslserver");
        assert!(verdict.contains(": OK"), "{verdict}");
    }
}

#[tokio::test]
async fn an_operators_root_must_fit_its_key() {
    let authority = authority(&config()).await;
    let own = roots::create(CLUSTER, &config(), None, SystemTime::now()).unwrap();
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let error = authority
        .configure(config(), Some(&other_key), Some(&own.root.root_cert), false)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("RootCert does not belong to PrivateKey"), "{error}");
    authority
        .configure(config(), Some(own.key.expose()), Some(&own.root.root_cert), false)
        .await
        .unwrap();
    assert_eq!(authority.current().await.unwrap().active_root().unwrap().id, own.root.id);
}

#[tokio::test]
async fn lifetimes_out_of_bounds_are_refused() {
    let authority = authority(&config()).await;
    const HOUR: u64 = 3600;
    let short = "leaf cert TTL must be greater or equal than 1h0m0s";
    let long = "leaf cert TTL must be less than 8760h0m0s";
    let outlived = "root cert TTL must be greater than the leaf cert TTL";
    for (leaf, root, refusal) in [
        (HOUR - 1, 10 * HOUR, Some(short)),
        (HOUR, HOUR + 1, None),
        (HOUR, HOUR, Some(outlived)),
        (2 * HOUR, HOUR, Some(outlived)),
        (8760 * HOUR, 8761 * HOUR, None),
        (8760 * HOUR + 1, 8762 * HOUR, Some(long)),
    ] {
        let (leaf_cert_ttl, root_cert_ttl) =
            (GoDuration::from_secs(leaf), GoDuration::from_secs(root));
        let config = BuiltinCaConfig { leaf_cert_ttl, root_cert_ttl, ..config() };
        let refused = authority.configure(config, None, None, false).await.err();
        let text =
            refusal.map(|text| format!("invalid certificate authority configuration: {text}"));
        assert_eq!(refused.map(|error| error.to_string()), text, "{leaf} s, {root} s");
    }
}
