//! Who is in the cluster: the one module that knows serf and memberlist.
//!
//! A [`Pool`] is this agent's place in a group of agents that find each other, notice who fails, and
//! spread small messages. Everything above it looks at [`Pool::members`] and waits on
//! [`Pool::changes`], which is level-triggered: a missed change is seen with the next one.
//!
//! INVARIANT: nothing that must be correct rests on gossip alone. Membership is a hint, events are
//! best effort; the catalog and Raft decide.
//!
//! The encoding is the engine's own: lictor and Consul agents never share a pool.
//!
//! Source: SWIM with Lifeguard as in memberlist, events, queries and Lamport clocks as in serf;
//! Consul's settings of both.

mod coordinate;
mod engine;
mod gate;
pub mod join;
mod keyring;
mod keys;
mod member;
mod message;
mod peers;
mod settings;

#[cfg(test)]
mod tests;

pub use gate::Namesake;
pub use keyring::{Key, Keyring, KeyringError};
pub use keys::{KeyOperation, KeyReport};
pub use member::{Member, MemberStatus};
pub use message::{Answer, Answers, Query, SendError, UserEvent};
pub use settings::{Profile, Settings, Timing};

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::stream::{self, StreamExt};
use memberlist::proto::MaybeResolvedAddress;
use serf::event::EventProducer;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use engine::{Engine, EngineMember};
use gate::Own;

/// Engine events that may wait to be drained; the drain never blocks.
const EVENTS: usize = 1024;
/// Some changes of status come without an event: the table is looked at this often as well.
const LOOK: Duration = Duration::from_secs(1);
/// How long a graceful leave may take.
const LEAVE: Duration = Duration::from_secs(7);
/// How long [`Pool::withdraw`] may take.
const WITHDRAW: Duration = Duration::from_secs(1);
/// How long the engine may take to stop.
const SHUTDOWN: Duration = Duration::from_secs(2);
/// Attempts to be let in under a name that another address still holds, and the time between them.
const CONFIRM: (usize, Duration) = (3, Duration::from_millis(500));
/// Addresses that are contacted at the same time.
const CONTACTS: usize = 16;
/// How long the elder of this agent's name may take to hear of it.
const TELL: Duration = Duration::from_secs(1);
/// Between two attempts to be let in under this agent's name.
const SETTLE: Duration = Duration::from_secs(2);

/// Why a pool did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("listening for gossip on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The tags are too many for one packet.
    #[error("the tags of this agent have {0} bytes when encoded; 512 are possible")]
    Tags(usize),
    /// There are keys, and still nothing would be encrypted.
    #[error("gossip would not be encrypted although there are keys")]
    NotEncrypted,
    /// Anything else.
    #[error("starting gossip on {address}: {reason}")]
    Engine {
        /// Where.
        address: SocketAddr,
        /// What the engine says.
        reason: String,
    },
}

/// Why joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// None of the addresses let this agent in.
    #[error("{0}")]
    Unreachable(String),
    /// The others still believe in another agent of this name.
    #[error(
        "node name {name} is still used by {node_id} at {address}; this agent takes it over when that one is gone"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Of the other one.
        node_id: String,
        /// Of the other one.
        address: SocketAddr,
    },
    /// The pool was left or stopped.
    #[error("this agent has left the pool")]
    Stopped,
}

/// Why the tags did not change.
#[derive(Debug, thiserror::Error)]
pub enum TagsError {
    /// The tags are too many for one packet.
    #[error("the tags of this agent have {0} bytes when encoded; 512 are possible")]
    TooLarge(usize),
    /// The pool was left or stopped.
    #[error("setting tags: {0}")]
    Engine(String),
}

/// This agent's place in a pool. Clones are the same place.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    engine: Engine,
    own: Arc<Own>,
    node_id: String,
    members: watch::Sender<Arc<Vec<Member>>>,
    tags: Mutex<BTreeMap<String, String>>,
    messages: message::Messages,
    keyring: Option<Keyring>,
    peers: peers::File,
    rejoin_after_leave: bool,
    looked: tokio::sync::Mutex<Vec<EngineMember>>,
    settling: AtomicBool,
    look: Arc<Notify>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

// === impl Pool ===

