//! Three servers on simulated time and a simulated network (turmoil): what goes wrong, and when,
//! comes from a seed, and minutes pass in a second.
//!
//! What runs is what ships, from `Server` down to the bytes of HTTP/2: Raft, forwarding to the
//! leader, its duty for sessions, files of the log. What is not simulated: the disk. A log is
//! written where it is told to and takes no time ([`LogWrites::Inline`]), because virtual time does
//! not wait for the thread that does it otherwise. A seed fixes faults and latencies, not
//! everything: the engine's election timeouts are drawn from elsewhere, so a seed that failed may
//! need a few more runs to fail again. Everything is on one thread: races between threads are not
//! found here.

mod faults;
mod sessions;
mod watches;
mod writes;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::future::BoxFuture;
use lictor_consensus::{Compaction, LogWrites, StartError};
use lictor_transport::{
    connections::Connections,
    network::{Accept, Io, Listener, Network},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::sync::mpsc;
use turmoil::Sim;

use self::faults::{Event, Fault};
use super::*;

const PORT: u16 = 8300;
const TICK: Duration = Duration::from_millis(5);
/// Shorter than some elections, so that "no leader" is answered too.
const HOLD_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than an election, and than calls on a broken connection are waited for.
const SETTLED: Duration = Duration::from_secs(8);

type Job = Box<dyn FnOnce(Arc<Server>) -> BoxFuture<'static, ()> + Send>;
/// What runs on a server's host for as long as the server does: `(place, server)`.
type Workload = Arc<dyn Fn(usize, Arc<Server>) -> BoxFuture<'static, ()> + Send + Sync>;

/// The simulated network.
struct Simulated;

impl Network for Simulated {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async move {
            let stream = turmoil::net::TcpStream::connect(address).await?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }
}

/// A port of a simulated host.
struct Port(turmoil::net::TcpListener);

impl Accept for Port {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Io>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, address) = self.0.accept().await?;
            Ok((Box::new(stream) as Box<dyn Io>, address))
        })
    }
}

/// What is shared by the servers that run on a host one after another.
struct Host {
    known: KnownServer,
    data: tempfile::TempDir,
    founded: AtomicBool,
    server: Mutex<Option<Arc<Server>>>,
    jobs: mpsc::UnboundedSender<Job>,
    queue: tokio::sync::Mutex<mpsc::UnboundedReceiver<Job>>,
}

struct Simulation {
    sim: Sim<'static>,
    hosts: Vec<Arc<Host>>,
    random: SmallRng,
    events: VecDeque<Event>,
    current: Option<(Fault, usize)>,
}

/// The result of a job, once there is one; never, if its server crashed.
struct Answer<T>(Arc<Mutex<Option<T>>>);

impl<T> Answer<T> {
    fn take(&self) -> Option<T> {
        self.0.lock().unwrap().take()
    }
}

/// Now, on the host that asks.
fn now() -> Duration {
    turmoil::sim_elapsed().unwrap()
}

impl Host {
    fn server(&self) -> Option<Arc<Server>> {
        self.server.lock().unwrap().clone()
    }

    async fn consensus(&self, directory: &Arc<Servers>, store: &Arc<Store>) -> Consensus {
        loop {
            let settings = Settings {
                node_id: self.known.id.clone(),
                node_name: self.known.name.clone(),
                address: self.known.address,
                data_dir: Some(self.data.path().to_owned()),
                bootstrap_expect: 0,
                multiplier: 1,
                // A server that is down for long misses entries and receives a snapshot.
                compaction: Compaction { threshold: 40, ..Compaction::default() },
                log_writes: LogWrites::Inline,
                peers: peers(directory),
            };
            match Consensus::start(settings, store.clone()).await {
                // The thread of the one before it has not closed the log yet.
                Err(StartError::InUse { .. }) => tokio::time::sleep(TICK).await,
                started => return started.unwrap(),
            }
        }
    }

    /// A server from its start until the host crashes.
    async fn run(
        self: Arc<Self>,
        place: usize,
        directory: Arc<Servers>,
        workload: Workload,
    ) -> turmoil::Result {
        let store = Arc::new(Store::default());
        let consensus = self.consensus(&directory, &store).await;
        let server = Arc::new(Server::new(store, consensus, peers(&directory), HOLD_TIMEOUT));
        let listener = turmoil::net::TcpListener::bind(("0.0.0.0", PORT)).await?;
        let tasks = Tasks::new();
        tokio::spawn(serve(
            Listener::Other(Box::new(Port(listener))),
            Arc::default(),
            rpc::consensus_services(&server),
            Bounds { connections: 0, handshake: DEADLINE, open_path: "" },
            tasks.clone(),
        ));
        let leading = server.clone();
        let begin = move |term: &Tasks| {
            let (leading, until) = (leading.clone(), term.shutdown().clone());
            let run = move || crate::server::sessions::run(leading.clone(), until.clone());
            term.restart("leader.sessions", run);
        };
        tokio::spawn(leader::run(server.clone(), begin, tasks));
        if place == 0 && !self.founded.swap(true, Ordering::Relaxed) {
            let peers: Vec<Peer> = directory.known().iter().map(peer).collect();
            server.consensus().found(&peers).await.unwrap();
        }
        *self.server.lock().unwrap() = Some(server.clone());
        tokio::spawn(workload(place, server.clone()));
        let mut queue = self.queue.lock().await;
        while let Some(job) = queue.recv().await {
            tokio::spawn(job(server.clone()));
        }
        Ok(())
    }
}

