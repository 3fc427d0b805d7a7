//! Real handshakes over loopback between agents with the certificates that they could have.

use std::time::SystemTime;

use rcgen::KeyPair;

use super::*;
use crate::tls::testing::{Ca, DAY, meet};

impl Ca {
    fn agent(&self, file: &str, names: &[&str], server: bool) -> InternalRpc {
        self.issue(file, names, SystemTime::now() + DAY);
        InternalRpc::load(&self.config(file, server, |_| {})).unwrap()
    }
}

#[tokio::test]
async fn servers_know_each_other_and_clients_are_clients() {
    let ca = Ca::new();
    let server = ca.agent("server", &["server.dc1.consul", "localhost"], true);
    let other = ca.agent("other", &["n2.server.dc1.consul", "server.dc1.consul"], true);
    let far = ca.agent("far", &["server.dc2.consul"], true);
    let client = ca.agent("client", &["client.dc1.consul"], false);
    let dc1 = Role::Server { datacenter: "dc1".to_owned() };
    assert_eq!(meet(&other, &server).await, Ok(dc1));
    let dc2 = Role::Server { datacenter: "dc2".to_owned() };
    assert_eq!(meet(&far, &server).await, Ok(dc2));
    assert_eq!(meet(&client, &server).await, Ok(Role::Client));
    assert!(client.acceptor().is_none(), "a client accepts no server RPC");
}

#[tokio::test]
async fn a_client_cannot_pose_as_a_server() {
    let ca = Ca::new();
    let honest = ca.agent("server", &["server.dc1.consul"], true);
    for (i, names) in [
        &["client.dc1.consul"][..],
        &["*.dc1.consul"],
        &["server.dc2.consul"],
        &["server.dc1.consul", "client.dc1.consul"],
        &["localhost"],
    ]
    .into_iter()
    .enumerate()
    {
        let posing = ca.agent(&format!("posing{i}"), names, true);
        let error = meet(&honest, &posing).await.unwrap_err();
        assert!(
            error.contains("NotValidForName") || error.contains("not valid for name"),
            "{names:?}: {error}"
        );
    }
}

#[tokio::test]
async fn without_name_checks_a_clients_certificate_is_refused_all_the_same() {
    let ca = Ca::new();
    ca.agent("server", &["any.example"], true);
    let unchecked = |file: &str| {
        let edit = |config: &mut RuntimeConfig| config.tls.verify_server_hostname = false;
        InternalRpc::load(&ca.config(file, true, edit)).unwrap()
    };
    let caller = unchecked("server");
    assert_eq!(meet(&caller, &unchecked("server")).await, Ok(Role::Client));
    ca.agent("client", &["client.dc1.consul"], false);
    meet(&caller, &unchecked("client")).await.unwrap_err();
}

#[tokio::test]
async fn expired_foreign_and_missing_certificates_are_refused_in_both_directions() {
    let (ca, foreign) = (Ca::new(), Ca::new());
    let server = ca.agent("server", &["server.dc1.consul"], true);

    ca.issue("expired", &["server.dc1.consul"], SystemTime::now() - DAY);
    let expired = InternalRpc::load(&ca.config("expired", true, |_| {})).unwrap();
    meet(&expired, &server).await.unwrap_err();
    meet(&server, &expired).await.unwrap_err();

    foreign.issue("server", &["server.dc1.consul"], SystemTime::now() + DAY);
    let stranger = InternalRpc::load(&foreign.config("server", true, |config| {
        config.tls.internal_rpc.ca_file = Some(ca.path("ca.pem"));
    }))
    .unwrap();
    meet(&stranger, &server).await.unwrap_err();
    meet(&server, &stranger).await.unwrap_err();

    let nameless = InternalRpc::load(&ca.config("server", false, |config| {
        let rpc = &mut config.tls.internal_rpc;
        (rpc.cert_file, rpc.key_file, rpc.verify_incoming) = (None, None, false);
    }))
    .unwrap();
    meet(&nameless, &server).await.unwrap_err();
}

#[tokio::test]
async fn plain_text_is_accepted_until_clients_are_verified() {
    let ca = Ca::new();
    let strict = ca.agent("server", &["server.dc1.consul"], true);
    let lax = |config: &mut RuntimeConfig| config.tls.internal_rpc.verify_incoming = false;
    let lax = InternalRpc::load(&ca.config("server", true, lax)).unwrap();
    let plain = InternalRpc::default();
    assert!(plain.acceptor().is_none() && plain.connector("dc1").is_none());
    assert_eq!(meet(&plain, &lax).await, Ok(Role::Open));
    assert_eq!(meet(&strict, &lax).await, Ok(Role::Open));
    assert!(meet(&plain, &strict).await.unwrap_err().contains("plain text"));
    assert_eq!(plain.role(&[]), Role::Open);
}

#[tokio::test]
async fn a_reload_changes_new_connections_and_a_bad_file_changes_nothing() {
    let ca = Ca::new();
    let server = ca.agent("server", &["server.dc1.consul"], true);
    let client = ca.agent("client", &["client.dc1.consul"], false);
    let before = server.acceptor().unwrap();
    std::fs::write(ca.path("server-key.pem"), "nothing").unwrap();
    let error = Files::load(&ca.config("server", true, |_| {})).err().unwrap();
    assert!(error.to_string().starts_with("reading key /"), "{error}");
    let other = KeyPair::generate().unwrap();
    std::fs::write(ca.path("server-key.pem"), other.serialize_pem()).unwrap();
    let error = Files::load(&ca.config("server", true, |_| {})).err().unwrap();
    assert!(error.to_string().starts_with("using certificate /"), "{error}");
    assert!(Arc::ptr_eq(&before, &server.acceptor().unwrap()));

    ca.issue("server", &["server.dc1.consul"], SystemTime::now() + DAY);
    server.stage(Files::load(&ca.config("server", true, |_| {})).unwrap()).unwrap().commit();
    assert!(!Arc::ptr_eq(&before, &server.acceptor().unwrap()));
    assert_eq!(meet(&client, &server).await, Ok(Role::Client));
}

#[test]
fn verifying_without_an_authority_or_own_certificate_is_refused_by_key() {
    let ca = Ca::new();
    ca.issue("server", &["server.dc1.consul"], SystemTime::now() + DAY);
    type Edit = fn(&mut RuntimeConfig);
    let cases: [(Edit, &str); 4] = [
        (|config| config.tls.internal_rpc.ca_file = None, "tls.internal_rpc.verify_incoming needs"),
        (
            |config| {
                config.tls.internal_rpc.ca_file = None;
                config.tls.internal_rpc.verify_incoming = false;
                config.tls.verify_server_hostname = false;
            },
            "tls.internal_rpc.verify_outgoing needs",
        ),
        (
            |config| {
                config.tls.internal_rpc.cert_file = None;
                config.tls.internal_rpc.key_file = None;
            },
            "verify_incoming needs tls.internal_rpc.cert_file",
        ),
        (|config| config.tls.internal_rpc.ca_file = Some("/nonexistent".into()), "/nonexistent"),
    ];
    for (edit, words) in cases {
        let error = InternalRpc::load(&ca.config("server", true, edit)).err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
    std::fs::create_dir(ca.path("cas")).unwrap();
    std::fs::copy(ca.path("ca.pem"), ca.path("cas/one.pem")).unwrap();
    let directory = ca.config("server", true, |config| {
        config.tls.internal_rpc.ca_file = None;
        config.tls.internal_rpc.ca_path = Some(ca.path("cas"));
    });
    assert!(InternalRpc::load(&directory).is_ok());
}
