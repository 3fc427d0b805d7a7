//! Starting: from a data directory to a server that takes part in consensus.
//!
//! INVARIANT: every byte of log and snapshot is verified before the engine starts, and a failed
//! start leaves nothing running.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lictor_runtime::Tasks;
use lictor_store::Store;
use openraft::{ChangeMembers, Config, Raft, SnapshotPolicy, async_runtime::watch::WatchReceiver};
use tokio::{
    sync::{Semaphore, watch},
    task, time,
};

use super::{
    Consensus, MAX_PROPOSAL_UNITS,
    directory::Directory,
    error::{RECOVERY_TIMEOUT, StartError},
    failure::{Failure, Fault},
    log_store::{LogStore, Medium, Opened},
    network::{AdvertisedCommit, PeerNetwork},
    recovery,
    rounds::Rounds,
    settings::{LogWrites, Settings},
    snapshot::{Loaded, Snapshots},
    standing::{Engine, Standing},
    state_machine::StateMachine,
    types::{Membership, ServerEndpoint, ServerId, ServerNode},
};

/// The longest election timeout, which is also the engine's lease: while a quorum has answered a
/// leader within it, no other is elected. Times `multiplier`.
const MAX_ELECTION_TIMEOUT: Duration = Duration::from_millis(700);
/// Between two heartbeats of a leader. Times `multiplier`.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(70);
struct Parts {
    log: Opened,
    snapshots: Arc<Snapshots>,
    loaded: Loaded,
}

/// This server's part in the cluster that its data knows.
#[derive(Clone, Copy)]
enum Part {
    /// It founds the cluster: there is no data and one server is expected.
    Founder,
    /// It is the only voter and elects itself at once.
    SoleVoter,
    /// It is one of several, or waits to be added.
    Member,
}

impl Part {
    fn of(id: ServerId, known: &Membership, expect: u32) -> Self {
        let voters: Vec<ServerId> = known.voter_ids().collect();
        match voters[..] {
            [] if expect == 1 => Self::Founder,
            [voter] if voter == id => Self::SoleVoter,
            _ => Self::Member,
        }
    }
}

/// See [`Consensus::start`].
pub(super) async fn start(settings: Settings, store: Arc<Store>) -> Result<Consensus, StartError> {
    let id = settings.node_id.parse().map(ServerId);
    let id = id.map_err(|_| StartError::NodeId(settings.node_id.clone()))?;
    let this = ServerNode { name: settings.node_name.clone(), address: settings.address };
    let fault = Fault::default();
    let (data_dir, node_id) = (settings.data_dir.clone(), settings.node_id.clone());
    let writes = settings.log_writes;
    let parts = {
        let fault = fault.clone();
        task::spawn_blocking(move || open(data_dir, &node_id, writes, fault)).await
    };
    let Parts { log, snapshots, loaded } =
        parts.map_err(|error| StartError::Thread(io::Error::other(error)))??;
    let known = log.membership.as_ref().unwrap_or(loaded.meta.last_membership.membership());
    check_identity(&settings, id, known)?;
    let part = Part::of(id, known, settings.bootstrap_expect);

    let machine = StateMachine::new(loaded, store, snapshots.clone(), fault.clone())
        .with_snapshot_interval(settings.compaction.interval);
    let (applied_term, applied) = (machine.applied_term(), machine.applied());
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let started = u64::try_from(started.as_millis()).unwrap_or(u64::MAX);
    let advertised = AdvertisedCommit::default();
    let endpoint = ServerEndpoint { address: this.address, started };
    let engine = Raft::new(
        id,
        Arc::new(engine_config(settings.multiplier, settings.compaction.threshold)),
        PeerNetwork {
            peers: settings.peers.clone(),
            this: endpoint,
            advertised: advertised.clone(),
        },
        log.store,
        machine,
    )
    .await
    .map_err(|error| failure(&fault, &error))?;
    let election = MAX_ELECTION_TIMEOUT * settings.multiplier.max(1);
    let (leader, announced) = watch::channel(None);
    let tasks = Tasks::new();
    let standing = Standing {
        trailing: settings.compaction.trailing,
        engine: engine.clone(),
        this: this.clone(),
        applied_term,
        servers: settings.peers.servers.clone(),
        lease: election,
        snapshots,
        fault: fault.clone(),
    };
    // Without it no leader is known: its end is a fault of this server.
    tasks.spawn("raft.standing", standing.follow(leader, tasks.shutdown().clone()));
    let consensus = Consensus {
        engine,
        log: log.reader,
        leader: announced,
        applied,
        contact: Arc::default(),
        peers: settings.peers,
        advertised,
        read_rounds: Rounds::default(),
        lease: election / 2,
        handed_over: AtomicU64::new(0),
        proposals: Semaphore::new(MAX_PROPOSAL_UNITS as usize),
        fault,
        tasks,
        writer: std::sync::Mutex::new(Some(log.writer)),
    };
    let joined = join(&consensus, &this, part).await;
    if joined.is_err() {
        consensus.shutdown().await;
    }
    joined.map(|()| consensus)
}

