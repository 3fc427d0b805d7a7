//! Binds every configured address before anything is started.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use lictor_config::{RuntimeConfig, runtime::Listen};
use lictor_transport::tls::TlsConfig;
use tokio::net::{TcpListener, UnixListener};

use crate::{dns, http::server::Listener};

/// Why an address cannot be bound; names the protocol, the address and the cause.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A TCP or UDP address.
    #[error("listening for {protocol} on {address}: {}", reason(.cause))]
    Address {
        /// The protocol, such as HTTP or DNS.
        protocol: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// A Unix socket.
    #[error("listening for HTTP on {path}: {cause}", path = path.display())]
    Unix {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// Returns the text of the cause; the two usual causes in plain words.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Binds DNS, UDP and TCP.
pub(super) fn dns(listen: &Listen) -> Result<dns::Listeners, ListenError> {
    dns::Listeners::bind(&listen.dns).map_err(|error| {
        let dns::BindError { protocol, address, source } = error;
        ListenError::Address { protocol, address, cause: source }
    })
}

/// Binds HTTP and HTTPS.
pub(super) async fn http(listen: &Listen, tls: &TlsConfig) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = Vec::new();
    for address in &listen.http {
        listeners.push(Listener::Tcp(tcp("HTTP", *address).await?));
    }
    for address in &listen.https {
        listeners.push(Listener::Tls(tcp("HTTPS", *address).await?, tls.clone()));
    }
    for path in &listen.http_unix {
        listeners.push(Listener::Unix(unix(path)?));
    }
    Ok(listeners)
}

/// Binds gRPC and gRPC over TLS.
pub(super) async fn grpc(listen: &Listen, tls: &TlsConfig) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = Vec::new();
    for address in &listen.grpc {
        listeners.push(Listener::Tcp(tcp("gRPC", *address).await?));
    }
    for address in &listen.grpc_tls {
        listeners.push(Listener::Tls(tcp("gRPC-TLS", *address).await?, tls.clone()));
    }
    Ok(listeners)
}

/// Binds server RPC; `None` for a client agent, and when its port is off.
pub(super) async fn server_rpc(config: &RuntimeConfig) -> Result<Option<TcpListener>, ListenError> {
    if !config.server || config.server_port == 0 {
        return Ok(None);
    }
    let address = SocketAddr::new(config.bind_addr, config.server_port);
    tcp("server RPC", address).await.map(Some)
}

async fn tcp(protocol: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError::Address {
        protocol,
        address,
        cause: source,
    })
}

/// Binds a Unix socket. Replaces a stale socket file, which an agent leaves when it is killed.
fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::Unix { path: path.to_owned(), cause: source };
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(failed(error));
            }
            std::fs::remove_file(path).map_err(failed)?;
            UnixListener::bind(path).map_err(failed)
        }
        bound => bound.map_err(failed),
    }
}
