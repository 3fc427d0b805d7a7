//! One running agent: everything the endpoints reach, and the order in which it starts and stops.
//!
//! Start: bind every listener first (a port in use ends the start before anything happens), then
//! consensus, then what rests on it. Stop: listeners first, then tasks, then consensus, so that
//! everything that was answered is on disk.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use lictor_api::GoDuration;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    acl::Authorizer,
    ca::{
        Authority, install_crypto_provider,
        server_tls::{ListenerFiles, ListenerTls},
    },
    checks,
    config::RuntimeConfig,
    dns::{self, Remote},
    events::Events,
    forward::Forwarder,
    gossip::Namesake,
    http,
    kubernetes::{Kubernetes, KubernetesError},
    local::{LocalState, RegistrationError, anti_entropy, registrar::Registrar},
    raft::{self, Consensus, Peers},
    rpc::{
        self,
        auto_encrypt::SigningServers,
        connections::Connections,
        listener::{Bounds, serve as serve_rpc},
    },
    server::{Server, autopilot, bootstrap, coordinates, leader, reconcile, sessions, snapshots},
    servers::Servers,
    state::{Store, view::View},
    tls::{TlsError, auto_encrypt},
    views::{self, Views},
};

pub(crate) mod data_dir;
mod last_seen;
mod listeners;
pub mod pools;

pub use data_dir::DataDirError;
pub use listeners::ListenError;
pub use pools::{PoolError, Pools};

/// How long a stop waits for requests and tasks before it leaves them.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(8);
/// How long nobody leads until the log says so, again and again.
const LEADERLESS: Duration = Duration::from_secs(20);

/// The parts of an agent that requests are answered from.
pub struct Agent {
    /// The configuration in force; swapped by a reload.
    pub config: ArcSwap<RuntimeConfig>,
    /// This agent's UUID.
    pub node_id: String,
    /// What this agent knows of the cluster's state: all of it on a server, its own node on a
    /// client agent.
    pub store: Arc<Store>,
    /// What only servers have.
    role: Option<ServerRole>,
    /// The pools that this agent is in.
    pub pools: Pools,
    /// User events that concern this agent.
    pub events: Arc<Events>,
    /// The way to servers that are not this agent.
    pub forwarder: Arc<Forwarder>,
    /// What a client agent follows of the catalog; `None` on a server.
    pub views: Option<Arc<Views>>,
    /// This agent's own services and checks.
    pub local: Arc<LocalState>,
    /// The one gate.
    pub authorizer: Authorizer,
    /// The names that DNS answers for; swapped by a reload.
    pub dns: Arc<ArcSwap<dns::Zone>>,
    /// TLS of HTTPS, gRPC and server RPC; certificate files are swapped by a reload.
    pub tls: Arc<ListenerTls>,
    /// The cluster that the servers run in.
    pub kubernetes: Option<Arc<Kubernetes>>,
    /// Cancelled when this agent begins to leave or to stop: other servers are asked from then on.
    pub leaving: CancellationToken,
    /// What other agents are being answered.
    pub calls: TaskTracker,
    requests: mpsc::Sender<Request>,
}

/// What a server has and a client agent has not.
struct ServerRole {
    /// Consensus.
    server: Arc<Server>,
    /// The mesh's certificates.
    authority: Arc<Authority>,
}

/// What an endpoint asks of the process that runs the agent.
#[derive(Debug)]
pub enum Request {
    /// Read the configuration again; the answer is the error's text.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Leave the cluster and stop; answered when the others know.
    Leave(oneshot::Sender<()>),
}

