mod agents;
#[path = "../../../transport/src/tls/testing.rs"]
mod testing;

use std::time::SystemTime;

use lictor_api::SpiffeId;
use lictor_config::RuntimeConfig;
use lictor_transport::tls::{
    InternalRpc,
    auto_encrypt::ask,
    material::Identity,
    role::{self, Role},
};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::ca::{Authority, tests::server};
use testing::{Ca, DAY, meet};

fn key_and_csr() -> (KeyPair, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    (key, csr)
}

fn request(node: &str, dns_san: &[&str]) -> SignRequest {
    SignRequest {
        csr: key_and_csr().1,
        datacenter: "dc1".to_owned(),
        node: node.to_owned(),
        dns_san: dns_san.iter().map(|name| (*name).to_owned()).collect(),
        ip_san: vec!["127.0.0.1".parse().unwrap()],
    }
}

async fn authority() -> Authority {
    let authority = Authority::new(server().await, "dc1");
    authority.initialize(&Default::default()).await.unwrap();
    authority
}

#[tokio::test]
async fn the_servers_sign_an_agents_certificate_that_is_a_clients() {
    let authority = authority().await;
    let answer = authority.sign_agent(&request("node1", &["localhost"])).await.unwrap();
    let chain: Vec<_> = answer.chain.into_iter().map(CertificateDer::from).collect();
    assert_eq!(role::of_certificates(&chain, "consul"), Role::Client);
    let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    let names = format!("{:?}", parsed.subject_alternative_name().unwrap().unwrap().value);
    let ca = authority.current().await.unwrap();
    let id = SpiffeId::agent(&ca.trust_domain(), "dc1", "node1").to_string();
    assert!(names.contains(&id) && names.contains("localhost"), "{names}");
}

#[tokio::test]
async fn nobody_gets_a_servers_name_or_another_path_into_its_id() {
    let authority = authority().await;
    for (node, names) in [
        ("node1", &["server.dc1.consul"][..]),
        ("node1", &["SERVER.dc2.consul"]),
        ("node1", &["*.dc1.consul"]),
        ("node1", &[""]),
        ("node1/../../server", &[]),
        ("", &[]),
    ] {
        let refused = authority.sign_agent(&request(node, names)).await.unwrap_err();
        assert!(matches!(refused, CaError::AgentName(_)), "{node} {names:?}: {refused}");
    }
}

#[tokio::test]
async fn an_agent_without_a_certificate_may_ask_for_one_and_is_then_a_client() {
    let (ca, mesh) = (Ca::new(), authority().await);
    ca.issue("server", &["server.dc1.consul"], SystemTime::now() + DAY);
    let hands_out = |config: &mut RuntimeConfig| config.auto_encrypt.allow_tls = true;
    let server = InternalRpc::load(&ca.config("server", true, hands_out)).unwrap();
    let client = |config: &mut RuntimeConfig| {
        config.auto_encrypt.tls = true;
        let rpc = &mut config.tls.internal_rpc;
        (rpc.cert_file, rpc.key_file) = (None, None);
    };
    let config = ca.config("client", false, client);
    let client = InternalRpc::load(&config).unwrap();
    assert_eq!(meet(&client, &server).await, Ok(Role::Unauthenticated));

    ask(&client, &Mesh(&mesh), &config).await.unwrap();
    meet(&client, &server).await.unwrap_err();
    server.trust_mesh(mesh.current().await.unwrap().bundle_der()).unwrap();
    assert_eq!(meet(&client, &server).await, Ok(Role::Client));

    // A service's certificate is of the same authority and opens nothing.
    let (key, csr) = key_and_csr();
    let signed = mesh.sign(&csr, "web").await.unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    client.show(Identity { chain: signed.issued.chain, key }).unwrap();
    meet(&client, &server).await.unwrap_err();
}

struct Mesh<'a>(&'a Authority);

impl Issuer for Mesh<'_> {
    type Error = CaError;

    async fn sign(&self, request: SignRequest) -> Result<SignAnswer, CaError> {
        self.0.sign_agent(&request).await
    }
}
