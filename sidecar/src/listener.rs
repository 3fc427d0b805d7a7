//! Listening sockets and the accept loop, the same for upstreams and the public listener.
//!
//! SO_REUSEPORT is not set: a port in use is an error that names it, not a port shared by
//! accident. Connections beyond the cap are refused at once, so that a flood costs
//! neither memory nor file descriptors.

use std::{io, net::SocketAddr, time::Duration};

use lictor_runtime::accept::{self, Slot, Slots, WhenFull};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::DropGuard;

use crate::drain::Drain;

/// Connections that wait to be accepted: the kernel's usual cap (`somaxconn`).
const MAX_BACKLOG: i32 = 4096;
/// Idle time before the kernel probes whether the peer is alive.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(180);

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

/// Opens a listener at `address`.
///
/// # Errors
/// [`BindError`], which names address and port.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(MAX_BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        _ => BindError::Other(address, error),
    })
}

/// An accepted connection and its slot under the cap (`None`: the cap is reached).
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) slot: Option<Slot>,
}

/// Serves every connection in a task of its own until the drain begins or the returned guard is
/// dropped. A panic ends only the connection it happens in.
pub(crate) fn accept<F>(
    listener: TcpListener,
    cap: usize,
    drain: &Drain,
    serve: impl Fn(Accepted) -> F + Send + Sync + 'static,
) -> DropGuard
where
    F: Future<Output = ()> + Send + 'static,
{
    let (tasks, connections) = (drain.tasks.group(), drain.connections.clone());
    let close = tasks.shutdown().clone().drop_guard();
    tasks.spawn_until_shutdown("listener", async move {
        let slots = Slots::new(cap, WhenFull::Refuse);
        let serve = |accepted: accept::Accepted<TcpStream>| {
            let accept::Accepted { stream, address, slot } = accepted;
            // TCP peers always have an address.
            let served = address.map(|peer| serve(Accepted { stream, peer, slot }));
            async move {
                if let Some(served) = served {
                    served.await;
                }
            }
        };
        match connections.accept(&listener, &slots, serve).await {}
    });
    close
}

/// Sets the options of every proxied socket: TCP_NODELAY for small writes, and keepalive to detect
/// dead peers.
///
/// # Errors
/// The socket is already closed.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_INTERVAL))
}

/// Closes a connection with a reset, so that the peer never mistakes it for the end of the data.
pub(crate) fn reset(stream: TcpStream) {
    // Fails only if the socket is already closed, and then there is no peer to reset.
    drop(stream.set_zero_linger());
    drop(stream);
}

#[cfg(test)]
mod tests;
