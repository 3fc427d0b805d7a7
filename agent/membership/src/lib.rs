//! Membership: pools of agents that find each other, detect failures and spread small messages.
//!
//! A [`Pool`] is this agent's place in one group of agents. Callers read [`Pool::members`] and wait
//! on [`Pool::changes`], which is level-triggered: a missed change is seen with the next one.
//!
//! Engine: serf 0.5 over memberlist 0.8, ports of the Go libraries that Consul gossips with, so
//! that timings and states mean what Consul's operators expect.
//!
//! Used: memberlist's failure detection, push/pull and encryption; serf's member table, tags,
//! queries, Lamport clocks and coordinates. Left aside, each with its reason where it is replaced:
//! user events (`message`), key queries (`keys`), name conflict votes (`gate`), and snapshots with
//! their rejoin (`peers`, `join`).
//!
//! Limits: the encoding is the engine's own, so lictor and Consul agents never share a pool; 512
//! bytes of tags, 512 of a user event, 1024 of a query or an answer.
//!
//! INVARIANT: the only crate that depends on serf and memberlist; none of their types is public.
//! Nothing here knows of the catalog, Raft, HTTP or Kubernetes: names and pods to join are resolved
//! by the caller's [`join::Resolve`].
//!
//! INVARIANT: nothing that must be correct rests on gossip alone. Membership is a hint, events are
//! best effort; the catalog and Raft decide.
//!
//! May be touched here: settings (`settings`, `engine`), who is let in (`gate`), what is published
//! (`watch`) and logged. What the catalog makes of members belongs to the agent's `server`.
//!
//! Source: SWIM with Lifeguard as in memberlist, events, queries and Lamport clocks as in serf;
//! Consul's settings of both.

#![forbid(unsafe_code)]

mod coordinate;
mod engine;
mod error;
mod gate;
pub mod join;
mod keyring;
mod keys;
mod member;
mod message;
mod peers;
mod settings;
mod takeover;
mod watch;

#[cfg(test)]
mod tests;

pub use error::{ContactError, EngineError, JoinError, StartError, TagsError};
pub use gate::NameConflict;
pub use keyring::{Key, Keyring, KeyringError};
pub use keys::{KeyOperation, KeyReport};
pub use member::{Member, MemberStatus};
pub use message::{Query, QueryResponse, QueryResponses, SendError, UserEvent};
pub use settings::{Profile, Settings, Timing};

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lictor_runtime::{TaskFailed, Tasks};
use serf::event::EventProducer;
use tokio::{
    sync::{
        Notify,
        watch::{Receiver, Sender},
    },
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use engine::Engine;
use gate::LocalMember;
use member::EngineMember;

/// Engine events that may wait to be drained; the drain never blocks.
const MAX_PENDING_EVENTS: usize = 1024;
/// How long a graceful leave may take, and a forced one.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(7);
/// How long [`Pool::withdraw`] may take.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the engine may take to stop, and then the pool's own tasks.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// This agent's place in a pool. Clones are the same place.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    engine: Engine,
    local: Arc<LocalMember>,
    node_id: String,
    members: Sender<Arc<Vec<Member>>>,
    tags: Mutex<BTreeMap<String, String>>,
    messages: message::Messages,
    keyring: Option<Keyring>,
    peers: peers::File,
    rejoin_after_leave: bool,
    /// The engine's table as it was last published in `members`.
    published: tokio::sync::Mutex<Vec<EngineMember>>,
    /// Set while the name takeover is being retried in the background.
    retrying: AtomicBool,
    /// Wakes the task that refreshes `members`.
    refresh: Notify,
    stop: CancellationToken,
    tasks: Tasks,
}

// === impl Pool ===

