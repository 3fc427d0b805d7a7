use std::sync::Arc;

use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
    pki_types::PrivateKeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::*;

#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Refuses signatures of TLS 1.2.
#[derive(Debug)]
struct Modern;

impl ServerCertVerifier for Modern {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!(tls13);
}

fn key() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["server".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    (made.cert.der().clone(), key)
}

/// Returns how the client's handshake ends with a server that shows `certificate`.
fn handshake(
    verifier: impl ServerCertVerifier + 'static,
    version: &'static SupportedProtocolVersion,
    certificate: CertificateDer<'static>,
    key: &PrivateKeyDer<'static>,
) -> Result<Option<ProtocolVersion>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let shown = CertifiedKey::new(vec![certificate], aws_lc_rs::sign::any_supported_type(key)?);
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(shown))));
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let name = ServerName::try_from("another.name").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() {
        let mut sent = Vec::new();
        client.write_tls(&mut sent).unwrap();
        server.read_tls(&mut &sent[..]).unwrap();
        server.process_new_packets()?;
        let mut answered = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answered).unwrap();
        }
        let mut answered = &answered[..];
        while !answered.is_empty() {
            client.read_tls(&mut answered).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(client.protocol_version())
}

#[test]
fn any_server_is_accepted_that_holds_the_key_of_its_certificate() {
    let ((certificate, key), (_, other_key)) = (self::key(), self::key());
    for version in [&TLS12, &TLS13] {
        let accepted = handshake(AnyServer, version, certificate.clone(), &key);
        assert_eq!(accepted, Ok(Some(version.version)));
        let refused = handshake(AnyServer, version, certificate.clone(), &other_key);
        assert!(matches!(refused, Err(rustls::Error::InvalidCertificate(_))), "{refused:?}");
    }
}

#[test]
fn a_verifier_of_tls_1_3_refuses_signatures_of_1_2() {
    let (certificate, key) = key();
    let accepted = handshake(Modern, &TLS13, certificate.clone(), &key);
    assert_eq!(accepted, Ok(Some(ProtocolVersion::TLSv1_3)));
    let refused = handshake(Modern, &TLS12, certificate, &key);
    assert!(matches!(refused, Err(rustls::Error::PeerIncompatible(_))), "{refused:?}");
}
