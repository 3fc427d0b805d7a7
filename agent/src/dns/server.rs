//! Serving: binds the sockets, and starts and ends the threads and tasks that read them.
//!
//! Binding is apart from serving, so that a port in use is reported before anything starts. UDP
//! runs on threads of its own, one per core and address, each with a socket of the address's
//! SO_REUSEPORT group; TCP and recursion run on tokio, bounded. INVARIANT: all of them are
//! tasks and threads of the given owner, which waits for them at its end.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    thread,
};

use lictor_runtime::Tasks;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::Semaphore;

use super::{
    datagram, tcp, udp,
    worker::{Backend, Worker},
};

/// Queries that wait for recursors, servers or views at a time; more get SERVFAIL.
const MAX_RECURSIONS: usize = 512;
/// Pending TCP connections per address.
const MAX_PENDING_CONNECTIONS: i32 = 128;

/// How often port 0 is tried again when its port is free for TCP only.
const MAX_ANY_PORT_RETRIES: usize = 8;

/// An address of the configuration cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listening for {protocol} on {address}")]
pub struct BindError {
    /// `DNS over UDP` or `DNS over TCP`.
    pub protocol: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Bound sockets. Nothing is read from them yet.
#[derive(Debug)]
pub struct Listeners {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Listeners {
    /// Binds every address for UDP and TCP. Port 0 takes any free port, the same for both.
    ///
    /// # Errors
    /// [`BindError`] names the first address that failed; what was bound is released.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let mut listeners = Self { udp: Vec::new(), tcp: Vec::new(), addresses: Vec::new() };
        for &wanted in addresses {
            let mut result = listeners.bind_address(wanted, threads);
            // The port that TCP was given at random may be another's over UDP.
            for _ in 0..MAX_ANY_PORT_RETRIES {
                if wanted.port() != 0 || result.is_ok() {
                    break;
                }
                result = listeners.bind_address(wanted, threads);
            }
            result?;
        }
        Ok(listeners)
    }

    fn bind_address(&mut self, wanted: SocketAddr, threads: usize) -> Result<(), BindError> {
        let failed = |protocol, address| move |source| BindError { protocol, address, source };
        let tcp = bind_tcp(wanted).map_err(failed("DNS over TCP", wanted))?;
        let bound = tcp.local_addr().map_err(failed("DNS over TCP", wanted))?;
        let udp: Vec<_> = (0..threads)
            .map(|thread| bind_udp(bound, thread == 0))
            .collect::<io::Result<_>>()
            .map_err(failed("DNS over UDP", bound))?;
        self.udp.extend(udp);
        self.tcp.push(tcp);
        self.addresses.push(bound);
        Ok(())
    }

    /// Returns the addresses with their ports, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(MAX_PENDING_CONNECTIONS)?;
    Ok(socket.into())
}

/// Binds one socket of an address. The first joins the SO_REUSEPORT group only after it is bound:
/// binding it must fail when another process has the port, even one that would share it.
fn bind_udp(address: SocketAddr, first: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    datagram::report_host(&socket, address)?;
    if !first {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    if first {
        socket.set_reuse_port(true)?;
    }
    Ok(socket.into())
}

/// Serves until shutdown of `tasks`, which wait for the threads and connections.
///
/// # Errors
/// The sockets or threads cannot be used; DNS is not served.
pub async fn serve(listeners: Listeners, backend: Backend, tasks: Tasks) -> io::Result<()> {
    let recursions = Arc::new(Semaphore::new(MAX_RECURSIONS));
    let worker = Worker { backend, recursions, tasks };
    let sockets: Vec<_> = listeners.udp.into_iter().map(Arc::new).collect();
    let _wake = WakeOnDrop(&sockets);
    for socket in &sockets {
        udp::start(socket.clone(), worker.clone())?;
    }
    for listener in listeners.tcp {
        tcp::start(tokio::net::TcpListener::from_std(listener)?, &worker);
    }
    tracing::info!(addresses = ?listeners.addresses, "dns is serving");
    worker.tasks.shutdown().cancelled().await;
    Ok(())
}

/// Wakes the threads of these sockets when it is dropped, so that they see the shutdown.
struct WakeOnDrop<'a>(&'a [Arc<UdpSocket>]);

impl Drop for WakeOnDrop<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|socket| wake(socket));
    }
}

/// Makes a blocked receive return: Linux wakes it although an unconnected socket has nothing to
/// shut down and says so.
fn wake(socket: &UdpSocket) {
    match SockRef::from(socket).shutdown(std::net::Shutdown::Read) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
        Err(error) => tracing::warn!(%error, "dns socket cannot be shut down"),
    }
}