/// Why an agent did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// This server was away for longer than `server_rejoin_age_max`. COMPAT: Consul's sentence.
    #[error(
        "refusing to rejoin cluster because server has been offline for more than the configured \
         server_rejoin_age_max ({}) - consider wiping your data dir",
        GoDuration(*.0)
    )]
    Away(Duration),
    /// Certificate files cannot be used.
    #[error("configuring TLS")]
    Tls(#[from] TlsError),
    /// The Kubernetes cluster cannot be used.
    #[error("configuring Kubernetes")]
    Kubernetes(#[from] KubernetesError),
    /// Gossip cannot start.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// Consensus cannot start.
    #[error("starting consensus")]
    Consensus(#[from] raft::StartError),
    /// The DNS domain is not a name.
    #[error(transparent)]
    Domain(#[from] dns::ZoneError),
    /// A declared service or check is wrong.
    #[error("registering the configured services and checks")]
    Registration(#[from] RegistrationError),
}

/// Why a new configuration was not taken; the old one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The DNS domain is not a name.
    #[error(transparent)]
    Domain(#[from] dns::ZoneError),
    /// Certificate files cannot be used.
    #[error("configuring TLS")]
    Tls(#[from] TlsError),
    /// A declared service or check is wrong.
    #[error("registering the configured services and checks: {0}")]
    Registration(#[from] RegistrationError),
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopping,
}

// === impl Agent ===

impl Agent {
    /// The server that this agent is; `None` on a client agent.
    pub fn server(&self) -> Option<&Arc<Server>> {
        self.role.as_ref().map(|role| &role.server)
    }

    /// The mesh's certificate authority; `None` on a client agent.
    pub fn authority(&self) -> Option<&Arc<Authority>> {
        self.role.as_ref().map(|role| &role.authority)
    }

    /// Puts a new configuration in force as far as it can change while the agent runs.
    ///
    /// # Errors
    /// [`ReloadError`]: nothing was changed.
    pub async fn reload(&self, config: RuntimeConfig) -> Result<(), ReloadError> {
        let zone = dns::Zone::new(&config)?;
        let certificates = ListenerFiles::load(&config)?;
        let config = Arc::new(config);
        let (local, reloaded) = (self.local.clone(), config.clone());
        tokio::task::spawn_blocking(move || local.reload(&reloaded))
            .await
            .map_err(|_| ReloadError::Stopping)??;
        self.tls.adopt(certificates)?;
        self.dns.store(Arc::new(zone));
        self.config.store(config);
        Ok(())
    }

    /// Asks the process to read its configuration again and waits until it has.
    ///
    /// # Errors
    /// The text of the error that kept the new configuration from being taken.
    pub async fn request_reload(&self) -> Result<(), String> {
        let (answer, result) = oneshot::channel();
        let stopping = || "the agent is stopping".to_owned();
        self.requests.send(Request::Reload(answer)).await.map_err(|_| stopping())?;
        result.await.map_err(|_| stopping())?
    }

    /// Asks the process to leave the cluster and to stop; returns when the others know that it left.
    pub async fn request_leave(&self) {
        let (answer, left) = oneshot::channel();
        if self.requests.send(Request::Leave(answer)).await.is_err() || left.await.is_err() {
            tracing::debug!("the agent is stopping already");
        }
    }
}

/// Why a running agent must end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It can be no server any more.
    #[error(transparent)]
    Consensus(raft::Failure),
    /// It was not let into the cluster, and `retry_max` is reached.
    #[error("max join retry exhausted, exiting")]
    NotJoined,
    /// Another agent has its name.
    #[error("node name is now used by {} at {}", .0.node_id, .0.address)]
    Displaced(Namesake),
}

/// An agent and its tasks.
pub struct Running {
    agent: Arc<Agent>,
    requests: Mutex<mpsc::Receiver<Request>>,
    shutdown: CancellationToken,
    /// Cancelled when joining was limited and failed that often.
    exhausted: CancellationToken,
    tasks: TaskTracker,
    _data_dir: Option<data_dir::Lock>,
}

// === impl Running ===

impl Running {
    /// Starts an agent.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way.
    pub async fn start(config: RuntimeConfig) -> Result<Self, StartError> {
        install_crypto_provider();
        let tls = Arc::new(ListenerTls::load(&config)?);
        let http = listeners::http(&config.listen, &tls.https).await?;
        let grpc = listeners::grpc(&config.listen, &tls.grpc).await?;
        let dns = listeners::dns(&config.listen)?;
        let zone = dns::Zone::new(&config)?;
        let server_rpc = listeners::server_rpc(&config).await?;
        let lock = config.data_dir.as_deref().map(data_dir::open).transpose()?;
        if let Some(dir) = config.data_dir.as_deref().filter(|_| config.server) {
            last_seen::check(dir, config.join.server_rejoin_age_max, SystemTime::now())?;
        }
        let node_id = data_dir::node_id(config.data_dir.as_deref(), config.node_id.as_deref())?;
        let local = Arc::new(LocalState::open(&config, &node_id)?);
        let kubernetes = match config.kubernetes.clone() {
            Some(settings) => Some(Arc::new(Kubernetes::connect(settings).await?)),
            None => None,
        };
        let peers = Peers {
            connections: Arc::new(Connections::new(tls.rpc.clone())),
            servers: Arc::new(Servers::default()),
            datacenter: config.datacenter.clone(),
        };
        let pools = Pools::start(&config, &node_id).await?;
        let forwarder = Arc::new(forwarder(&config, &peers));
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (store, role, views) = match config.server {
            true => {
                let store = Arc::new(Store::default());
                let role = start_server(&config, &node_id, &store, &peers).await?;
                (store, Some(role), None)
            }
            false => {
                let node = View::Node(local.node().name.clone());
                let (store, views) =
                    follow_servers(&forwarder, node, &tasks, &shutdown, &config.datacenter);
                (store, None, Some(views))
            }
        };
        let (requests, received) = mpsc::channel(16);
        let authorizer = Authorizer::new(config.kubernetes.is_some());
        let agent = Arc::new(Agent {
            config: ArcSwap::from_pointee(config),
            node_id,
            store,
            role,
            pools,
            views,
            events: Arc::default(),
            forwarder,
            local,
            authorizer,
            dns: Arc::new(ArcSwap::from_pointee(zone)),
            tls,
            kubernetes,
            leaving: shutdown.child_token(),
            calls: TaskTracker::new(),
            requests,
        });
        let (servers, until) = (peers.servers.clone(), shutdown.clone());
        tasks.spawn(async move { servers.rebalance(until).await });
        let exhausted = agent.pools.run(&peers.servers, &tasks, &shutdown);
        if let Some(role) = &agent.role {
            spawn_server(&agent, role, &tasks, &shutdown);
            spawn_mesh(&agent, role, &tasks, &shutdown);
            if let Some(listener) = server_rpc {
                let services = rpc::server_services(&agent, &role.server, &shutdown);
                let (tls, bounds) = (agent.tls.rpc.clone(), Bounds::new(&agent.config.load()));
                tasks.spawn(serve_rpc(listener, tls, services, bounds, shutdown.clone()));
            }
        }
        spawn_certificate(&agent, &peers, &tasks, &shutdown);
        spawn_local(&agent, &tasks, &shutdown);
        let listeners = http.into_iter().chain(grpc).collect();
        tasks.spawn(serve_dns(agent.clone(), dns, shutdown.clone()));
        let routes = rpc::service(agent.clone(), shutdown.clone());
        tasks.spawn(http::server::serve(agent.clone(), listeners, Some(routes), shutdown.clone()));
        let requests = Mutex::new(received);
        Ok(Self { agent, requests, shutdown, exhausted, tasks, _data_dir: lock })
    }

    /// What requests are answered from.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// The next thing an endpoint asks of the process.
    pub async fn request(&self) -> Option<Request> {
        self.requests.lock().await.recv().await
    }

    /// Waits until this agent cannot go on; the process must then end.
    pub async fn failed(&self) -> Failure {
        let consensus = async {
            match self.agent.server() {
                Some(server) => server.consensus().failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            failure = consensus => Failure::Consensus(failure),
            () = self.exhausted.cancelled() => Failure::NotJoined,
            namesake = self.agent.pools.displaced() => Failure::Displaced(namesake),
        }
    }

    /// Leaves the cluster, so that nobody waits for this agent any more, tells `left` and stops.
    pub async fn leave(self, left: Option<oneshot::Sender<()>>) {
        tracing::info!(target: "agent", "Requesting graceful leave");
        self.agent.leaving.cancel();
        if let Some(server) = self.agent.server() {
            server.hand_over().await;
        }
        // First the pools: the leader takes in again whom gossip calls alive and Raft does not know.
        self.agent.pools.leave().await;
        self.drain().await;
        if let Some(server) = self.agent.server() {
            server.leave(&self.agent.node_id).await;
        }
        if left.is_some_and(|left| left.send(()).is_err()) {
            tracing::debug!("the client that asked to leave is gone");
        }
        self.shutdown().await;
    }

    /// Waits for what other agents are being answered, at most for `performance.leave_drain_time`.
    /// Consul sleeps for all of that time; here nothing new comes in.
    async fn drain(&self) {
        self.agent.calls.close();
        let patience = self.agent.config.load().performance.leave_drain_time;
        if !self.agent.calls.is_empty() {
            tracing::info!(
                target: "agent.server",
                calls = self.agent.calls.len(),
                drain_time = ?patience,
                "Waiting to drain RPC traffic"
            );
        }
        if tokio::time::timeout(patience, self.agent.calls.wait()).await.is_err() {
            tracing::warn!(calls = self.agent.calls.len(), "some calls are cut off");
        }
    }

    /// Stops in order; ends within ten seconds whatever the tasks do. A leader hands over first.
    pub async fn shutdown(self) {
        if let Some(server) = self.agent.server() {
            server.hand_over().await;
        }
        // A pod comes back under another address, which the others refuse while they wait for the old.
        // Elsewhere a quick restart passes without its checks and sessions failing.
        if self.agent.kubernetes.is_some() {
            self.agent.pools.withdraw().await;
        }
        self.agent.pools.shutdown().await;
        self.shutdown.cancel();
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "some tasks did not stop in time");
        }
        if let Some(server) = self.agent.server() {
            server.consensus().shutdown().await;
        }
    }
}

async fn serve_dns(agent: Arc<Agent>, listeners: dns::Listeners, shutdown: CancellationToken) {
    let remote = match &agent.views {
        Some(views) => Remote::Client(views.clone()),
        None => Remote::Server(agent.forwarder.clone()),
    };
    let source =
        dns::Source { store: agent.store.clone(), zone: agent.dns.clone(), remote: Some(remote) };
    if let Err(error) = dns::serve(listeners, source, shutdown).await {
        tracing::error!(%error, "dns is not served any more; restart the agent");
    }
}

/// Consensus, and what rests on it.
async fn start_server(
    config: &RuntimeConfig,
    node_id: &str,
    store: &Arc<Store>,
    peers: &Peers,
) -> Result<ServerRole, StartError> {
    let settings = raft::Settings {
        node_id: node_id.to_owned(),
        node_name: config.node_name.clone(),
        address: SocketAddr::new(config.advertise_addr, config.server_port),
        data_dir: config.data_dir.clone(),
        bootstrap_expect: config.bootstrap_expect,
        multiplier: config.performance.raft_multiplier,
        compaction: raft::Compaction {
            threshold: config.raft.snapshot_threshold,
            interval: config.raft.snapshot_interval,
            trailing: config.raft.trailing_logs,
        },
        peers: peers.clone(),
    };
    let consensus = Consensus::start(settings, store.clone()).await?;
    let hold_timeout = config.performance.rpc_hold_timeout;
    let server = Arc::new(Server::new(store.clone(), consensus, peers.clone(), hold_timeout));
    let authority = Arc::new(Authority::new(server.clone(), config.datacenter.clone()));
    Ok(ServerRole { server, authority })
}

/// The way to the servers.
fn forwarder(config: &RuntimeConfig, peers: &Peers) -> Forwarder {
    Forwarder::new(
        peers.connections.clone(),
        peers.servers.clone(),
        config.datacenter.clone(),
        config.node_name.clone(),
        config.performance.rpc_hold_timeout,
    )
}

/// What a client agent answers from: its own node, followed for as long as it lives, and the views
/// that questions open.
fn follow_servers(
    forwarder: &Arc<Forwarder>,
    node: View,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
    datacenter: &str,
) -> (Arc<Store>, Arc<Views>) {
    let views =
        Views::new(forwarder.clone(), datacenter.to_owned(), tasks.clone(), shutdown.clone());
    let store = Arc::new(Store::default());
    tasks.spawn(views::follow(
        forwarder.clone(),
        datacenter.to_owned(),
        node,
        store.clone(),
        Arc::default(),
        shutdown.clone(),
    ));
    (store, views)
}

/// This agent's own certificate, where the servers give it one.
fn spawn_certificate(
    agent: &Arc<Agent>,
    peers: &Peers,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let config = agent.config.load_full();
    if config.auto_encrypt.tls {
        let servers = SigningServers::new(peers.connections.clone(), peers.servers.clone());
        let rpc = agent.tls.rpc.clone();
        tasks.spawn(auto_encrypt::keep(rpc, servers, config, shutdown.clone()));
    }
}

/// This server's duties as a leader, the word about who leads, and when it ran last.
fn spawn_server(
    agent: &Arc<Agent>,
    role: &ServerRole,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let (server, config) = (&role.server, agent.config.load_full());
    tasks.spawn(announce_leaders(server.clone(), shutdown.clone()));
    if let Some(dir) = config.data_dir.clone() {
        tasks.spawn(last_seen::keep(dir, shutdown.clone()));
    }
    let expect = config.bootstrap_expect;
    if expect > 1 {
        let own = agent.node_id.clone();
        tasks.spawn(bootstrap::run(server.clone(), own, expect, shutdown.clone()));
    }
    let members = agent.pools.lan_members(&config, &agent.node_id);
    let (leading, agent) = (server.clone(), agent.clone());
    let duties = move |tasks: &TaskTracker, until: CancellationToken| {
        tasks.spawn(sessions::run(leading.clone(), until.clone()));
        if let Some(pool) = &agent.pools.lan {
            tasks.spawn(coordinates::run(leading.clone(), pool.clone(), until.clone()));
        }
        let config = agent.config.load_full();
        tasks.spawn(reconcile::run(leading.clone(), members.clone(), until.clone()));
        let cluster = autopilot::Cluster {
            this: agent.node_id.clone(),
            datacenter: config.datacenter.clone(),
            members: members.clone(),
            defaults: config.autopilot.into(),
        };
        tasks.spawn(autopilot::run(leading.clone(), cluster, until.clone()));
        if let Some(settings) = config.snapshots.clone() {
            tasks.spawn(snapshots::run(leading.clone(), settings, until));
        }
    };
    tasks.spawn(leader::run(server.clone(), duties, shutdown.clone()));
}

/// Checks, and the catalog's view of this agent.
fn spawn_local(agent: &Arc<Agent>, tasks: &TaskTracker, shutdown: &CancellationToken) {
    let local = &agent.local;
    let registrar = match agent.server() {
        Some(server) => Registrar::Server(server.clone()),
        None => {
            let datacenter = agent.config.load().datacenter.clone();
            Registrar::Client(agent.forwarder.clone(), datacenter)
        }
    };
    let registrar = Arc::new(registrar);
    tasks.spawn(checks::run(local.clone(), agent.store.clone(), shutdown.clone()));
    if let Some(pool) = agent.pools.lan.clone() {
        let (events, local, until) = (agent.events.clone(), local.clone(), shutdown.clone());
        tasks.spawn(async move { events.run(pool, local, until).await });
    }
    let store = agent.store.clone();
    tasks.spawn(anti_entropy::run(local.clone(), registrar, store, shutdown.clone()));
}

/// Says who leads whenever that changes. COMPAT: scripts and tutorials grep for the sentence.
async fn announce_leaders(server: Arc<Server>, shutdown: CancellationToken) {
    let mut leader = server.consensus().leader();
    let mut announced = None;
    loop {
        let name = leader.borrow_and_update().as_ref().map(|leader| leader.node_name.clone());
        if name != announced {
            if let Some(name) = &name {
                tracing::info!(target: "agent.server", "New leader elected: {name}");
            }
            announced = name;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = leader.changed() => if changed.is_err() { return },
            // COMPAT: tutorials look for this sentence while servers wait for each other.
            () = sleep(LEADERLESS), if announced.is_none() => {
                tracing::error!(target: "agent", "No cluster leader");
            }
        }
    }
}

/// Starts what keeps the mesh's certificates and hands out its roots.
fn spawn_mesh(
    agent: &Arc<Agent>,
    role: &ServerRole,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let config = agent.config.load_full();
    if !config.connect.enabled {
        return;
    }
    let (authority, until) = (role.authority.clone(), shutdown.clone());
    let settings = config.connect.ca.clone();
    tasks.spawn(async move { authority.run(&settings, until).await });
    if config.auto_encrypt.allow_tls {
        let (rpc, store) = (agent.tls.rpc.clone(), agent.store.clone());
        tasks.spawn(auto_encrypt::trust_agents(rpc, store, shutdown.clone()));
    }
    let (tls, authority, until) = (agent.tls.clone(), role.authority.clone(), shutdown.clone());
    tasks.spawn(async move { tls.keep(&authority, &config, until).await });
    if let Some(kubernetes) = agent.kubernetes.clone() {
        let (server, until) = (role.server.clone(), shutdown.clone());
        tasks.spawn(async move { kubernetes.publish_roots(&server, until).await });
    }
}
