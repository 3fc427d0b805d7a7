//! One way to accept connections: [`Connections`] runs each in a named task, [`Slots`] bound how
//! many there are, and the end is graceful first and then final.
//!
//! INVARIANT: what peers can make a server hold is bounded, and every slot comes back, also after
//! a panic: it is given back by [`Slot`]'s drop. INVARIANT: running out of file descriptors is
//! logged and waited out; it neither ends the loop nor spins.
//!
//! What a server does with a connection (TLS, HTTP, refusing one that found no slot) is its own.

mod slots;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::sleep,
};

pub use self::slots::{Slot, Slots, WhenFull};
use crate::{backoff::Backoff, task::Tasks};

/// Pause after `accept` failed, doubled up to the longest. What it waits for is mostly a file
/// descriptor.
const MIN_ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A bound socket, or what stands for one in tests.
pub trait Listener: Sync {
    /// A connection.
    type Stream;

    /// Waits for the next connection. Its address is `None` where peers have none (Unix sockets).
    ///
    /// # Errors
    /// Those of `accept(2)`.
    ///
    /// # Cancel safety
    /// Cancel safe: no connection is lost.
    fn accept(&self)
    -> impl Future<Output = io::Result<(Self::Stream, Option<SocketAddr>)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let (stream, address) = Self::accept(self).await?;
        Ok((stream, Some(address)))
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Option<SocketAddr>)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, None))
    }
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The connection.
    pub stream: S,
    /// The peer's address, where it has one.
    pub address: Option<SocketAddr>,
    /// Counts the connection while it is held. `None`: all are taken, and the connection is to be
    /// refused, which [`WhenFull::Wait`] never asks for.
    pub slot: Option<Slot>,
}

/// The connections of one server, over all its listeners. Clones are handles of the same ones.
#[derive(Debug, Clone)]
pub struct Connections {
    tasks: Tasks,
    name: &'static str,
}

impl Connections {
    /// Returns a server without connections; `name` is the name of each connection's task.
    pub fn new(tasks: &Tasks, name: &'static str) -> Self {
        Self { tasks: tasks.group(), name }
    }

    /// Runs a task that [`Connections::drain`] waits for: a connection, or a stream of one.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Once on the heap, so that what runs around it does not hold it by value again.
        self.tasks.spawn_transient(self.name, Box::pin(task));
    }

    /// Returns how many connections are open.
    pub fn open(&self) -> usize {
        self.tasks.group_len()
    }

    /// Accepts connections for ever and serves each in a task of its own.
    ///
    /// # Cancel safety
    /// Cancel safe: to stop accepting, drop this.
    pub async fn accept<L: Listener, F>(
        &self,
        listener: &L,
        slots: &Arc<Slots>,
        serve: impl Fn(Accepted<L::Stream>) -> F,
    ) -> Infallible
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut backoff = Backoff::new(MIN_ACCEPT_PAUSE, MAX_ACCEPT_PAUSE);
        loop {
            let reserved = slots.reserve().await;
            match listener.accept().await {
                Ok((stream, address)) => {
                    backoff.reset();
                    let slot = slots.take(reserved, address.map(|address| address.ip()));
                    self.spawn(serve(Accepted { stream, address, slot }));
                }
                // The peer gave up before it was accepted: nothing is wrong here.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    let pause = backoff.next_pause();
                    tracing::warn!(task = self.name, %error, ?pause, "cannot accept connections");
                    sleep(pause).await;
                }
            }
        }
    }

    /// Waits until all connections have ended, and after `grace` drops those that have not.
    /// Returns how many were dropped. Called when nothing accepts any more; the connections
    /// themselves learn of the end from the token that their server watches.
    pub async fn drain(&self, grace: Duration) -> usize {
        let late = self.tasks.drain_group(grace).await;
        if late > 0 {
            tracing::warn!(task = self.name, connections = late, "connections did not end in time");
        }
        late
    }
}

#[cfg(test)]
mod tests;
