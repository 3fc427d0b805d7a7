//! This agent's gossip pools: the agents of its datacenter (LAN) and, for servers, the servers of
//! all datacenters (WAN). Their members determine the list of known servers.

mod flood;
mod lookup;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use lictor_api::{
    CONSUL_VERSION,
    contract::{ROLE_CLIENT, ROLE_SERVER, TAG_ROLE},
};
use lictor_config::{RuntimeConfig, runtime::JoinPool};
use lictor_membership::{
    Keyring, KeyringError, Member, MemberStatus, NameConflict, Pool, Profile, Settings, StartError,
    join::{self, Resolve, Target, TargetError},
};
use lictor_runtime::{TaskFailed, Tasks};
use lictor_transport::servers::{KnownServer, Servers};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Why the pools did not start.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The addresses, the tags or the keys are invalid.
    #[error("starting the {pool} pool")]
    Start {
        /// LAN or WAN.
        pool: &'static str,
        /// The cause.
        source: StartError,
    },
    /// The keys cannot be read or stored.
    #[error("opening the gossip keys")]
    Keyring(#[from] KeyringError),
    /// A join target is neither a name nor an address.
    #[error("{key}: {source}")]
    Target {
        /// The configuration key.
        key: &'static str,
        /// The cause.
        source: TargetError,
    },
}

/// The enabled pools.
pub struct Pools {
    /// The agents of this datacenter.
    pub lan: Option<Pool>,
    /// The servers of all datacenters.
    pub wan: Option<Pool>,
    /// Resolves the names and pods to join.
    pub resolver: Arc<dyn Resolve>,
    join_lan: join::Settings,
    join_wan: join::Settings,
}

impl Pools {
    /// Starts the pools that the configuration enables.
    ///
    /// # Errors
    /// [`PoolError`]; nothing is left running.
    pub async fn start(config: &RuntimeConfig, node_id: &str) -> Result<Self, PoolError> {
        let resolver: Arc<dyn Resolve> = Arc::new(lookup::Lookup);
        let join = |key, pool, port| targets(key, pool, port, resolver.clone());
        let join_lan = join("retry_join", &config.join.lan, config.serf_lan_port)?;
        let join_wan = join("retry_join_wan", &config.join.wan, config.serf_wan_port)?;
        let lan = match config.serf_lan_port {
            0 => None,
            port => {
                let bind = SocketAddr::new(config.serf_lan_bind, port);
                let mut settings =
                    settings(config, node_id, Profile::Lan, bind, config.advertise_addr)?;
                settings.timing.reconnect_timeout = config.gossip.reconnect_timeout;
                Some(open(settings).await?)
            }
        };
        let wan = match config.serf_wan_port {
            port if config.server && port != 0 => {
                let bind = SocketAddr::new(config.serf_wan_bind, port);
                let mut settings =
                    settings(config, node_id, Profile::Wan, bind, config.advertise_addr_wan)?;
                settings.timing.reconnect_timeout = config.gossip.reconnect_timeout_wan;
                Some(open(settings).await?)
            }
            _ => None,
        };
        Ok(Self { lan, wan, resolver, join_lan, join_wan })
    }

    /// Joins the pools and keeps `servers` up to date from their members, until shutdown of
    /// `tasks`. Returns a token that is cancelled when joining has failed for good and the agent
    /// must end.
    pub fn run(&self, servers: &Arc<Servers>, tasks: &Tasks) -> CancellationToken {
        let shutdown = tasks.shutdown();
        let exhausted = CancellationToken::new();
        for (pool, settings) in [(&self.lan, &self.join_lan), (&self.wan, &self.join_wan)] {
            let Some(pool) = pool else { continue };
            // Without targets too: an isolated agent retries the last known addresses of its peers.
            let (pool, settings) = (pool.clone(), settings.clone());
            let (until, gave_up) = (shutdown.clone(), exhausted.clone());
            // A restart checks first whether this agent is alone.
            tasks.restart("gossip.join", move || {
                let (pool, settings) = (pool.clone(), settings.clone());
                let (until, gave_up) = (until.clone(), gave_up.clone());
                async move {
                    if let Err(error) = join::run(pool, settings, until.clone()).await {
                        tracing::error!(target: "agent", %error, "Retry join failed");
                        gave_up.cancel();
                    }
                    until.cancelled().await;
                }
            });
        }
        if let (Some(lan), Some(wan)) = (&self.lan, &self.wan) {
            let (lan, wan, until) = (lan.clone(), wan.clone(), shutdown.clone());
            // A restart compares both pools from scratch.
            tasks.restart("gossip.flood", move || {
                flood::run(lan.clone(), wan.clone(), until.clone())
            });
        }
        let (lan, wan) = (self.lan.clone(), self.wan.clone());
        let (servers, until) = (servers.clone(), shutdown.clone());
        // A restart begins with all members.
        tasks.restart("gossip.servers", move || {
            follow(lan.clone(), wan.clone(), servers.clone(), until.clone())
        });
        exhausted
    }

