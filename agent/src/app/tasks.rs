//! What runs beside the requests for as long as an agent does.

use std::{sync::Arc, time::Duration};

use lictor_consensus::PeerDirectory;
use lictor_transport::{
    listener::{self, Bounds},
    tls::auto_encrypt,
};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{last_seen, metrics};
use crate::{
    agent::{Agent, ServerRole},
    ca::publish,
    checks,
    dns::{self, Remote},
    local::{anti_entropy, registrar::Registrar},
    rpc::{
        self,
        auto_encrypt::{SIGN_PATH, SigningServers},
    },
    server::{Server, autopilot, bootstrap, coordinates, leader, reconcile, sessions, snapshots},
};

/// Interval of the "No cluster leader" log line while there is no leader.
const NO_LEADER_LOG_INTERVAL: Duration = Duration::from_secs(20);

/// Where tasks are started: they end when `shutdown` is cancelled.
pub(super) struct Tasks {
    pub(super) agent: Arc<Agent>,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
}

// === impl Tasks ===

impl Tasks {
    /// Which server is asked first, and this agent's own certificate where the servers give it one.
    pub(super) fn client(&self, peers: &PeerDirectory) {
        let Self { agent, tasks, shutdown } = self;
        let (servers, until) = (peers.servers.clone(), shutdown.clone());
        tasks.spawn(async move { servers.rebalance(until).await });
        let config = agent.config.load_full();
        if config.auto_encrypt.tls {
            let servers = SigningServers::new(peers.connections.clone(), peers.servers.clone());
            let rpc = agent.tls.rpc.clone();
            tasks.spawn(auto_encrypt::keep(rpc, servers, config, shutdown.clone()));
        }
    }

    /// Starts what counts and sends metrics.
    pub(super) fn metrics(&self) {
        let Self { agent, tasks, shutdown } = self;
        tasks.spawn(metrics::run(agent.clone(), shutdown.clone()));
        if let Some(pool) = &agent.pools.lan {
            tasks.spawn(metrics::count_members(pool.changes(), shutdown.clone()));
        }
    }

    /// Starts the leader duties, the leader-change log and the last-seen timestamp.
    pub(super) fn server(&self, role: &ServerRole) {
        let Self { agent, tasks, shutdown } = self;
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

    /// Starts what keeps the mesh's certificates and hands out its roots.
    pub(super) fn mesh(&self, role: &ServerRole) {
        let Self { agent, tasks, shutdown } = self;
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
            tasks.spawn(async move { publish::run(&kubernetes, &server, until).await });
        }
    }

    /// Checks, and the catalog's view of this agent.
    pub(super) fn local(&self) {
        let Self { agent, tasks, shutdown } = self;
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

    /// Answers other agents.
    pub(super) fn server_rpc(&self, role: &ServerRole, listener: TcpListener) {
        let Self { agent, tasks, shutdown } = self;
        let services = rpc::server_services(agent, &role.server, shutdown);
        let (tls, bounds) = (agent.tls.rpc.clone(), Bounds::new(&agent.config.load(), SIGN_PATH));
        tasks.spawn(listener::serve(listener, tls, services, bounds, shutdown.clone()));
    }

    /// Answers on the DNS addresses.
    pub(super) fn dns(&self, listeners: dns::Listeners) {
        self.tasks.spawn(serve_dns(self.agent.clone(), listeners, self.shutdown.clone()));
    }
}

async fn serve_dns(agent: Arc<Agent>, listeners: dns::Listeners, shutdown: CancellationToken) {
    let remote = match &agent.views {
        Some(views) => Remote::Client(views.clone()),
        None => Remote::Server(agent.forwarder.clone()),
    };
    let backend =
        dns::Backend { store: agent.store.clone(), zone: agent.dns.clone(), remote: Some(remote) };
    if let Err(error) = dns::serve(listeners, backend, shutdown).await {
        tracing::error!(%error, "dns is not served any more; restart the agent");
    }
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
            () = sleep(NO_LEADER_LOG_INTERVAL), if announced.is_none() => {
                tracing::error!(target: "agent", "No cluster leader");
            }
        }
    }
}
