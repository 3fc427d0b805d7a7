//! The network below server RPC: TCP, or one that a test simulates.
//!
//! INVARIANT: TCP uses tokio's own types without dynamic dispatch per read or write; the choice is
//! made once per connection.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use lictor_runtime::accept;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

/// How long a peer's kernel may leave data unacknowledged: without a limit, requests to a machine
/// that is gone would wait for many retransmissions. A slow process does not count: its kernel
/// acknowledges.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(3);

/// A stream of bytes that is not TCP.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A network other than TCP, always in plain text: the simulated one of tests.
pub trait Network: Send + Sync {
    /// Connects to an address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Io>>>;
}

/// A port of a [`Network`].
pub trait Accept: Send + Sync {
    /// Waits for the next connection.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Io>, SocketAddr)>>;
}

/// A connection that was made or accepted.
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over another network.
    Other(Box<dyn Io>),
}

/// Accepts connections.
pub enum Listener {
    /// A socket.
    Tcp(TcpListener),
    /// A port of another network.
    Other(Box<dyn Accept>),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl accept::Listener for Listener {
    type Stream = (Stream, SocketAddr);

    async fn accept(&self) -> io::Result<(Self::Stream, Option<SocketAddr>)> {
        let (stream, address) = match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                (Stream::Tcp(stream), address)
            }
            Self::Other(listener) => {
                let (stream, address) = listener.accept().await?;
                (Stream::Other(stream), address)
            }
        };
        Ok(((stream, address), Some(address)))
    }
}

/// Makes connections.
#[derive(Clone, Default)]
pub(super) enum Dialer {
    #[default]
    Tcp,
    Other(Arc<dyn Network>),
}

impl Dialer {
    pub(super) async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        match self {
            Self::Tcp => connect(address).await.map(Stream::Tcp),
            Self::Other(network) => network.connect(address).await.map(Stream::Other),
        }
    }
}

/// Connects over TCP, without delay of small writes and with a limit for unacknowledged data.
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    Ok(stream)
}
