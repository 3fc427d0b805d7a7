//! Start of an agent: every listener is bound first, so that a port in use fails the start before
//! anything else happens; then consensus starts, then the parts that depend on it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use lictor_api::GoDuration;
use lictor_config::RuntimeConfig;
use lictor_consensus::{Consensus, LogWrites, PeerDirectory};
use lictor_core::{acl::Authorizer, state::view::View};
use lictor_runtime::Tasks;
use lictor_store::Store;
use lictor_transport::{connections::Connections, servers::Servers, tls::TlsError};
use tokio::sync::{Mutex, mpsc};
use tokio_util::task::TaskTracker;

use super::{ListenError, Running, last_seen, listeners, tasks::Background};
use crate::{
    agent::{Agent, PoolError, Pools, ServerRole},
    ca::{Authority, install_crypto_provider, server_tls::ListenerTls},
    data_dir::{self, DataDirError},
    dns,
    forward::Forwarder,
    http,
    kubernetes::{Kubernetes, KubernetesError},
    local::{LocalState, RegistrationError},
    rpc,
    server::Server,
    views::{self, Views},
};

/// Why an agent failed to start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// An address cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// This server was down for longer than `server_rejoin_age_max`. COMPAT: Consul's sentence.
    #[error(
        "refusing to rejoin cluster because server has been offline for more than the configured \
         server_rejoin_age_max ({}) - consider wiping your data dir",
        GoDuration(*.0)
    )]
    Away(Duration),
    /// Certificate files are unreadable or invalid.
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
    Consensus(#[from] lictor_consensus::StartError),
    /// The DNS domain is not a valid name.
    #[error(transparent)]
    Domain(#[from] dns::ZoneError),
    /// A declared service or check is invalid.
    #[error("registering the configured services and checks")]
    Registration(#[from] RegistrationError),
}

impl Running {
    /// Starts an agent.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
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
        let peers = PeerDirectory {
            connections: Arc::new(Connections::new(tls.rpc.clone())),
            servers: Arc::new(Servers::default()),
            datacenter: config.datacenter.clone(),
        };
        let pools = Pools::start(&config, &node_id).await?;
        let forwarder = Arc::new(forwarder(&config, &peers));
        let tasks = Tasks::new();
        let (store, role, views) = match config.server {
            true => {
                let store = Arc::new(Store::default());
                let role = start_server(&config, &node_id, &store, &peers).await?;
                (store, Some(role), None)
            }
            false => {
                let node = View::node(&local.node().name);
                let (store, views) = follow_servers(&forwarder, node, &tasks, &config.datacenter);
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
            leaving: tasks.shutdown().child_token(),
            calls: TaskTracker::new(),
            requests,
        });
        let beside = Background { agent, tasks };
        let Background { agent, tasks } = &beside;
        let exhausted = agent.pools.run(&peers.servers, tasks);
        if let Some(role) = &agent.role {
            beside.server(role);
            beside.mesh(role);
            if let Some(listener) = server_rpc {
                beside.server_rpc(role, listener);
            }
        }
        beside.client(&peers);
        beside.local();
        beside.metrics();
        beside.dns(dns);
        let listeners = http.into_iter().chain(grpc).collect();
        let routes = rpc::service(agent.clone(), tasks.shutdown().clone());
        // An agent that accepts no requests must end. Each connection has its own task.
        let http = http::server::serve(agent.clone(), listeners, Some(routes), tasks.clone());
        tasks.spawn("http.accept", http);
        let requests = Mutex::new(received);
        let Background { agent, tasks } = beside;
        Ok(Self { agent, requests, exhausted, tasks, _data_dir: lock })
    }
}

/// Starts consensus and the parts that depend on it.
async fn start_server(
    config: &RuntimeConfig,
    node_id: &str,
    store: &Arc<Store>,
    peers: &PeerDirectory,
) -> Result<ServerRole, StartError> {
    let settings = lictor_consensus::Settings {
        node_id: node_id.to_owned(),
        node_name: config.node_name.clone(),
        address: SocketAddr::new(config.advertise_addr, config.server_port),
        data_dir: config.data_dir.clone(),
        bootstrap_expect: config.bootstrap_expect,
        multiplier: config.performance.raft_multiplier,
        compaction: lictor_consensus::Compaction {
            threshold: config.raft.snapshot_threshold,
            interval: config.raft.snapshot_interval,
            trailing: config.raft.trailing_logs,
        },
        log_writes: LogWrites::Thread,
        peers: peers.clone(),
    };
    let consensus = Consensus::start(settings, store.clone()).await?;
    let hold_timeout = config.performance.rpc_hold_timeout;
    let server = Arc::new(Server::new(store.clone(), consensus, peers.clone(), hold_timeout));
    let authority = Arc::new(Authority::new(server.clone(), config.datacenter.clone()));
    Ok(ServerRole { server, authority })
}

/// Creates the forwarder to other servers.
fn forwarder(config: &RuntimeConfig, peers: &PeerDirectory) -> Forwarder {
    Forwarder::new(
        peers.connections.clone(),
        peers.servers.clone(),
        config.datacenter.clone(),
        config.node_name.clone(),
        config.performance.rpc_hold_timeout,
    )
}

/// Starts what a client agent reads from: the view of its own node, followed until the agent stops,
/// and the views that requests open.
fn follow_servers(
    forwarder: &Arc<Forwarder>,
    node: View,
    tasks: &Tasks,
    datacenter: &str,
) -> (Arc<Store>, Arc<Views>) {
    let views = Views::new(forwarder.clone(), datacenter.to_owned(), tasks.clone());
    let store = Arc::new(Store::default());
    let (forwarder, disconnected) = (forwarder.clone(), Arc::default());
    views::start(tasks, forwarder, datacenter.to_owned(), node, store.clone(), disconnected);
    (store, views)
}
