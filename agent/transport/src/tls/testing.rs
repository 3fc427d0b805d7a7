//! An authority, the agents it certifies, and a handshake between two of them: for tests of this
//! crate, and of the agent, which includes this file.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use lictor_config::{RuntimeConfig, Source, runtime::TlsProtocol};
use lictor_transport::tls::{InternalRpc, Role, is_tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(crate) const DAY: Duration = Duration::from_secs(86400);

/// An authority and the files it made.
pub(crate) struct Ca {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Writes `<file>.pem` and `<file>-key.pem`.
    pub(crate) fn issue(&self, file: &str, names: &[&str], ends: SystemTime) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = (ends - 2 * DAY).into();
        params.not_after = ends.into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}-key.pem")), key.serialize_pem()).unwrap();
    }

    /// An agent with a certificate, that checks everything; `edit` changes that.
    pub(crate) fn config(
        &self,
        file: &str,
        server: bool,
        edit: impl FnOnce(&mut RuntimeConfig),
    ) -> RuntimeConfig {
        let source = Source {
            server: Some(server),
            data_dir: Some("/nowhere".into()),
            bind_addr: Some("127.0.0.1".into()),
            ..Source::default()
        };
        let mut config = lictor_config::build(source, false, Vec::new()).unwrap();
        config.tls.internal_rpc = TlsProtocol {
            ca_file: Some(self.path("ca.pem")),
            cert_file: Some(self.path(&format!("{file}.pem"))),
            key_file: Some(self.path(&format!("{file}-key.pem"))),
            verify_incoming: true,
            verify_outgoing: true,
            ..TlsProtocol::default()
        };
        config.tls.verify_server_hostname = true;
        edit(&mut config);
        config
    }
}

/// Connects `client` to `server` as a server of `dc1`; what each side knows of the other.
pub(crate) async fn meet(client: &InternalRpc, server: &InternalRpc) -> Result<Role, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        if !is_tls(&stream).await.map_err(|error| error.to_string())? {
            return match server.accepts_plain_text() {
                true => Ok(server.role(&[])),
                false => Err("plain text".to_owned()),
            };
        }
        let acceptor = server.acceptor().ok_or("no acceptor")?;
        let accepted = TlsAcceptor::from(acceptor).accept(stream).await;
        let mut stream = accepted.map_err(|error| error.to_string())?;
        let connection = stream.get_ref().1;
        assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));
        let role = server.role(connection.peer_certificates().unwrap_or_default());
        stream.write_all(b"hello").await.map_err(|error| error.to_string())?;
        stream.shutdown().await.ok();
        Ok(role)
    };
    let connecting = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let Some((config, name)) = client.connector("dc1") else {
            return stream.write_all(b"PRI * HTTP/2.0").await.map_err(|error| error.to_string());
        };
        let connected = TlsConnector::from(config).connect(name, stream).await;
        let mut stream = connected.map_err(|error| error.to_string())?;
        // With TLS 1.3 a refused client certificate shows at the first read.
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.map(drop).map_err(|error| error.to_string())
    };
    let (accepted, connected) = tokio::join!(accepting, connecting);
    match (accepted, connected) {
        (Ok(role), Ok(())) => Ok(role),
        (accepted, connected) => Err(format!("{accepted:?}, {connected:?}")),
    }
}
