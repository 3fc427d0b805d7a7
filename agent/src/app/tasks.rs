//! Background tasks of an agent, from its start to its shutdown.

use std::{sync::Arc, time::Duration};

use lictor_consensus::PeerDirectory;
use lictor_runtime::Tasks;
use lictor_transport::{
    listener::{self, Bounds},
    tls::auto_encrypt,
};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;

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

/// Starts the background tasks. A comment at each states why it is safe to restart, or why the
/// agent ends with it.
pub(super) struct Background {
    pub(super) agent: Arc<Agent>,
    pub(super) tasks: Tasks,
}

// === impl Background ===

impl Background {
    /// Starts the rebalancing of servers and, with `auto_encrypt`, the renewal of this agent's
    /// certificate.
    pub(super) fn client(&self, peers: &PeerDirectory) {
        let servers = peers.servers.clone();
        // A restart draws the preferred server again.
        self.restart("servers.rebalance", move |until| {
            let servers = servers.clone();
            async move { servers.rebalance(until).await }
        });
        let config = self.agent.config.load_full();
        if config.auto_encrypt.tls {
            let (connections, servers) = (peers.connections.clone(), peers.servers.clone());
            let rpc = self.agent.tls.rpc.clone();
            // A restart requests a certificate at once.
            self.restart("tls.auto_encrypt", move |until| {
                let servers = SigningServers::new(connections.clone(), servers.clone());
                auto_encrypt::keep(rpc.clone(), servers, config.clone(), until)
            });
        }
    }

    /// Starts the tasks that collect and send metrics.
    pub(super) fn metrics(&self) {
        let counted = self.agent.clone();
        // Reads current values in every round.
        self.restart("metrics", move |until| metrics::run(counted.clone(), until));
        if let Some(pool) = &self.agent.pools.lan {
            let changes = pool.changes();
            // A restart begins with the current members.
            self.restart("metrics.members", move |until| {
                metrics::count_members(changes.clone(), until)
            });
        }
    }

    /// Starts the leader duties, the leader-change log and the last-seen timestamp.
    pub(super) fn server(&self, role: &ServerRole) {
        let Self { agent, tasks } = self;
        let (server, config) = (&role.server, agent.config.load_full());
        let announced = server.clone();
        // A restart logs the current leader again.
        self.restart("raft.announce", move |until| announce_leaders(announced.clone(), until));
        if let Some(dir) = config.data_dir.clone() {
            // A restart begins with writing the time.
            self.restart("last_seen", move |until| last_seen::keep(dir.clone(), until));
        }
        let expect = config.bootstrap_expect;
        if expect > 1 {
            let (server, own) = (server.clone(), agent.node_id.clone());
            // A restart checks first whether there is a cluster already.
            self.restart("raft.bootstrap", move |until| {
                let (server, own) = (server.clone(), own.clone());
                async move {
                    bootstrap::run(server, own, expect, until.clone()).await;
                    until.cancelled().await;
                }
            });
        }
        let duties = Duties { server: server.clone(), agent: agent.clone() };
        let leading = leader::run(server.clone(), move |term| duties.begin(term), tasks.clone());
        // No other task can stop the running duties: the agent ends, and another server leads.
        tasks.spawn("leader", leading);
    }

    /// Starts the tasks that renew the mesh's certificates and distribute its roots.
    pub(super) fn mesh(&self, role: &ServerRole) {
        let agent = &self.agent;
        let config = agent.config.load_full();
        if !config.connect.enabled {
            return;
        }
        let (authority, settings) = (role.authority.clone(), config.connect.ca.clone());
        // Creates the authority only if there is none.
        self.restart("connect.ca", move |until| {
            let (authority, settings) = (authority.clone(), settings.clone());
            async move { authority.run(&settings, until).await }
        });
        if config.auto_encrypt.allow_tls {
            let (rpc, store) = (agent.tls.rpc.clone(), agent.store.clone());
            // A restart begins with the roots in force.
            self.restart("tls.trust_agents", move |until| {
                auto_encrypt::trust_agents(rpc.clone(), store.clone(), until)
            });
        }
        let (tls, authority) = (agent.tls.clone(), role.authority.clone());
        // A restart begins with a new certificate.
        self.restart("tls.listeners", move |until| {
            let (tls, authority, config) = (tls.clone(), authority.clone(), config.clone());
            async move {
                tls.run(&authority, &config, until.clone()).await;
                until.cancelled().await;
            }
        });
        if let Some(kubernetes) = agent.kubernetes.clone() {
            let server = role.server.clone();
            // A restart writes the roots again.
            self.restart("kubernetes.roots", move |until| {
                let (kubernetes, server) = (kubernetes.clone(), server.clone());
                async move { publish::run(&kubernetes, &server, until).await }
            });
        }
    }

