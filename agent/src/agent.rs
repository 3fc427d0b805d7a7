//! One running agent: everything the endpoints reach, and the order in which it starts and stops.
//!
//! Start: bind every listener first (a port in use ends the start before anything happens), then
//! consensus, then what rests on it. Stop: listeners first, then tasks, then consensus, so that
//! everything that was answered is on disk.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    acl::Authorizer,
    ca::{
        Authority, install_crypto_provider,
        server_tls::{ListenerTls, TlsError},
    },
    checks,
    config::RuntimeConfig,
    dns, http,
    kubernetes::{Kubernetes, KubernetesError},
    local::{LocalState, RegistrationError, anti_entropy},
    raft::{self, Consensus},
    rpc,
    server::{Server, reconcile},
    state::Store,
};

pub(crate) mod data_dir;
mod listeners;

pub use data_dir::DataDirError;
pub use listeners::ListenError;

/// How long a stop waits for requests and tasks before it leaves them.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(8);

/// The parts of an agent that requests are answered from.
pub struct Agent {
    /// The configuration in force; swapped by a reload.
    pub config: ArcSwap<RuntimeConfig>,
    /// This agent's UUID.
    pub node_id: String,
    /// The cluster's state and consensus.
    pub server: Arc<Server>,
    /// This agent's own services and checks.
    pub local: Arc<LocalState>,
    /// The one gate.
    pub authorizer: Authorizer,
    /// The names that DNS answers for; swapped by a reload.
    pub dns: Arc<ArcSwap<dns::Zone>>,
    /// The mesh's certificates.
    pub ca: Arc<Authority>,
    /// The cluster that the servers run in.
    pub kubernetes: Option<Arc<Kubernetes>>,
    requests: mpsc::Sender<Request>,
}