impl Pool {
    /// Starts gossiping; this agent is alone until it joins or is joined.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(mut settings: Settings) -> Result<Self, StartError> {
        settings.bind = engine::free_address(settings.bind)?;
        let mut address = settings.advertise;
        if address.port() == 0 {
            address.set_port(settings.bind.port());
        }
        let started = now_millis();
        let mut tags = settings.tags.clone();
        tags.insert("id".into(), settings.node_id.clone());
        tags.insert(member::STARTED_TAG.into(), started.to_string());
        engine::encode_tags(&tags).map_err(StartError::Tags)?;
        let datacenter = tags.get("dc").cloned().unwrap_or_default();
        let (name, profile) = (&settings.name, settings.profile);
        let local = Arc::new(LocalMember::new(name, address, profile, &datacenter, started));
        let (producer, events) = EventProducer::bounded(MAX_PENDING_EVENTS);
        let engine = Engine::with_event_producer_and_delegate(
            engine::transport(&settings, address),
            engine::options(&settings, &tags),
            producer,
            engine::delegate(local.clone()),
        )
        .await
        .map_err(|error| StartError::Engine { address, source: EngineError::new(&error) })?;
        if settings.keyring.is_some() && settings.verify_outgoing && !engine.encryption_enabled() {
            engine::stop(&engine).await;
            return Err(StartError::NotEncrypted);
        }
        let tasks = Tasks::new();
        let pool = Self(Arc::new(Inner {
            engine,
            local,
            node_id: settings.node_id,
            members: Sender::default(),
            tags: Mutex::new(tags),
            messages: message::Messages::default(),
            keyring: settings.keyring,
            peers: peers::File::new(settings.snapshot),
            rejoin_after_leave: settings.rejoin_after_leave,
            published: tokio::sync::Mutex::default(),
            retrying: AtomicBool::new(false),
            refresh: Notify::new(),
            stop: tasks.shutdown().clone(),
            tasks,
        }));
        pool.refresh_members().await;
        keys::handle_queries(&pool);
        // Ends for good when the engine does, and an agent without gossip is no member.
        pool.0.tasks.spawn("gossip.events", message::drain(pool.clone(), events));
        // Begins with what the engine knows now.
        let watched = pool.clone();
        pool.0.tasks.restart("gossip.members", move || watched.clone().watch());
        Ok(pool)
    }

    /// Returns this agent's name in the pool.
    pub fn name(&self) -> &str {
        &self.0.local.name
    }

    /// Returns this agent's UUID.
    pub fn node_id(&self) -> &str {
        &self.0.node_id
    }

    /// Returns which of the two pools this is.
    pub fn profile(&self) -> Profile {
        self.0.local.profile
    }

    /// Returns the gossip address that other members use for this agent.
    pub fn local_address(&self) -> SocketAddr {
        self.0.local.address
    }

    /// Returns whether gossip is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.0.engine.encryption_enabled()
    }

    /// Returns the members that this agent knows, itself included, sorted by name.
    pub fn members(&self) -> Arc<Vec<Member>> {
        self.0.members.borrow().clone()
    }

    /// Returns a receiver of the members that wakes when they change.
    pub fn changes(&self) -> Receiver<Arc<Vec<Member>>> {
        self.0.members.subscribe()
    }

    /// Returns a receiver of the newer agent that took this agent's name; `None` until there is
    /// one. This pool has then stopped with its members as they were, and the agent should end.
    pub fn superseded(&self) -> Receiver<Option<NameConflict>> {
        self.0.local.superseded()
    }

    /// Returns the addresses of the members that were alive when this agent last was not alone, in
    /// this run or the one before.
    pub fn remembered(&self) -> Vec<SocketAddr> {
        self.0.peers.remembered()
    }

    /// Replaces this agent's tags; `id` and `st` keep their values. Members that the broadcast does
    /// not reach learn of the tags with the next exchange of state.
    ///
    /// # Errors
    /// [`TagsError`]; the old tags stay.
    pub async fn set_tags(&self, mut tags: BTreeMap<String, String>) -> Result<(), TagsError> {
        if self.0.stop.is_cancelled() {
            return Err(TagsError::Stopped);
        }
        tags.insert("id".into(), self.0.node_id.clone());
        tags.insert(member::STARTED_TAG.into(), self.0.local.started.to_string());
        let encoded = engine::encode_tags(&tags).map_err(TagsError::TooLarge)?;
        {
            let mut known = self.0.tags.lock().unwrap_or_else(PoisonError::into_inner);
            if *known == tags {
                return Ok(());
            }
            *known = tags;
        }
        // The engine has the tags even when its broadcast timed out.
        if let Err(error) = self.0.engine.set_tags(encoded).await {
            tracing::debug!(%error, "new tags spread with the next exchange of state");
        }
        self.refresh_members().await;
        Ok(())
    }

    /// Returns the tags in force.
    pub fn tags(&self) -> BTreeMap<String, String> {
        self.0.tags.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Announces that this agent leaves for good. Returns within seven seconds; call
    /// [`Pool::shutdown`] next.
    pub async fn leave(&self) {
        match timeout(LEAVE_TIMEOUT, self.0.engine.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "leaving the pool"),
            Err(_) => tracing::warn!(
                "leaving the pool took too long; other members may count this agent as failed"
            ),
        }
        if !self.0.rejoin_after_leave {
            self.0.peers.forget().await;
        }
        self.refresh_members().await;
    }

    /// Announces that this agent stops for now: other members count it as failed at once instead of
    /// after seconds of unanswered probes, and accept its name under another address. Call
    /// [`Pool::shutdown`] next.
    pub async fn withdraw(&self) {
        if let Err(error) = self.0.engine.memberlist().leave(WITHDRAW_TIMEOUT).await {
            tracing::debug!(%error, "other members have to detect that this agent stopped");
        }
    }

    /// Moves a failed member to the state left; with `prune`, removes it from the list. Returns
    /// whether the name is known. A member that is alive refutes this and stays.
    pub async fn force_leave(&self, name: &str, prune: bool) -> bool {
        let members = self.members();
        let Some(member) = members.iter().find(|member| member.name == name) else {
            return false;
        };
        // Pruning a live member holds the engine's table for seconds, for nothing.
        let prune = prune && !member.is_alive() && member.status != MemberStatus::Leaving;
        let forced = if prune {
            timeout(LEAVE_TIMEOUT, self.0.engine.remove_failed_node_prune(name.into())).await
        } else {
            timeout(LEAVE_TIMEOUT, self.0.engine.remove_failed_node(name.into())).await
        };
        if let Ok(Err(error)) = forced {
            tracing::debug!(%error, name, "the removal spreads with the next exchange of state");
        }
        self.refresh_members().await;
        true
    }

    /// Stops gossiping. Returns within four seconds. Unless [`Pool::leave`] was called before,
    /// other members will count this agent as failed.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        engine::stop(&self.0.engine).await;
        self.0.tasks.stop(SHUTDOWN_TIMEOUT).await;
    }

    /// Waits until a task is gone without which this pool cannot go on; the agent should end.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn failed(&self) -> TaskFailed {
        self.0.tasks.failed().await
    }
}

/// Returns the time since 1970 in milliseconds.
fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