    /// Returns the enabled pools. COMPAT: the WAN pool first, as Consul lists them.
    pub fn all(&self) -> impl Iterator<Item = &Pool> {
        self.wan.iter().chain(&self.lan)
    }

    /// Subscribes to the members of the LAN pool; without a pool, this agent alone.
    pub fn lan_members(
        &self,
        config: &RuntimeConfig,
        node_id: &str,
    ) -> watch::Receiver<Arc<Vec<Member>>> {
        if let Some(pool) = &self.lan {
            return pool.changes();
        }
        let alone = Member {
            name: config.node_name.clone(),
            address: SocketAddr::new(config.advertise_addr, config.serf_lan_port),
            status: MemberStatus::Alive,
            tags: tags(config, node_id),
            protocol: 2,
            delegate: 4,
        };
        watch::channel(Arc::new(vec![alone])).1
    }

    /// Waits until a newer agent has superseded this one under its name; returns the conflict.
    pub async fn superseded(&self) -> NameConflict {
        let Some(pool) = &self.lan else { return std::future::pending().await };
        let mut superseded = pool.superseded();
        match superseded.wait_for(Option::is_some).await.map(|conflict| conflict.clone()) {
            Ok(Some(conflict)) => conflict,
            _ => std::future::pending().await,
        }
    }

    /// Waits until a task that a pool depends on has failed.
    pub async fn failed(&self) -> TaskFailed {
        let failed = async |pool: &Option<Pool>| match pool {
            Some(pool) => pool.failed().await,
            None => std::future::pending().await,
        };
        tokio::select! {
            failed = failed(&self.lan) => failed,
            failed = failed(&self.wan) => failed,
        }
    }

    /// Announces in every pool that this agent leaves for good.
    pub async fn leave(&self) {
        for pool in [&self.wan, &self.lan].into_iter().flatten() {
            pool.leave().await;
        }
    }

    /// Announces in every pool that this agent stops for now and may return at another address.
    pub async fn withdraw(&self) {
        for pool in [&self.wan, &self.lan].into_iter().flatten() {
            pool.withdraw().await;
        }
    }

    /// Stops gossiping without an announcement.
    pub async fn shutdown(&self) {
        for pool in [&self.wan, &self.lan].into_iter().flatten() {
            pool.shutdown().await;
        }
    }
}

async fn open(settings: Settings) -> Result<Pool, PoolError> {
    let pool = settings.profile.name();
    Pool::start(settings).await.map_err(|source| PoolError::Start { pool, source })
}

fn targets(
    key: &'static str,
    configured: &JoinPool,
    port: u16,
    resolver: Arc<dyn Resolve>,
) -> Result<join::Settings, PoolError> {
    let parsed = configured.targets.iter().map(|target| Target::parse(target, port));
    Ok(join::Settings {
        resolver,
        targets: parsed
            .collect::<Result<_, _>>()
            .map_err(|source| PoolError::Target { key, source })?,
        retry_interval: configured.interval,
        retry_max: configured.max,
    })
}

fn settings(
    config: &RuntimeConfig,
    node_id: &str,
    profile: Profile,
    bind: SocketAddr,
    advertise: IpAddr,
) -> Result<Settings, PoolError> {
    let (name, file) = match profile {
        Profile::Lan => (config.node_name.clone(), "local"),
        Profile::Wan => (format!("{}.{}", config.node_name, config.datacenter), "remote"),
    };
    let directory = config.data_dir.as_deref().map(|data_dir| data_dir.join("serf"));
    let keyring_file = directory
        .as_deref()
        .filter(|_| !config.gossip.disable_keyring_file)
        .map(|directory: &Path| directory.join(format!("{file}.keyring")));
    let encrypt = config.gossip.encrypt.as_ref().map(|key| key.expose_base64());
    Ok(Settings {
        advertise: SocketAddr::new(advertise, bind.port()),
        tags: tags(config, node_id),
        keyring: Keyring::open(keyring_file.as_deref(), encrypt.as_deref())?,
        verify_incoming: config.gossip.verify_incoming,
        verify_outgoing: config.gossip.verify_outgoing,
        snapshot: directory.map(|directory| directory.join(format!("{file}.snapshot"))),
        rejoin_after_leave: config.join.rejoin_after_leave,
        ..Settings::new(&name, node_id, bind, profile)
    })
}