impl Pool {
    /// Starts gossiping, alone at first.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way.
    pub async fn start(mut settings: Settings) -> Result<Self, StartError> {
        settings.bind = free_address(settings.bind)?;
        let mut address = settings.advertise;
        if address.port() == 0 {
            address.set_port(settings.bind.port());
        }
        let started = now_millis();
        let mut tags = settings.tags.clone();
        tags.insert("id".into(), settings.node_id.clone());
        tags.insert(gate::STARTED.into(), started.to_string());
        engine::encode_tags(&tags).map_err(StartError::Tags)?;
        let datacenter = tags.get("dc").cloned().unwrap_or_default();
        let own =
            Arc::new(Own::new(&settings.name, address, settings.profile, &datacenter, started));
        let (producer, events) = EventProducer::bounded(EVENTS);
        let engine = Engine::with_event_producer_and_delegate(
            engine::transport(&settings, address),
            engine::options(&settings, &tags),
            producer,
            engine::delegate(own.clone()),
        )
        .await
        .map_err(|error| StartError::Engine { address, reason: error.to_string() })?;
        if settings.keyring.is_some() && settings.verify_outgoing && !engine.encryption_enabled() {
            return Err(StartError::NotEncrypted);
        }
        let pool = Self(Arc::new(Inner {
            engine,
            own,
            node_id: settings.node_id,
            members: watch::Sender::default(),
            tags: Mutex::new(tags),
            messages: message::Messages::default(),
            keyring: settings.keyring,
            peers: peers::File::new(settings.snapshot),
            rejoin_after_leave: settings.rejoin_after_leave,
            looked: tokio::sync::Mutex::default(),
            settling: AtomicBool::new(false),
            look: Arc::new(Notify::new()),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }));
        pool.look().await;
        keys::answer(&pool);
        pool.0.tasks.spawn(message::drain(pool.clone(), events));
        pool.0.tasks.spawn(pool.clone().keep());
        Ok(pool)
    }

    /// This agent's name.
    pub fn name(&self) -> &str {
        &self.0.own.name
    }

    /// This agent's UUID.
    pub fn node_id(&self) -> &str {
        &self.0.node_id
    }

    /// Which pool this is.
    pub fn profile(&self) -> Profile {
        self.0.own.profile
    }

    /// The address that others are told.
    pub fn local_address(&self) -> SocketAddr {
        self.0.own.address
    }