    /// Starts the check runners, user events and anti-entropy.
    pub(super) fn local(&self) {
        let Self { agent, tasks } = self;
        let local = agent.local.clone();
        let registrar = match agent.server() {
            Some(server) => Registrar::Server(server.clone()),
            None => {
                let datacenter = agent.config.load().datacenter.clone();
                Registrar::Client(agent.forwarder.clone(), datacenter)
            }
        };
        let (checked, checks_store, runners) = (local.clone(), agent.store.clone(), tasks.clone());
        // A restart starts the runner of every registered check; the previous ones were cancelled.
        tasks.restart("checks", move || {
            checks::run(checked.clone(), checks_store.clone(), runners.clone())
        });
        if let Some(pool) = agent.pools.lan.clone() {
            let (events, local) = (agent.events.clone(), local.clone());
            // A restart misses the events of the pause, like a receiver that lags.
            self.restart("events", move |until| {
                let (events, pool, local) = (events.clone(), pool.clone(), local.clone());
                async move { events.run(pool, local, until).await }
            });
        }
        let (registrar, store) = (Arc::new(registrar), agent.store.clone());
        // A restart runs a full sync at once.
        self.restart("anti_entropy", move |until| {
            anti_entropy::run(local.clone(), registrar.clone(), store.clone(), until)
        });
    }

    /// Starts the server RPC listener.
    pub(super) fn server_rpc(&self, role: &ServerRole, listener: TcpListener) {
        let Self { agent, tasks } = self;
        let services = rpc::server_services(agent, &role.server, tasks.shutdown());
        let (tls, bounds) = (agent.tls.rpc.clone(), Bounds::new(&agent.config.load(), SIGN_PATH));
        let serving = listener::serve(listener, tls, services, bounds, tasks.clone());
        // A server that its peers cannot reach must not lead. Each connection has its own task.
        tasks.spawn("rpc.accept", serving);
    }

    /// Starts the DNS server.
    pub(super) fn dns(&self, listeners: dns::Listeners) {
        // Its sockets are closed with it; its worker threads survive a panic.
        self.tasks.spawn("dns", serve_dns(self.agent.clone(), listeners, self.tasks.clone()));
    }

    /// Starts a task that restarts after a panic and ends with its token.
    fn restart<F>(
        &self,
        name: &'static str,
        mut make: impl FnMut(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let until = self.tasks.shutdown().clone();
        self.tasks.restart(name, move || make(until.clone()));
    }
}

/// The duties of a server while it leads.
struct Duties {
    server: Arc<Server>,
    agent: Arc<Agent>,
}

impl Duties {
    /// Starts the duties for one term. Each derives its work from the published state, and restarts
    /// from it after a panic as after an election.
    fn begin(&self, term: &Tasks) {
        let Self { server, agent } = self;
        let (config, until) = (agent.config.load_full(), term.shutdown().clone());
        let (leading, ending) = (server.clone(), until.clone());
        term.restart("leader.sessions", move || sessions::run(leading.clone(), ending.clone()));
        if let Some(pool) = agent.pools.lan.clone() {
            let (leading, ending) = (server.clone(), until.clone());
            term.restart("leader.coordinates", move || {
                coordinates::run(leading.clone(), pool.clone(), ending.clone())
            });
        }
        let members = agent.pools.lan_members(&config, &agent.node_id);
        let (leading, present, ending) = (server.clone(), members.clone(), until.clone());
        term.restart("leader.reconcile", move || {
            reconcile::run(leading.clone(), present.clone(), ending.clone())
        });
        let cluster = autopilot::Cluster {
            this: agent.node_id.clone(),
            datacenter: config.datacenter.clone(),
            members,
            defaults: config.autopilot.into(),
        };
        let (leading, ending) = (server.clone(), until.clone());
        term.restart("raft.autopilot", move || {
            autopilot::run(leading.clone(), cluster.clone(), ending.clone())
        });
        if let Some(settings) = config.snapshots.clone() {
            let leading = server.clone();
            term.restart("leader.snapshots", move || {
                snapshots::run(leading.clone(), settings.clone(), until.clone())
            });
        }
    }
}

async fn serve_dns(agent: Arc<Agent>, listeners: dns::Listeners, tasks: Tasks) {
    let remote = match &agent.views {
        Some(views) => Remote::Client(views.clone()),
        None => Remote::Server(agent.forwarder.clone()),
    };
    let backend =
        dns::Backend { store: agent.store.clone(), zone: agent.dns.clone(), remote: Some(remote) };
    if let Err(error) = dns::serve(listeners, backend, tasks).await {
        tracing::error!(%error, "dns cannot be served");
    }
}

/// Logs the leader whenever it changes. COMPAT: scripts and tutorials grep for the sentence.
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
            changed = leader.changed() => if changed.is_err() {
                // Consensus stopped, and reports that itself.
                return shutdown.cancelled().await;
            },
            // COMPAT: tutorials grep for this sentence while servers wait for each other.
            () = sleep(NO_LEADER_LOG_INTERVAL), if announced.is_none() => {
                tracing::error!(target: "agent", "No cluster leader");
            }
        }
    }
}
