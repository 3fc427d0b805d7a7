//! DNS over TCP (RFC 7766): messages behind a length of two bytes, answered in order.
//!
//! INVARIANT: a bounded number of connections, each closed after a while without a whole query,
//! so that idle clients cannot keep others out for long.

use std::{io, time::Duration};

use lictor_runtime::accept::{Accepted, Connections, Slots, WhenFull};
use rand::{SeedableRng, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    Zone,
    remote::Work,
    truncate::Transport,
    worker::{Reply, Worker},
};

/// Connections per address.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send a query or take an answer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

/// Starts to accept connections, until shutdown.
pub(super) fn start(listener: TcpListener, worker: &Worker) {
    let connections = Connections::new(&worker.tasks, "dns.connection");
    let (tasks, worker) = (worker.tasks.clone(), worker.clone());
    // A panic of a connection stays there; without this loop DNS is not served over TCP.
    tasks.spawn_until_shutdown("dns.tcp", async move {
        let slots = Slots::new(MAX_CONNECTIONS, WhenFull::Wait);
        let serve = |accepted| connection(accepted, worker.clone());
        match connections.accept(&listener, &slots, serve).await {}
    });
}

async fn connection(accepted: Accepted<TcpStream>, worker: Worker) {
    let Accepted { mut stream, address: client, slot } = accepted;
    let shutdown = worker.tasks.shutdown().clone();
    let serve = Box::pin(async {
        let mut buffers = (Vec::new(), Vec::new());
        while exchange(&mut stream, &worker, &mut buffers).await? {}
        io::Result::Ok(())
    });
    if let Some(Err(error)) = shutdown.run_until_cancelled(serve).await {
        tracing::debug!(?client, %error, "dns connection ended");
    }
    drop(slot);
}

/// Answers one query; false when the client is done.
async fn exchange(
    stream: &mut TcpStream,
    worker: &Worker,
    (packet, out): &mut (Vec<u8>, Vec<u8>),
) -> io::Result<bool> {
    if !timeout(IDLE_TIMEOUT, receive(stream, packet)).await?? {
        return Ok(false);
    }
    let zone = worker.backend.zone.load_full();
    let reply = {
        let mut rng = SmallRng::from_rng(&mut rand::rng());
        worker.answerer(&zone, Transport::Tcp).reply(packet, &mut rng, out)
    };
    match reply {
        Reply::Nothing => return Ok(false),
        Reply::Send => {}
        Reply::Later(work) => match later(work, worker, &zone).await {
            Some(answer) => *out = answer,
            None => return Ok(false),
        },
    }
    timeout(IDLE_TIMEOUT, send(stream, out)).await??;
    Ok(true)
}

/// Carries out work and returns its answer; SERVFAIL when too much other work waits.
async fn later(work: Work, worker: &Worker, zone: &Zone) -> Option<Vec<u8>> {
    match worker.recursions.try_acquire() {
        Ok(_permit) => work.carry_out(Transport::Tcp, zone, worker.backend.remote.as_ref()).await,
        Err(_) => work.refuse(zone),
    }
}

/// Reads a message; false at the end of the stream.
async fn receive(stream: &mut TcpStream, packet: &mut Vec<u8>) -> io::Result<bool> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    packet.resize(usize::from(length), 0);
    stream.read_exact(packet).await?;
    Ok(true)
}

async fn send(stream: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(2 + answer.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(answer);
    stream.write_all(&framed).await
}