    /// Whether gossip is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.0.engine.encryption_enabled()
    }

    /// Everybody this agent knows of, itself included, by name.
    pub fn members(&self) -> Arc<Vec<Member>> {
        self.0.members.borrow().clone()
    }

    /// Holds the members; wakes when they change.
    pub fn changes(&self) -> watch::Receiver<Arc<Vec<Member>>> {
        self.0.members.subscribe()
    }

    /// Holds the agent that took this agent's name, once there is one. This pool has stopped then,
    /// its members stay as they were; the agent should end.
    pub fn displaced(&self) -> watch::Receiver<Option<Namesake>> {
        self.0.own.displaced()
    }

    /// Addresses of the members that were alive when this agent last was not alone, in this run or
    /// the one before.
    pub fn remembered(&self) -> Vec<SocketAddr> {
        self.0.peers.remembered()
    }

    /// Meets the agents at these addresses, and through them all that they know. Answers how many
    /// were contacted; this agent's own address counts.
    ///
    /// # Errors
    /// [`JoinError`]; nobody was contacted, or this agent was not let in under its name.
    pub async fn join(&self, addresses: &[SocketAddr]) -> Result<usize, JoinError> {
        let own = addresses.iter().filter(|address| **address == self.local_address()).count();
        let others: Vec<_> =
            addresses.iter().filter(|address| **address != self.local_address()).collect();
        if others.is_empty() {
            return Ok(own);
        }
        let mut attempt = 1;
        loop {
            self.0.own.take_met();
            let contacted = self.contact(&others).await?;
            self.look().await;
            let Some(namesake) = self.0.own.take_met() else { return Ok(own + contacted) };
            self.tell_elder(&namesake).await;
            if attempt == CONFIRM.0 {
                let error = JoinError::NameInUse {
                    name: self.name().to_owned(),
                    node_id: namesake.node_id,
                    address: namesake.address,
                };
                self.settle(&error);
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(CONFIRM.1).await;
        }
    }

    /// The others refuse this agent while they believe in its elder: nobody but this agent can tell
    /// the elder that its time is over.
    async fn tell_elder(&self, elder: &Namesake) {
        if elder.started < self.0.own.started {
            let address = MaybeResolvedAddress::resolved(elder.address);
            let told = timeout(TELL, self.0.engine.join(address, true)).await;
            tracing::debug!(address = %elder.address, reached = matches!(told, Ok(Ok(_))), "told the elder of this name");
        }
    }

    /// Asks again until everybody that is asked knows this agent by its name.
    fn settle(&self, refusal: &JoinError) {
        if self.0.settling.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!(target: "agent", "{refusal}");
        let pool = self.clone();
        self.0.tasks.spawn(async move {
            let asking = pool.ask_until_accepted();
            tokio::select! {
                () = pool.0.stop.cancelled() => {}
                () = asking => {
                    tracing::info!(target: "agent", name = pool.name(), "this agent has taken over its node name");
                }
            }
            pool.0.settling.store(false, Ordering::Release);
        });
    }

    async fn ask_until_accepted(&self) {
        loop {
            tokio::time::sleep(SETTLE).await;
            let members = self.members();
            let others = members.iter().filter(|m| m.is_alive() && m.name != self.name());
            let others: Vec<_> = others.map(|member| &member.address).take(3).collect();
            self.0.own.take_met();
            let contacted = !others.is_empty() && self.contact(&others).await.is_ok();
            match self.0.own.take_met() {
                Some(elder) => self.tell_elder(&elder).await,
                None if contacted => return,
                None => {}
            }
        }
    }

    async fn contact(&self, addresses: &[&SocketAddr]) -> Result<usize, JoinError> {
        if self.0.stop.is_cancelled() {
            return Err(JoinError::Stopped);
        }
        let (mut reached, mut problems) = (Vec::new(), Vec::new());
        let attempts = addresses.iter().map(|address| self.exchange(**address));
        let mut attempts = stream::iter(attempts.collect::<Vec<_>>()).buffer_unordered(CONTACTS);
        while let Some((address, problem)) = attempts.next().await {
            match problem {
                None => reached.push(address),
                Some(problem) => problems.push(format!("Failed to join {address}: {problem}")),
            }
        }
        let Some(first) = reached.first() else {
            return Err(JoinError::Unreachable(problems.join("; ")));
        };
        if !problems.is_empty() {
            tracing::debug!(problems = problems.join("; "), "some addresses could not be joined");
        }
        // Once more through the upper layer, which tells everybody that this agent means to stay.
        if let Err(error) = self.0.engine.join(MaybeResolvedAddress::resolved(*first), true).await {
            tracing::debug!(%error, "the pool hears of this agent with the next exchange of state");
        }
        Ok(reached.len())
    }

    /// Exchanges state with one agent; what went wrong, if anything did.
    async fn exchange(&self, address: SocketAddr) -> (SocketAddr, Option<String>) {
        let resolved = MaybeResolvedAddress::resolved(address);
        let joined = self.0.engine.memberlist().join(resolved).await;
        (address, joined.err().map(|error| one_line(&error.to_string())))
    }

    /// Tells others something else about this agent. `id` stays.
    ///
    /// # Errors
    /// [`TagsError`]; the old tags stay.
    pub async fn set_tags(&self, tags: BTreeMap<String, String>) -> Result<(), TagsError> {
        let mut tags = tags;
        tags.insert("id".into(), self.0.node_id.clone());
        tags.insert(gate::STARTED.into(), self.0.own.started.to_string());
        let encoded = engine::encode_tags(&tags).map_err(TagsError::TooLarge)?;
        {
            let mut known = self.0.tags.lock().unwrap_or_else(PoisonError::into_inner);
            if *known == tags {
                return Ok(());
            }
            *known = tags;
        }
        // A timeout means that nobody was told yet; the next exchange of state does.
        let set = self.0.engine.set_tags(encoded).await;
        self.look().await;
        match set {
            Err(error) if self.0.stop.is_cancelled() => Err(TagsError::Engine(error.to_string())),
            Err(error) => {
                tracing::debug!(%error, "new tags are told with the next exchange of state");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The tags in force.
    pub fn tags(&self) -> BTreeMap<String, String> {
        self.0.tags.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the others that this agent leaves. Ends within seven seconds; [`Pool::shutdown`] follows.
    pub async fn leave(&self) {
        match timeout(LEAVE, self.0.engine.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "leaving the pool"),
            Err(_) => tracing::warn!("the pool was not told in time that this agent leaves"),
        }
        if !self.0.rejoin_after_leave {
            self.0.peers.forget().await;
        }
        self.look().await;
    }

    /// Tells the others that this agent stops to answer: they count it as failed at once and not after
    /// many seconds of silence, and let its name come back under another address. [`Pool::shutdown`]
    /// follows.
    pub async fn withdraw(&self) {
        if let Err(error) = self.0.engine.memberlist().leave(WITHDRAW).await {
            tracing::debug!(%error, "the pool will notice that this agent is gone");
        }
    }

    /// Makes a failed member one that has left; with `prune`, forgets it. Answers whether the name
    /// is known. A member that answers objects and stays.
    pub async fn force_leave(&self, name: &str, prune: bool) -> bool {
        let members = self.members();
        let Some(member) = members.iter().find(|member| member.name == name) else {
            return false;
        };
        // Pruning a member that answers holds the engine's table for seconds, for nothing.
        let prune = prune && !member.is_alive() && member.status != MemberStatus::Leaving;
        let forced = if prune {
            timeout(LEAVE, self.0.engine.remove_failed_node_prune(name.into())).await
        } else {
            timeout(LEAVE, self.0.engine.remove_failed_node(name.into())).await
        };
        if let Ok(Err(error)) = forced {
            tracing::debug!(%error, name, "the pool hears of the removal later");
        }
        self.look().await;
        true
    }

    /// Stops gossiping. Ends within seconds. Without [`Pool::leave`] before, the others will count
    /// this agent as failed.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        match timeout(SHUTDOWN, self.0.engine.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "stopping gossip"),
            Err(_) => tracing::debug!("gossip did not stop in time"),
        }
        if timeout(SHUTDOWN, self.0.tasks.wait()).await.is_err() {
            tracing::debug!("tasks of the pool did not stop in time");
        }
    }

    /// Publishes the members whenever they change, and stops when somebody else has the name.
    async fn keep(self) {
        let mut displaced = self.displaced();
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = self.0.look.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                changed = displaced.changed() => {
                    if changed.is_ok() {
                        self.step_aside().await;
                    }
                    return;
                }
            }
            self.look().await;
        }
    }

    async fn step_aside(&self) {
        let displaced = self.displaced().borrow().clone();
        if let Some(Namesake { address, node_id, .. }) = displaced {
            tracing::error!(target: "agent", name = self.name(), %address, by = node_id, "a newer agent uses this agent's name; this one has stopped gossiping, end it or give it another name");
        }
        self.0.stop.cancel();
        if timeout(SHUTDOWN, self.0.engine.shutdown()).await.is_err() {
            tracing::debug!("gossip did not stop in time");
        }
    }

    /// Reads the engine's table and publishes what is new. One at a time, from reading to publishing:
    /// an older table that is published last would stay.
    async fn look(&self) {
        if self.0.stop.is_cancelled() {
            return;
        }
        let mut looked = self.0.looked.lock().await;
        let mut table: Vec<EngineMember> = self.0.engine.members().await.into_iter().collect();
        table.sort_by(|a, b| a.node().id().cmp(b.node().id()));
        if same(&looked, &table) {
            return;
        }
        looked.clone_from(&table);
        let members = Arc::new(table.iter().map(Member::from).collect::<Vec<_>>());
        let before = self.0.members.send_replace(members.clone());
        announce(self.profile(), &before, &members);
        self.0.peers.remember(self.local_address(), &members).await;
    }
}

