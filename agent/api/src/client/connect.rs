//! Connections: TCP with names looked up by [`crate::resolve`], Unix sockets, TLS around either.

use std::{
    error::Error,
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{
    io::ReadBuf,
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tower_service::Service;

use super::{Config, ConfigError};
use crate::{
    resolve::{LookupError, lookup},
    tls::AnyServer,
};

/// Time for one connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the HTTP client connects with.
pub(super) type Connector = HttpsConnector<Dial>;

/// The connector, and the URL that paths are appended to.
pub(super) fn connector(config: &Config) -> Result<(Connector, String), ConfigError> {
    let (scheme, target) = target(config)?;
    let (socket, base) = match target {
        Target::Unix(path) => (Some(path), format!("{scheme}://localhost")),
        Target::Authority(authority) => (None, format!("{scheme}://{authority}")),
    };
    let uri: Uri = base.parse().map_err(|_| ConfigError::Address(config.address.clone()))?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(ConfigError::Address(config.address.clone()));
    }
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls(config)?).https_or_http();
    let dial = Dial { socket };
    let connector = match &config.tls_server_name {
        None => builder.enable_http1().wrap_connector(dial),
        Some(name) => {
            let name = ServerName::try_from(name.clone())
                .map_err(|_| ConfigError::Tls(format!("{name:?} is not a server name")))?;
            builder
                .with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name))
                .enable_http1()
                .wrap_connector(dial)
        }
    };
    Ok((connector, base))
}

enum Target {
    Unix(PathBuf),
    Authority(String),
}

fn target(config: &Config) -> Result<(&'static str, Target), ConfigError> {
    let address = if config.address.is_empty() { "127.0.0.1:8500" } else { &config.address };
    let plain = if config.tls { "https" } else { "http" };
    if let Some(path) = address.strip_prefix("unix://") {
        return Ok((plain, Target::Unix(PathBuf::from(path))));
    }
    let (scheme, authority) = match address.split_once("://") {
        None => (plain, address),
        Some(("http", authority)) => (plain, authority),
        Some(("https", authority)) => ("https", authority),
        Some(_) => return Err(ConfigError::Address(config.address.clone())),
    };
    Ok((scheme, Target::Authority(authority.trim_end_matches('/').to_owned())))
}

/// The innermost cause in Go's words, which users of Consul's CLI and their scripts know.
pub(super) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        if deepest.downcast_ref::<DialError>().is_some() {
            break;
        }
        deepest = source;
    }
    deepest.to_string()
}

/// Opens connections.
#[derive(Clone)]
pub(super) struct Dial {
    socket: Option<PathBuf>,
}

/// A connection that could not be opened.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("dial tcp {address}: connect: {}", go_text(.source))]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("dial unix {}: connect: {}", path.display(), go_text(.source))]
    Unix { path: PathBuf, source: io::Error },
    #[error("dial tcp: lookup {host}: {}", go_lookup_text(.source))]
    Lookup { host: String, source: LookupError },
}

fn go_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn go_lookup_text(error: &LookupError) -> String {
    match error {
        LookupError::NoSuchHost(_) => "no such host".to_owned(),
        LookupError::Failed { source, .. } => source.to_string(),
    }
}

impl Service<Uri> for Dial {
    type Response = Stream;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let socket = self.socket.clone();
        Box::pin(async move {
            let opened = match socket {
                Some(path) => unix(&path).await,
                None => tcp(&uri).await,
            };
            Ok(opened?)
        })
    }
}

async fn unix(path: &Path) -> Result<Stream, DialError> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Stream::new(Socket::Unix(TokioIo::new(stream)))),
        Err(source) => Err(DialError::Unix { path: path.to_owned(), source }),
    }
}

async fn tcp(uri: &Uri) -> Result<Stream, DialError> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let unknown = |source| DialError::Lookup { host: host.to_owned(), source };
    let mut failed = unknown(LookupError::NoSuchHost(host.to_owned()));
    for ip in lookup(host).await.map_err(unknown)? {
        let address = SocketAddr::new(ip, port);
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                if let Err(source) = stream.set_nodelay(true) {
                    return Err(DialError::Tcp { address, source });
                }
                return Ok(Stream::new(Socket::Tcp(TokioIo::new(stream))));
            }
            Err(source) => failed = DialError::Tcp { address, source },
        }
    }
    Err(failed)
}

/// A TCP or Unix connection.
///
/// A client speaks first. A server that refuses a connection may answer earlier, which hyper takes
/// for an error of its own, so such an answer stays in the socket until something was written.
pub(super) struct Stream {
    socket: Socket,
    has_spoken: bool,
    /// Who waits for the early answer.
    reader: Option<Waker>,
}

enum Socket {
    Tcp(TokioIo<TcpStream>),
    Unix(TokioIo<UnixStream>),
}

// === impl Stream ===

impl Stream {
    fn new(socket: Socket) -> Self {
        Self { socket, has_spoken: false, reader: None }
    }

    /// Whether an early answer is there. Not the end of a connection: it is reported at once.
    fn holds_early_answer(&self, cx: &mut Context<'_>) -> bool {
        let Socket::Tcp(stream) = &self.socket else { return false };
        let mut byte = [0];
        !self.has_spoken
            && matches!(
                stream.inner().poll_peek(cx, &mut ReadBuf::new(&mut byte)),
                Poll::Ready(Ok(1..))
            )
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.holds_early_answer(cx) {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        if written.is_ready() {
            self.has_spoken = true;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The TLS settings; roots are those given, else the system's.
fn tls(config: &Config) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Tls(error.to_string()))?;
    let builder = if config.tls_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer))
    } else {
        builder.with_root_certificates(roots(config)?)
    };
    let (Some(cert), Some(key)) = (&config.client_cert, &config.client_key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = read_pem(cert, CertificateDer::pem_file_iter(cert))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| ConfigError::File { path: key.clone(), problem: error.to_string() })?;
    builder.with_client_auth_cert(chain, key).map_err(|error| ConfigError::Tls(error.to_string()))
}

fn roots(config: &Config) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    let mut given = Vec::new();
    if let Some(path) = &config.ca_file {
        given.extend(read_pem(path, CertificateDer::pem_file_iter(path))?);
    }
    if let Some(pem) = &config.ca_pem {
        given.extend(read_pem(
            Path::new("roots"),
            Ok(CertificateDer::pem_slice_iter(pem.as_bytes())),
        )?);
    }
    if config.ca_file.is_none() && config.ca_pem.is_none() {
        // A machine without system roots can still speak plain HTTP; HTTPS then fails by itself.
        given = rustls_native_certs::load_native_certs().certs;
        roots.add_parsable_certificates(given);
        return Ok(roots);
    }
    for certificate in given {
        roots.add(certificate).map_err(|error| ConfigError::Tls(error.to_string()))?;
    }
    Ok(roots)
}

fn read_pem(
    path: &Path,
    certificates: Result<
        impl Iterator<Item = Result<CertificateDer<'static>, rustls_pki_types::pem::Error>>,
        rustls_pki_types::pem::Error,
    >,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    certificates
        .and_then(Iterator::collect)
        .map_err(|error| ConfigError::File { path: path.to_owned(), problem: error.to_string() })
}