/// What an endpoint asks of the process that runs the agent.
#[derive(Debug)]
pub enum Request {
    /// Read the configuration again; the answer is the error's text.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Stop.
    Leave,
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
    /// Certificate files cannot be used.
    #[error("configuring TLS")]
    Tls(#[from] TlsError),
    /// The Kubernetes cluster cannot be used.
    #[error("configuring Kubernetes")]
    Kubernetes(#[from] KubernetesError),
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
    /// A declared service or check is wrong.
    #[error("registering the configured services and checks: {0}")]
    Registration(#[from] RegistrationError),
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopping,
}

// === impl Agent ===

impl Agent {
    /// Puts a new configuration in force as far as it can change while the agent runs.
    ///
    /// # Errors
    /// [`ReloadError`]: nothing was changed.
    pub async fn reload(&self, config: RuntimeConfig) -> Result<(), ReloadError> {
        let zone = dns::Zone::new(&config)?;
        let config = Arc::new(config);
        let (local, reloaded) = (self.local.clone(), config.clone());
        tokio::task::spawn_blocking(move || local.reload(&reloaded))
            .await
            .map_err(|_| ReloadError::Stopping)??;
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

    /// Asks the process to stop.
    pub async fn request_leave(&self) {
        if self.requests.send(Request::Leave).await.is_err() {
            tracing::debug!("the agent is stopping already");
        }
    }
}

/// An agent and its tasks.
pub struct Running {
    agent: Arc<Agent>,
    requests: Mutex<mpsc::Receiver<Request>>,
    shutdown: CancellationToken,
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
        let tls = ListenerTls::load(&config)?;
        let http = listeners::http(&config.listen, &tls.https).await?;
        let grpc = listeners::grpc(&config.listen, &tls.grpc).await?;
        let dns = listeners::dns(&config.listen)?;
        let zone = dns::Zone::new(&config)?;
        let lock = config.data_dir.as_deref().map(data_dir::open).transpose()?;
        let node_id = data_dir::node_id(config.data_dir.as_deref(), config.node_id.as_deref())?;
        let local = Arc::new(LocalState::open(&config, &node_id)?);
        let store = Arc::new(Store::default());
        let settings = raft::Settings {
            node_id: node_id.clone(),
            node_name: config.node_name.clone(),
            address: std::net::SocketAddr::new(config.advertise_addr, config.server_port),
            data_dir: config.data_dir.clone(),
        };
        let kubernetes = match config.kubernetes.clone() {
            Some(settings) => Some(Arc::new(Kubernetes::connect(settings).await?)),
            None => None,
        };
        let consensus = Consensus::start(settings, store.clone()).await?;
        let server = Arc::new(Server::new(store, consensus));
        let (requests, received) = mpsc::channel(16);
        let authorizer = Authorizer::new(config.kubernetes.is_some());
        let ca = Arc::new(Authority::new(server.clone(), config.datacenter.clone()));
        let agent = Arc::new(Agent {
            config: ArcSwap::from_pointee(config),
            node_id,
            server,
            local,
            authorizer,
            dns: Arc::new(ArcSwap::from_pointee(zone)),
            ca,
            kubernetes,
            requests,
        });
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        spawn_mesh(&agent, tls, &tasks, &shutdown);
        let listeners = http.into_iter().chain(grpc).collect();
        spawn_local(&agent, &tasks, &shutdown);
        tasks.spawn(announce_leaders(agent.server.clone(), shutdown.clone()));
        tasks.spawn(serve_dns(agent.clone(), dns, shutdown.clone()));
        let routes = rpc::service(agent.clone(), shutdown.clone());
        tasks.spawn(http::server::serve(agent.clone(), listeners, Some(routes), shutdown.clone()));
        Ok(Self { agent, requests: Mutex::new(received), shutdown, tasks, _data_dir: lock })
    }

    /// What requests are answered from.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// The next thing an endpoint asks of the process.
    pub async fn request(&self) -> Option<Request> {
        self.requests.lock().await.recv().await
    }

    /// Waits until this agent can no longer be a server; the process must then end.
    pub async fn failed(&self) -> raft::Failure {
        self.agent.server.consensus().failed().await
    }

    /// Stops in order; ends within ten seconds whatever the tasks do.
    pub async fn shutdown(self) {
        self.shutdown.cancel();
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "some tasks did not stop in time");
        }
        self.agent.server.consensus().shutdown().await;
    }
}

async fn serve_dns(agent: Arc<Agent>, listeners: dns::Listeners, shutdown: CancellationToken) {
    let source = dns::Source { store: agent.server.store().clone(), zone: agent.dns.clone() };
    if let Err(error) = dns::serve(listeners, source, shutdown).await {
        tracing::error!(%error, "dns is not served any more; restart the agent");
    }
}

/// Checks, the catalog's view of this agent, and this server's duty as a leader.
fn spawn_local(agent: &Arc<Agent>, tasks: &TaskTracker, shutdown: &CancellationToken) {
    let (local, server) = (&agent.local, &agent.server);
    tasks.spawn(checks::run(local.clone(), server.store().clone(), shutdown.clone()));
    tasks.spawn(anti_entropy::run(local.clone(), server.clone(), shutdown.clone()));
    let member = {
        let agent = agent.clone();
        move || reconcile::AliveServer {
            node: agent.local.node(),
            port: agent.config.load().server_port,
        }
    };
    tasks.spawn(reconcile::run(server.clone(), member, shutdown.clone()));
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
        }
    }
}

/// Starts what keeps the mesh's certificates and hands out its roots.
fn spawn_mesh(
    agent: &Arc<Agent>,
    tls: ListenerTls,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let config = agent.config.load_full();
    if !config.connect.enabled {
        return;
    }
    let (this, until) = (agent.clone(), shutdown.clone());
    let settings = config.connect.ca.clone();
    tasks.spawn(async move { this.ca.run(&settings, until).await });
    let (this, until) = (agent.clone(), shutdown.clone());
    tasks.spawn(async move { tls.keep(&this.ca, &config, until).await });
    if let Some(kubernetes) = agent.kubernetes.clone() {
        let (this, until) = (agent.clone(), shutdown.clone());
        tasks.spawn(async move { kubernetes.publish_roots(&this.server, until).await });
    }
}