fn open(
    data_dir: Option<PathBuf>,
    node_id: &str,
    writes: LogWrites,
    fault: Fault,
) -> Result<Parts, StartError> {
    let directory = data_dir.as_deref().map(Directory::open).transpose()?;
    if let Some(directory) = &directory {
        recovery::recover(directory, node_id)?;
    }
    let medium = directory.as_ref().map_or(Medium::Memory, |paths| Medium::File(paths.log()));
    let log = LogStore::open(&medium, writes, fault.clone())?;
    let snapshots = directory.map(|paths| paths.snapshots());
    let (snapshots, loaded) = Snapshots::open(snapshots, log.purged, fault)?;
    Ok(Parts { log, snapshots, loaded })
}

fn check_identity(settings: &Settings, id: ServerId, known: &Membership) -> Result<(), StartError> {
    if known.nodes().next().is_none() || known.get_node(&id).is_some() {
        return Ok(());
    }
    let members: Vec<String> =
        known.nodes().map(|(id, node)| format!("{} {id}", node.name)).collect();
    Err(StartError::Identity {
        path: settings.data_dir.clone().unwrap_or_default(),
        members: members.join(", "),
        node_id: settings.node_id.clone(),
    })
}

/// Founds the cluster, or resumes its part in it.
async fn join(consensus: &Consensus, this: &ServerNode, part: Part) -> Result<(), StartError> {
    let (engine, fault) = (&consensus.engine, &consensus.fault);
    let id = *engine.node_id();
    match part {
        Part::Founder => {
            let members = BTreeMap::from([(id, this.clone())]);
            engine.initialize(members).await.map_err(|error| failure(fault, &error))?;
        }
        // No other server has a vote: no need to wait for an election timeout, or to ask.
        Part::SoleVoter => {
            engine.trigger().elect(false).await.map_err(|error| failure(fault, &error))?;
        }
        Part::Member => return Ok(()),
    }
    let mut leader = consensus.leader.clone();
    tokio::select! {
        recovered = recover(engine, &mut leader) => recovered,
        failure = fault.raised() => Err(failure.into()),
    }?;
    refresh_address(engine, this).await.map_err(|error| failure(fault, &*error))
}

async fn recover(
    engine: &Engine,
    leader: &mut watch::Receiver<Option<super::Leader>>,
) -> Result<(), StartError> {
    let recovered = engine.wait_for_recovery(Some(RECOVERY_TIMEOUT)).await;
    recovered.map_err(|_| StartError::Recovery)?;
    match time::timeout(RECOVERY_TIMEOUT, leader.wait_for(Option::is_some)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(StartError::Recovery),
    }
}

/// Corrects this server's name and address in the membership if they have changed since.
async fn refresh_address(
    engine: &Engine,
    this: &ServerNode,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let id = *engine.node_id();
    let known = engine.server_metrics().borrow_watched().membership_config.get_node(&id).cloned();
    if known.as_ref() != Some(this) {
        let nodes = BTreeMap::from([(id, this.clone())]);
        engine.change_membership(ChangeMembers::SetNodes(nodes), true).await?;
    }
    Ok(())
}

fn failure(fault: &Fault, error: &dyn std::error::Error) -> StartError {
    fault.first().unwrap_or_else(|| Failure::Engine(error.to_string())).into()
}

fn engine_config(multiplier: u32, snapshot_entries: u64) -> Config {
    let multiplier = u64::from(multiplier.max(1));
    let election = MAX_ELECTION_TIMEOUT.as_millis() as u64 * multiplier;
    Config {
        cluster_name: "lictor".to_owned(),
        election_timeout_min: election / 2,
        election_timeout_max: election,
        heartbeat_interval: HEARTBEAT_INTERVAL.as_millis() as u64 * multiplier,
        install_snapshot_timeout: 60_000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_entries),
        // The log is shortened when a snapshot is saved, back to the one before it.
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: snapshot_entries.saturating_mul(4),
        api_channel_size: Some(1024),
        quorum_loss_probe_interval: Some(2 * election),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        ..Config::default()
    }
}
