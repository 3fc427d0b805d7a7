//! DNS over UDP (RFC 1035 section 4.2.1): one thread per socket answers where it reads.
//!
//! Only what recursors must resolve is handed to tokio, up to a bound; beyond it the client gets
//! SERVFAIL at once.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use rand::{SeedableRng, rngs::SmallRng};
use tokio::runtime::Handle;

use super::{
    packet::{self, Outcome},
    remote::Work,
    server::{Worker, unix_seconds},
    truncate::Transport,
};

/// A datagram has at most so many bytes.
const MAX_BYTES: usize = 65_535;
/// How long a socket rests after an error, which is the system's shortage and passes.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// Starts to serve a socket on a thread of its own. When the thread ends for whatever reason, the
/// worker's token is cancelled.
pub(super) fn start(socket: Arc<UdpSocket>, worker: Worker) -> io::Result<JoinHandle<()>> {
    let runtime = Handle::current();
    thread::Builder::new().name("dns-udp".to_owned()).spawn(move || {
        let _stop_all = worker.shutdown.clone().drop_guard();
        run(&socket, &worker, &runtime);
    })
}

fn run(socket: &Arc<UdpSocket>, worker: &Worker, runtime: &Handle) {
    let mut rng = SmallRng::from_rng(&mut rand::rng());
    let mut packet = vec![0; MAX_BYTES];
    let mut out = Vec::with_capacity(MAX_BYTES);
    while !worker.shutdown.is_cancelled() {
        let (length, client) = match socket.recv_from(&mut packet) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                tracing::warn!(%error, "dns socket cannot receive");
                thread::park_timeout(ERROR_PAUSE);
                continue;
            }
        };
        let zone = worker.source.zone.load();
        let state = match worker.source.state(&packet[..length], &zone) {
            Ok(state) => state,
            Err(work) => {
                later(work, socket.clone(), client, worker, runtime);
                continue;
            }
        };
        let outcome = packet::handle(
            &packet[..length],
            Transport::Udp,
            &state,
            &zone,
            unix_seconds(),
            &mut rng,
            &mut out,
        );
        match outcome {
            Ok(Outcome::Ignore) => {}
            Ok(Outcome::Send) => send(socket, &out, client),
            Ok(outcome) => {
                let work = Work::Outcome(outcome);
                later(work, socket.clone(), client, worker, runtime);
            }
            Err(error) => {
                tracing::debug!(%client, %error, "dns answer cannot be encoded");
                send(socket, &out, client);
            }
        }
    }
}

fn later(
    work: Work,
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    worker: &Worker,
    runtime: &Handle,
) {
    let zone = worker.source.zone.load_full();
    let Ok(permit) = worker.recursions.clone().try_acquire_owned() else {
        if let Some(refusal) = work.refuse(&zone) {
            send(&socket, &refusal, client);
        }
        return;
    };
    let (shutdown, remote) = (worker.shutdown.clone(), worker.source.remote.clone());
    let task = async move {
        let resolve = work.carry_out(Transport::Udp, &zone, remote.as_ref());
        if let Some(Some(answer)) = shutdown.run_until_cancelled(resolve).await {
            send(&socket, &answer, client);
        }
        drop(permit);
    };
    worker.tracker.spawn_on(task, runtime);
}

fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(answer, client) {
        tracing::debug!(%client, %error, "dns answer cannot be sent");
    }
}
