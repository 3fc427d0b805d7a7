//! A TLS client other than a sidecar: any certificate or none, and no verification of the server.

use std::{net::SocketAddr, sync::Arc};

use lictor_api::tls::AnyServer;
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::TEST_TIMEOUT;

/// Sends six bytes to a public listener and returns how many come back.
pub(crate) async fn greet(
    public: SocketAddr,
    certificate: Option<(String, String)>,
) -> std::io::Result<usize> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    let tls = match certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let talk = async {
        let tcp = TcpStream::connect(public).await?;
        let name = ServerName::IpAddress(public.ip().into());
        let mut tls = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?;
        tls.write_all(b"hello!").await?;
        tls.flush().await?;
        tls.read(&mut [0; 16]).await
    };
    timeout(TEST_TIMEOUT, talk).await.expect("a response in time")
}
