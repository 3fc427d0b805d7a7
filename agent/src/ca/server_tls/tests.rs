use std::path::Path;

use lictor_config::Source;
use rcgen::CertificateParams;
use rustls::{
    ClientConfig, ClientConnection, ServerConnection,
    pki_types::{IpAddr, ServerName},
};

use super::*;
use crate::ca::tests::server;

fn configured(edit: impl FnOnce(&mut RuntimeConfig)) -> RuntimeConfig {
    let mut config = lictor_config::build(Source::default(), true, Vec::new()).unwrap();
    edit(&mut config);
    config
}

/// Shakes hands in memory; answers the protocol chosen.
fn handshake(
    server: Arc<ServerConfig>,
    trusted: &[CertificateDer<'static>],
    name: ServerName<'static>,
) -> Result<Option<Vec<u8>>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(server)?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(client.alpn_protocol().map(<[u8]>::to_vec))
}

async fn wait_for(tls: &TlsConfig) -> Arc<ServerConfig> {
    let found = async {
        loop {
            if let Some(config) = tls.load_full() {
                return config;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found).await.unwrap()
}

#[tokio::test]
async fn the_meshs_certificate_names_the_server_and_follows_its_root() {
    let config = configured(|config| {
        config.listen.grpc_tls = vec!["127.0.0.1:0".parse().unwrap()];
        config.tls.auto_names = vec!["lictor-server.mesh.svc".to_owned(), "192.0.2.7".to_owned()];
    });
    let authority = Arc::new(Authority::new(server().await, "dc1"));
    authority.initialize(&config.connect.ca).await.unwrap();
    let tls = Arc::new(ListenerTls::load(&config).unwrap());
    let stop = CancellationToken::new();
    let keeping = tokio::spawn({
        let (tls, authority, stop) = (tls.clone(), authority.clone(), stop.clone());
        async move { tls.run(&authority, &config, stop).await }
    });

    let serving = wait_for(&tls.grpc).await;
    let trusted = authority.current().await.unwrap().bundle_der();
    for name in ["server.dc1.consul", "localhost", "lictor-server.mesh.svc"] {
        let name = ServerName::try_from(name).unwrap();
        assert_eq!(handshake(serving.clone(), &trusted, name).unwrap(), Some(b"h2".to_vec()));
    }
    for address in ["127.0.0.1", "192.0.2.7"] {
        let name = ServerName::IpAddress(IpAddr::try_from(address).unwrap());
        handshake(serving.clone(), &trusted, name).unwrap();
    }
    let other = ServerName::try_from("server.dc2.consul").unwrap();
    handshake(serving.clone(), &trusted, other).unwrap_err();
    assert!(tls.https.load().is_none(), "HTTPS has no certificate without tls.auto");

    let key = KeyPair::generate().unwrap().serialize_pem();
    let settings = authority.current().await.unwrap().config.clone();
    authority.configure(settings, Some(&key), None, true).await.unwrap();
    let new_root = authority.current().await.unwrap().bundle_der().pop().unwrap();
    let renewed = async {
        let name = ServerName::try_from("localhost").unwrap();
        while handshake(wait_for(&tls.grpc).await, std::slice::from_ref(&new_root), name.clone())
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed).await.unwrap();
    stop.cancel();
    keeping.await.unwrap();
}

/// A self-signed certificate for `name` in `cert.pem` and `key.pem` of `dir`.
fn write_files(dir: &Path, name: &str) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(dir.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

fn files_in(dir: &Path) -> TlsProtocol {
    TlsProtocol {
        cert_file: Some(dir.join("cert.pem")),
        key_file: Some(dir.join("key.pem")),
        ..TlsProtocol::default()
    }
}

#[tokio::test]
async fn files_of_the_operator_serve_https_and_a_reload_takes_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_files(dir.path(), "agent.example");
    let config = configured(|config| config.tls.https = files_in(dir.path()));
    let tls = ListenerTls::load(&config).unwrap();
    let name = || ServerName::try_from("agent.example").unwrap();
    let serving = || tls.https.load_full().unwrap();
    handshake(serving(), std::slice::from_ref(&first), name()).unwrap();

    std::fs::write(dir.path().join("key.pem"), "nothing").unwrap();
    let error = ListenerFiles::load(&config).err().unwrap();
    assert!(error.to_string().starts_with("reading key /"), "{error}");
    handshake(serving(), std::slice::from_ref(&first), name()).unwrap();

    let second = write_files(dir.path(), "agent.example");
    let open = serving();
    tls.stage(ListenerFiles::load(&config).unwrap()).unwrap().commit();
    handshake(serving(), std::slice::from_ref(&second), name()).unwrap();
    handshake(serving(), std::slice::from_ref(&first), name()).unwrap_err();
    // What a connection began with goes on.
    handshake(open, std::slice::from_ref(&first), name()).unwrap();
}

#[tokio::test]
async fn grpc_serves_with_files_only_where_they_are_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let own = write_files(dir.path(), "agent.example");
    let config = configured(|config| config.tls.grpc = files_in(dir.path()));
    let tls = ListenerTls::load(&config).unwrap();
    let name = ServerName::try_from("agent.example").unwrap();
    handshake(tls.grpc.load_full().unwrap(), std::slice::from_ref(&own), name).unwrap();
    assert!(tls.https.load().is_none());
}

#[test]
fn verifying_clients_needs_somebody_to_trust() {
    let config = configured(|config| config.tls.https.verify_incoming = true);
    let error = ListenerTls::load(&config).err().unwrap();
    assert!(matches!(error, TlsError::NoAuthorities { protocol: "https", .. }), "{error}");
}
