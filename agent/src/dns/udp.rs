//! DNS over UDP (RFC 1035 section 4.2.1): one thread per socket answers where it reads.
//!
//! Only what recursors must resolve is handed to tokio, up to a bound; beyond it the client gets
//! SERVFAIL at once.

use std::{
    io::{self, IoSliceMut},
    net::UdpSocket,
    os::fd::AsRawFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use lictor_runtime::{backoff::Backoff, panics};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::runtime::Handle;

use super::{
    datagram::{self, Ends},
    remote::Work,
    truncate::Transport,
    worker::{Reply, Worker},
};

/// Queries that one call receives at most.
const MAX_BATCH: usize = 32;
/// Bytes that are read of a query; a longer one is cut off and gets FORMERR.
const MAX_QUERY_BYTES: usize = 4096;
/// Bytes of an answer.
const MAX_ANSWER_BYTES: usize = 65_535;
/// Pause after a failed receive. Its cause is mostly a shortage of the system, which passes.
const ERROR_INTERVAL: Duration = Duration::from_millis(20);
/// Pause after a panic, doubled up to the longest, which shutdown may have to wait for.
const MIN_PANIC_PAUSE: Duration = Duration::from_millis(100);
const MAX_PANIC_PAUSE: Duration = Duration::from_secs(1);
/// The name of the threads in the log.
pub(super) const THREAD: &str = "dns.udp";

/// Starts to serve a socket on a thread of its own. After a panic it goes on: nothing is kept from
/// one query to the next, and a query that panics must not end the agent.
///
/// # Errors
/// The system refused another thread.
pub(super) fn start(socket: Arc<UdpSocket>, worker: Worker) -> io::Result<()> {
    let (runtime, tasks) = (Handle::current(), worker.tasks.clone());
    tasks.thread(THREAD, move || {
        let _context = runtime.enter();
        let mut backoff = Backoff::new(MIN_PANIC_PAUSE, MAX_PANIC_PAUSE);
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&socket, &worker))) {
            panics::caught(THREAD, &*panic);
            thread::park_timeout(backoff.next_pause());
        }
    })
}

fn run(socket: &Arc<UdpSocket>, worker: &Worker) {
    let mut rng = SmallRng::from_rng(&mut rand::rng());
    let mut inbox = Inbox::new();
    let mut out = Vec::with_capacity(MAX_ANSWER_BYTES);
    while !worker.tasks.shutdown().is_cancelled() {
        if let Err(error) = inbox.receive(socket) {
            if error.kind() != io::ErrorKind::Interrupted {
                tracing::warn!(%error, "dns socket cannot receive");
                thread::park_timeout(ERROR_INTERVAL);
            }
            continue;
        }
        answer_all(&inbox, socket, worker, &mut rng, &mut out);
    }
}

fn answer_all(
    inbox: &Inbox,
    socket: &Arc<UdpSocket>,
    worker: &Worker,
    rng: &mut impl Rng,
    out: &mut Vec<u8>,
) {
    let zone = worker.backend.zone.load();
    let mut answerer = worker.answerer(&zone, Transport::Udp);
    for (packet, ends) in inbox.packets() {
        #[cfg(test)]
        crate::plant::panic_if_planted(THREAD, &format!("{packet:?}"));
        match answerer.reply(packet, rng, out) {
            Reply::Nothing => {}
            Reply::Send => send(socket, out, ends),
            Reply::Later(work) => later(work, socket.clone(), ends, worker),
        }
    }
}

/// The packets of one receive. Under load many wait at a time, and one call for all of them costs
/// little more than one call for one.
struct Inbox {
    bytes: Vec<u8>,
    headers: MultiHeaders<SockaddrStorage>,
    /// Length and ends of each packet.
    received: Vec<(usize, Option<Ends>)>,
}

impl Inbox {
    fn new() -> Self {
        Self {
            bytes: vec![0; MAX_BATCH * MAX_QUERY_BYTES],
            headers: MultiHeaders::preallocate(MAX_BATCH, Some(datagram::report_buffer())),
            received: Vec::with_capacity(MAX_BATCH),
        }
    }

    /// Waits for a packet, then takes all there are, at most [`MAX_BATCH`].
    fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.received.clear();
        let mut chunks = self.bytes.chunks_exact_mut(MAX_QUERY_BYTES);
        let mut slots: [_; MAX_BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let (fd, wait) = (socket.as_raw_fd(), MsgFlags::MSG_WAITFORONE);
        for message in recvmmsg(fd, &mut self.headers, slots.iter_mut(), wait, None)? {
            self.received.push((message.bytes, datagram::ends(&message)));
        }
        Ok(())
    }

    fn packets(&self) -> impl Iterator<Item = (&[u8], Ends)> {
        let chunks = self.bytes.chunks_exact(MAX_QUERY_BYTES);
        chunks
            .zip(&self.received)
            .filter_map(|(bytes, (length, ends))| Some((&bytes[..*length], (*ends)?)))
    }
}

/// Carries out work on tokio and sends its answer; SERVFAIL at once when too much other work waits.
fn later(work: Work, socket: Arc<UdpSocket>, ends: Ends, worker: &Worker) {
    let zone = worker.backend.zone.load_full();
    let Ok(permit) = worker.recursions.clone().try_acquire_owned() else {
        if let Some(refusal) = work.refuse(&zone) {
            send(&socket, &refusal, ends);
        }
        return;
    };
    let (shutdown, remote) = (worker.tasks.shutdown().clone(), worker.backend.remote.clone());
    let task = async move {
        let resolve = Box::pin(work.carry_out(Transport::Udp, &zone, remote.as_ref()));
        if let Some(Some(answer)) = shutdown.run_until_cancelled(resolve).await {
            send(&socket, &answer, ends);
        }
        drop(permit);
    };
    worker.tasks.spawn_transient("dns.recursion", task);
}

fn send(socket: &UdpSocket, answer: &[u8], ends: Ends) {
    if let Err(error) = datagram::send(socket, answer, ends) {
        tracing::debug!(client = %ends.client, %error, "dns answer cannot be sent");
    }
}