/// In memory where there is such a place: nothing that is simulated rests on the disk.
fn data_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn peers(directory: &Arc<Servers>) -> PeerDirectory {
    let connections = Arc::new(Connections::over(Arc::new(Simulated)));
    PeerDirectory { connections, servers: directory.clone(), ..PeerDirectory::none("dc1") }
}

fn peer(known: &KnownServer) -> Peer {
    Peer {
        node_id: known.id.clone(),
        node_name: known.name.clone(),
        address: known.address,
        voter: true,
    }
}

impl Simulation {
    /// A cluster that has a leader and works, and the faults that await it until `until`.
    fn start(
        seed: u64,
        until: Duration,
        workload: impl Fn(usize, Arc<Server>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let random = SmallRng::seed_from_u64(seed);
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .simulation_duration(Duration::from_secs(3600))
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(30))
            .tcp_capacity(4096)
            .build();
        let workload: Workload = Arc::new(workload);
        let (directory, mut hosts) = (Arc::new(Servers::default()), Vec::new());
        for name in ["a", "b", "c"] {
            let (jobs, queue) = mpsc::unbounded_channel();
            hosts.push(Arc::new(Host {
                known: KnownServer {
                    datacenter: "dc1".to_owned(),
                    name: name.to_owned(),
                    id: Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()).to_string(),
                    address: (sim.lookup(name), PORT).into(),
                    expect: 0,
                    started: 1,
                },
                data: data_dir(),
                founded: AtomicBool::default(),
                server: Mutex::default(),
                jobs,
                queue: tokio::sync::Mutex::new(queue),
            }));
        }
        directory.replace(hosts.iter().map(|host| host.known.clone()).collect());
        for (place, host) in hosts.iter().enumerate() {
            let (host, directory, workload) = (host.clone(), directory.clone(), workload.clone());
            sim.host(host.known.name.clone(), move || {
                host.clone().run(place, directory.clone(), workload.clone())
            });
        }
        let mut this = Self { sim, hosts, events: VecDeque::new(), current: None, random };
        this.run_until("everybody knows a leader", |this| {
            this.servers().filter(|server| server.known_leader()).count() == 3
        });
        let from = this.now();
        this.events = faults::plan(&mut this.random, from, until);
        this
    }

    fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// The servers that run.
    fn servers(&self) -> impl Iterator<Item = Arc<Server>> {
        self.hosts.iter().filter_map(|host| host.server())
    }

    fn any(&mut self) -> usize {
        self.random.random_range(0..self.hosts.len())
    }

    /// Lets a moment pass, and happen what is due.
    fn step(&mut self) {
        while self.events.front().is_some_and(|event| event.at <= self.now()) {
            let event = self.events.pop_front().unwrap();
            self.strike(event);
        }
        self.sim.step().unwrap();
    }

    fn run_for(&mut self, length: Duration) {
        let end = self.now() + length;
        while self.now() < end {
            self.step();
        }
    }

    fn run_until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        let limit = self.now() + DEADLINE;
        while !reached(self) {
            assert!(self.now() < limit, "waited for too long until {what}");
            self.step();
        }
    }

    /// Has a server do something, from the next moment on or when it runs again.
    fn begin<T, F>(
        &self,
        place: usize,
        job: impl FnOnce(Arc<Server>) -> F + Send + 'static,
    ) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let answer = Arc::new(Mutex::new(None));
        let slot = answer.clone();
        let job: Job = Box::new(move |server| {
            Box::pin(async move {
                let result = job(server).await;
                *slot.lock().unwrap() = Some(result);
            })
        });
        assert!(self.hosts[place].jobs.send(job).is_ok(), "the queue outlives the server");
        Answer(answer)
    }

    /// Has a server carry out a command, and waits for that.
    fn submit(&mut self, place: usize, command: Command) -> Result<Response, ServerError> {
        let answer = self.begin(place, |server| async move { server.submit(command).await });
        let limit = self.now() + DEADLINE;
        loop {
            if let Some(result) = answer.take() {
                return result;
            }
            assert!(self.now() < limit, "a command takes too long");
            self.step();
        }
    }
}

impl Simulation {
    /// Has a server carry out a command that may be carried out twice. A connection that a fault
    /// has broken costs an answer even when the fault is over.
    fn insist(&mut self, place: usize, command: &Command) {
        let limit = self.now() + DEADLINE;
        while self.submit(place, command.clone()) != Ok(Response::Applied(true)) {
            assert!(self.now() < limit, "a write does not succeed");
        }
    }
}
