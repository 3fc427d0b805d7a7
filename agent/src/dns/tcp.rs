//! DNS over TCP (RFC 7766): messages behind a length of two bytes, answered in order.
//!
//! INVARIANT: a bounded number of connections, each closed after a while without a whole query,
//! so that idle clients cannot keep others out for long.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rand::{SeedableRng, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
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
/// Pause after a failed accept, such as for too many open files.
const ERROR_INTERVAL: Duration = Duration::from_millis(20);

/// Accepts connections until the worker's token is cancelled.
pub(super) async fn accept(listener: TcpListener, worker: Worker) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let shutdown = worker.shutdown.clone();
    let accept = async {
        while let Ok(permit) = permits.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, client)) => {
                    worker.tracker.spawn(connection(stream, client, worker.clone(), permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "dns listener cannot accept");
                    sleep(ERROR_INTERVAL).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept).await;
}

async fn connection(
    mut stream: TcpStream,
    client: SocketAddr,
    worker: Worker,
    permit: OwnedSemaphorePermit,
) {
    let shutdown = worker.shutdown.clone();
    let serve = Box::pin(async {
        let mut buffers = (Vec::new(), Vec::new());
        while exchange(&mut stream, &worker, &mut buffers).await? {}
        io::Result::Ok(())
    });
    if let Some(Err(error)) = shutdown.run_until_cancelled(serve).await {
        tracing::debug!(%client, %error, "dns connection ended");
    }
    drop(permit);
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
