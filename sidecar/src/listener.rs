//! Listening sockets and the accept loop, the same for upstreams and the public listener.
//!
//! SO_REUSEPORT is not set: a port that someone else has is an error that names it, not a port
//! shared by accident. Connections beyond the cap are refused at once, so that a flood costs
//! neither memory nor file descriptors.

pub(crate) mod supervisor;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tracing::warn;

use crate::drain::Drain;

/// What the kernel's own cap (`somaxconn`) usually is.
const BACKLOG: i32 = 4096;
const KEEPALIVE: Duration = Duration::from_secs(180);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Someone else listens there.
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

/// An accepted connection, and its place under the cap (`None`: there was none left).
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) place: Option<OwnedSemaphorePermit>,
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
    let places = Arc::new(Semaphore::new(cap));
    let mut closed = std::pin::pin!(closed);
    loop {
        let accepted = tokio::select! {
            () = drain.stop.cancelled() => return,
            () = &mut closed => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let place = Arc::clone(&places).try_acquire_owned().ok();
                drain.connections.spawn(serve(Accepted { stream, peer, place }));
            }
            // The peer gave up between SYN and accept; nothing to do.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!(%error, "accepting a connection failed, trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Options that every proxied socket gets: no delay for small writes, dead peers noticed.
///
/// # Errors
/// The socket is gone already.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

/// Ends a connection so that the other side sees a reset and never mistakes it for the end of
/// the data.
pub(crate) fn reset(stream: TcpStream) {
    // Fails only when the socket is gone, and then there is no one to tell.
    drop(stream.set_zero_linger());
    drop(stream);
}
