//! What server RPC travels on: TCP, and in tests a simulated network.
//!
//! INVARIANT: nothing but tests can name the simulation, and what runs on TCP runs on tokio's own
//! types: which of both it is, is decided once per connection.

use std::{io, net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

/// How long a peer's kernel may leave what was sent to it unacknowledged: without a limit, requests
/// to a machine that is gone would wait for many retransmissions. A process that is only slow does
/// not count, its kernel answers.
const UNACKNOWLEDGED: Duration = Duration::from_secs(3);

/// A connection that was made or accepted.
pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(test)]
    Simulated(turmoil::net::TcpStream),
}

/// Where connections are accepted.
pub enum Listener {
    /// A socket.
    Tcp(TcpListener),
    /// A port of a simulated host; always in plain text.
    #[cfg(test)]
    Simulated(turmoil::net::TcpListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                listener.accept().await.map(|(stream, address)| (Stream::Tcp(stream), address))
            }
            #[cfg(test)]
            Self::Simulated(listener) => listener
                .accept()
                .await
                .map(|(stream, address)| (Stream::Simulated(stream), address)),
        }
    }
}

/// How connections are made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Dialer {
    #[default]
    Tcp,
    #[cfg(test)]
    Simulated,
}

impl Dialer {
    pub(super) async fn connect(self, address: SocketAddr) -> io::Result<Stream> {
        match self {
            Self::Tcp => connect(address).await.map(Stream::Tcp),
            #[cfg(test)]
            Self::Simulated => {
                turmoil::net::TcpStream::connect(address).await.map(Stream::Simulated)
            }
        }
    }
}

/// Over TCP.
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(stream)
}