/// Returns the gossip tags of this agent. COMPAT: names and values are Consul's.
pub fn tags(config: &RuntimeConfig, node_id: &str) -> BTreeMap<String, String> {
    let mut tags: BTreeMap<&str, String> = BTreeMap::from([
        ("dc", config.datacenter.clone()),
        ("segment", String::new()),
        ("id", node_id.to_owned()),
        ("vsn", "2".to_owned()),
        ("vsn_min", "2".to_owned()),
        ("vsn_max", "3".to_owned()),
        ("build", CONSUL_VERSION.to_owned()),
        ("acls", "0".to_owned()),
    ]);
    if config.server {
        tags.extend([
            (TAG_ROLE, ROLE_SERVER.to_owned()),
            ("raft_vsn", "3".to_owned()),
            ("port", config.server_port.to_string()),
            ("wan_join_port", config.serf_wan_port.to_string()),
            ("ft_fs", "1".to_owned()),
            ("ft_si", "1".to_owned()),
        ]);
        match config.bootstrap_expect {
            0 => None,
            1 => tags.insert("bootstrap", "1".to_owned()),
            expect => tags.insert("expect", expect.to_string()),
        };
        let listeners =
            [("grpc_port", &config.listen.grpc), ("grpc_tls_port", &config.listen.grpc_tls)];
        for (tag, addresses) in listeners {
            if let Some(address) = addresses.first() {
                tags.insert(tag, address.port().to_string());
            }
        }
    } else {
        tags.insert(TAG_ROLE, ROLE_CLIENT.to_owned());
    }
    tags.into_iter().map(|(tag, value)| (tag.to_owned(), value)).collect()
}

/// Returns the alive servers of both pools; those of this datacenter from the LAN pool.
fn known_servers(lan: &[Member], wan: &[Member]) -> Vec<KnownServer> {
    let own: Vec<KnownServer> = lan.iter().filter_map(known_server).collect();
    let is_own = |server: &KnownServer| own.iter().any(|own| own.datacenter == server.datacenter);
    let others = wan.iter().filter_map(known_server).filter(|server| !is_own(server));
    let others = others.collect::<Vec<_>>();
    own.into_iter().chain(others).collect()
}

fn known_server(member: &Member) -> Option<KnownServer> {
    let address = member.server_address().filter(|_| member.is_alive())?;
    let datacenter = member.datacenter().to_owned();
    let suffix = format!(".{datacenter}");
    let expect = match (member.tag("bootstrap"), member.tag("expect")) {
        ("1", _) => 1,
        (_, expect) => expect.parse().unwrap_or(0),
    };
    Some(KnownServer {
        name: member.name.strip_suffix(&suffix).unwrap_or(&member.name).to_owned(),
        datacenter,
        id: member.node_id().to_owned(),
        address,
        expect,
        started: member.started(),
    })
}

async fn follow(
    lan: Option<Pool>,
    wan: Option<Pool>,
    servers: Arc<Servers>,
    shutdown: CancellationToken,
) {
    let members = |pool: &Option<Pool>| pool.as_ref().map(Pool::members).unwrap_or_default();
    let mut changes = (lan.as_ref().map(Pool::changes), wan.as_ref().map(Pool::changes));
    loop {
        servers.replace(known_servers(&members(&lan), &members(&wan)));
        let changed = async {
            tokio::select! {
                true = changed(&mut changes.0) => {}
                true = changed(&mut changes.1) => {}
                else => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = changed => {}
        }
    }
}

/// Waits for the next change. Returns false when there will be none.
async fn changed(changes: &mut Option<watch::Receiver<Arc<Vec<Member>>>>) -> bool {
    match changes {
        Some(changes) => changes.changed().await.is_ok(),
        None => false,
    }
}
