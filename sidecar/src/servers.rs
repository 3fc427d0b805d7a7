//! The client of the agent or the servers: gRPC through tonic, over TCP or pinned TLS.
//!
//! [`Dialer`] opens the byte streams for tonic, because our own resolver looks names up (static
//! binaries have no NSS) and only the mesh's roots are trusted, read again for every connection.
//! HTTP/2 pings detect a dead peer within [`PING_INTERVAL`] plus [`PING_TIMEOUT`].

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use lictor_api::{
    mesh::{ACL_TOKEN, AUTHORIZATION, v1::mesh_client::MeshClient},
    resolve::lookup_with_port,
};
use rand::seq::SliceRandom as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{
    config::{Credential, ServerTls, Servers},
    tls,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// No server could be called.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("connecting to {server}")]
    Connect { server: String, source: tonic::transport::Error },
    #[error("no server to connect to")]
    NoServer,
    #[error("reading the token file {path:?}")]
    TokenFile { path: std::path::PathBuf, source: io::Error },
    #[error("the token cannot be sent: it has characters that a header must not hold")]
    Token,
}

/// Connects to one of the servers, in random order until one accepts.
///
/// # Errors
/// The error of the last server tried, or [`Error::NoServer`] without any.
pub(crate) async fn connect(servers: &Servers) -> Result<MeshClient<Channel>, Error> {
    let mut uris: Vec<&Uri> = servers.uris.iter().collect();
    uris.shuffle(&mut rand::rng());
    let mut last = Error::NoServer;
    for uri in uris {
        let dialer = Dialer { target: Arc::new((uri.clone(), servers.tls.clone())) };
        // The scheme stays out of the endpoint: TLS is the dialer's, tonic must not add its own.
        let endpoint = Endpoint::from_static("http://server.invalid")
            .origin(uri.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .buffer_size(8);
        match endpoint.connect_with_connector(dialer).await {
            Ok(channel) => return Ok(MeshClient::new(channel)),
            Err(source) => last = Error::Connect { server: uri.to_string(), source },
        }
    }
    Err(last)
}

/// Returns `message` as a request with `credential` in its metadata.
///
/// # Errors
/// The token file cannot be read, or the token has bytes that a header must not hold.
pub(crate) async fn request<T>(credential: &Credential, message: T) -> Result<Request<T>, Error> {
    let mut request = Request::new(message);
    let (key, value) = match credential {
        Credential::Anonymous => return Ok(request),
        Credential::TokenFile(path) => {
            let token = tokio::fs::read_to_string(path)
                .await
                .map_err(|source| Error::TokenFile { path: path.clone(), source })?;
            (AUTHORIZATION, format!("Bearer {}", token.trim()))
        }
        Credential::AclToken(token) => (ACL_TOKEN, token.clone()),
    };
    let mut value: MetadataValue<Ascii> = value.parse().map_err(|_| Error::Token)?;
    value.set_sensitive(true);
    request.metadata_mut().insert(key, value);
    Ok(request)
}

/// Returns whether a status is final: a retry would get the same response.
pub(crate) fn is_final(code: tonic::Code) -> bool {
    use tonic::Code;
    matches!(
        code,
        Code::PermissionDenied
            | Code::Unauthenticated
            | Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::Unimplemented
    )
}

/// Opens a byte stream to one server for tonic.
#[derive(Debug, Clone)]
struct Dialer {
    target: Arc<(Uri, Option<ServerTls>)>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Dialed = io::Result<TokioIo<Box<dyn Stream>>>;

impl tower_service::Service<Uri> for Dialer {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Dialed> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let target = Arc::clone(&self.target);
        Box::pin(async move {
            let (uri, server_tls) = &*target;
            let dial = async {
                let tcp = dial_tcp(uri).await?;
                let stream: Box<dyn Stream> = match server_tls {
                    Some(settings) if uri.scheme_str() == Some("https") => {
                        Box::new(dial_tls(tcp, settings).await?)
                    }
                    _ => Box::new(tcp),
                };
                Ok(TokioIo::new(stream))
            };
            let timed_out = || {
                let reason = format!("no answer within {CONNECT_TIMEOUT:?}");
                io::Error::new(io::ErrorKind::TimedOut, reason)
            };
            tokio::time::timeout(CONNECT_TIMEOUT, dial).await.map_err(|_| timed_out())?
        })
    }
}

async fn dial_tcp(uri: &Uri) -> io::Result<TcpStream> {
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 8503 } else { 8500 });
    let mut addresses =
        lookup_with_port(uri.host().unwrap_or_default(), port).await.map_err(io::Error::other)?;
    addresses.shuffle(&mut rand::rng());
    let tcp = TcpStream::connect(&addresses[..]).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

async fn dial_tls(
    tcp: TcpStream,
    settings: &ServerTls,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let pem = tokio::fs::read(&settings.roots_file).await.map_err(|error| {
        io::Error::new(error.kind(), format!("reading {:?}: {error}", settings.roots_file))
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(settings.server_name.clone()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}
