//! Listening sockets and the accept loop, the same for upstreams and the public listener.
//!
//! SO_REUSEPORT is not set: a port in use is an error that names it, not a port shared by
//! accident. Connections beyond the cap are refused at once, so that a flood costs
//! neither memory nor file descriptors.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::drain::Drain;

/// The kernel's usual cap (`somaxconn`).
const BACKLOG: i32 = 4096;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(180);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("{0} is already in use")]
    InUse(SocketAddr),
    /// Any other reason.
    #[error("listening on {0}")]
    Other(SocketAddr, #[source] io::Error),
}

/// Opens a listener.
///
/// # Errors
/// Names the address and port.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        _ => BindError::Other(address, error),
    })
}

/// An accepted connection and its permit under the cap (`None`: the cap is reached).
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// Serves every connection in a task of its own until the drain begins or `closed` is dropped.
pub(crate) async fn accept_loop<F, S>(
    listener: TcpListener,
    cap: usize,
    drain: &Drain,
    serve: impl Fn(Accepted) -> F,
    closed: S,
) where
    F: Future<Output = ()> + Send + 'static,
    S: Future<Output = ()>,
{
    let permits = Arc::new(Semaphore::new(cap));
    let mut closed = std::pin::pin!(closed);
    loop {
        let accepted = tokio::select! {
            () = drain.stop.cancelled() => return,
            () = &mut closed => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let permit = Arc::clone(&permits).try_acquire_owned().ok();
                drain.connections.spawn(serve(Accepted { stream, peer, permit }));
            }
            // The peer gave up between SYN and accept; nothing to do.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed, trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Sets the options of every proxied socket: no delay for small writes, dead peers noticed.
///
/// # Errors
/// The socket is gone already.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_INTERVAL))
}

/// Closes a connection with a reset, so that the peer never mistakes it for the end of the data.
pub(crate) fn reset(stream: TcpStream) {
    // Fails only when the socket is gone, and then there is no peer left.
    drop(stream.set_zero_linger());
    drop(stream);
}