/// Whether nothing changed, without comparing tags by content: the engine replaces them as a whole.
fn same(before: &[EngineMember], after: &[EngineMember]) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).all(|(a, b)| {
            a.node() == b.node() && a.status() == b.status() && Arc::ptr_eq(a.tags(), b.tags())
        })
}

/// Logs joins, failures and leaves. COMPAT: the sentences are serf's, which scripts grep for.
fn announce(profile: Profile, before: &[Member], after: &[Member]) {
    let pool = profile.name();
    let old: BTreeMap<&str, &Member> = before.iter().map(|m| (m.name.as_str(), m)).collect();
    for member in after {
        let Member { name, address, status, .. } = member;
        let ip = address.ip();
        let was = old.get(name.as_str());
        if was.is_some_and(|was| was.status == *status && was.address == *address) {
            continue;
        }
        match status {
            MemberStatus::Alive => {
                tracing::info!(target: "agent.serf", pool, "serf: EventMemberJoin: {name} {ip}");
            }
            MemberStatus::Left => {
                tracing::info!(target: "agent.serf", pool, "serf: EventMemberLeave: {name} {ip}");
            }
            MemberStatus::Failed => {
                tracing::info!(target: "agent.serf", pool, "serf: EventMemberFailed: {name} {ip}");
            }
            MemberStatus::Leaving => {}
        }
    }
    for gone in before.iter().filter(|m| !after.iter().any(|other| other.name == m.name)) {
        tracing::info!(target: "agent.serf", pool, "serf: EventMemberReap: {}", gone.name);
    }
}

/// A free address of the wanted form. An address in use is found here, where it can be named.
fn free_address(wanted: SocketAddr) -> Result<SocketAddr, StartError> {
    let attempts = if wanted.port() == 0 { 16 } else { 1 };
    let mut refused = None;
    for _ in 0..attempts {
        let bound = TcpListener::bind(wanted).and_then(|listener| {
            let address = listener.local_addr()?;
            UdpSocket::bind(address).map(|_| address)
        });
        match bound {
            Ok(address) => return Ok(address),
            Err(source) => refused = Some(source),
        }
    }
    let source = refused.unwrap_or_else(|| io::ErrorKind::AddrInUse.into());
    Err(StartError::Listen { address: wanted, source })
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
