//! Leader duty: expires sessions whose TTL is not renewed, and lock-delays.
//!
//! The clocks exist in the leader's memory only, run on tokio's monotonic clock, and follow the
//! state: a new session gets twice its TTL, a new lock-delay its length. Expirations are proposed
//! and take effect when committed; nothing depends on the time of day, or on two servers agreeing
//! about time.
//!
//! Safe side: a new leader cannot know how much of a duration has passed, so it starts every clock
//! from the full length. After a change of leader, sessions may live longer and locks may be
//! refused longer than necessary; a session never ends early, and a lock-delay is never cut short.
//! A lock-delay is a row of the state, so an acquire that follows the loss of the lock in the log
//! is subject to it under any leader.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lictor_api::{query::Consistency, types::session::Session};
use lictor_consensus::ConsensusError;
use lictor_core::{
    fsm::{Command, Expired, SessionCommand},
    state::{State, Topic, WatchSet},
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Server, ServerError};
use crate::telemetry::metrics;

/// A session expires after this many TTLs without renewal. COMPAT: as in Consul, so that a client
/// that renews once per TTL never loses its session to a delay.
const TTL_MULTIPLIER: u32 = 2;
/// The least time between two passes, so that a burst of session changes costs one pass.
const MIN_PASS_INTERVAL: Duration = Duration::from_millis(50);
/// Pause after a failed proposal.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The most expired sessions, and the most expired lock-delays, in one proposal.
const MAX_BATCH: usize = 512;

/// When sessions and lock-delays expire, as measured by this leader.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    sessions: BTreeMap<String, Clock>,
    /// By key and the Raft index at which the delay began.
    delays: BTreeMap<(Arc<str>, u64), Instant>,
}

/// A session's clock.
#[derive(Debug)]
struct Clock {
    /// Raft index of the session's creation.
    created: u64,
    end: Instant,
    /// Whether its expiration is being proposed; the session can no longer be renewed.
    ending: bool,
}

impl Clock {
    /// Starts a session's clock at the full length; `None` for a session without a TTL.
    fn start(session: &Session, now: Instant) -> Option<Self> {
        let end = now + session.lifetime()? * TTL_MULTIPLIER;
        Some(Self { created: session.create_index, end, ending: false })
    }
}

impl Clocks {
    /// Starts the clocks of new sessions and lock-delays, and stops those of removed ones.
    fn follow(&mut self, state: &State, now: Instant) {
        self.sessions.retain(|id, clock| {
            state.sessions.get(id).is_some_and(|session| session.create_index == clock.created)
        });
        for session in state.sessions.list() {
            if !self.sessions.contains_key(&session.id)
                && let Some(clock) = Clock::start(session, now)
            {
                self.sessions.insert(session.id.clone(), clock);
            }
        }
        self.delays.retain(|(key, since), _| {
            state.kv.delay(key).is_some_and(|delay| delay.since == *since)
        });
        for (key, delay) in state.kv.delays() {
            self.delays.entry((key.clone(), delay.since)).or_insert(now + delay.length);
        }
    }

    /// Restarts a session's clock. Returns false when the session has expired.
    pub(super) fn renew(&mut self, session: &Session, now: Instant) -> bool {
        let known = self.sessions.get(&session.id);
        if known.is_some_and(|clock| clock.ending && clock.created == session.create_index) {
            return false;
        }
        if let Some(clock) = Clock::start(session, now) {
            self.sessions.insert(session.id.clone(), clock);
        }
        true
    }

    /// Returns what has expired, to be proposed, and when the next clock runs out.
    fn due(&mut self, now: Instant) -> (Expired, Option<Instant>) {
        let mut expired = Expired::default();
        for (id, clock) in
            self.sessions.iter_mut().filter(|(_, clock)| clock.end <= now).take(MAX_BATCH)
        {
            clock.ending = true;
            expired.sessions.push((id.clone(), clock.created));
        }
        let delays = self.delays.iter().filter(|(_, end)| **end <= now).take(MAX_BATCH);
        expired.delays.extend(delays.map(|((key, since), _)| (key.to_string(), *since)));
        let ends = self.sessions.values().map(|clock| clock.end);
        (expired, ends.chain(self.delays.values().copied()).min())
    }
}

/// Expires sessions and lock-delays while this server leads. The caller starts it when leadership
/// begins, which restarts every clock, and cancels it when leadership ends.
pub async fn run(server: Arc<Server>, until: CancellationToken) {
    *server.clocks() = Clocks::default();
    tokio::select! {
        () = until.cancelled() => {}
        () = follow(&server) => {}
    }
}

async fn follow(server: &Server) {
    loop {
        let mut topics = WatchSet::default();
        topics.add(Topic::Sessions);
        // Registered before the state is read, so that no change is missed. Lock-delays begin only
        // when a session ends, so the one topic covers both.
        let waiter = server.store().watch(topics);
        let (expired, next) = {
            let (state, now) = (server.store().snapshot(), Instant::now());
            let mut clocks = server.clocks();
            clocks.follow(&state, now);
            clocks.due(now)
        };
        if !expired.sessions.is_empty() || !expired.delays.is_empty() {
            end(server, expired).await;
            continue;
        }
        let timer = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = waiter.changed() => sleep(MIN_PASS_INTERVAL).await,
            () = timer => {}
        }
    }
}

/// Proposes expirations. Whether or not that succeeds, the next pass handles the rest.
async fn end(server: &Server, expired: Expired) {
    let (sessions, delays) = (expired.sessions.len(), expired.delays.len());
    #[cfg(test)]
    for (id, _) in &expired.sessions {
        crate::plant::panic_if_planted("leader.sessions", id);
    }
    let command = Command::Session(Box::new(SessionCommand::Expire(expired)));
    match server.submit(command).await {
        Ok(_) => {
            tracing::debug!(target: "agent.server", sessions, delays, "ended what has run out");
        }
        Err(error) => {
            tracing::warn!(target: "agent.server", sessions, %error, "failed to end sessions, trying again");
            sleep(RETRY_INTERVAL).await;
        }
    }
}

impl Server {
    /// Returns the number of sessions with a running TTL on this leader.
    pub fn active_ttls(&self) -> usize {
        if self.is_leader() { self.clocks().sessions.len() } else { 0 }
    }

    /// Renews a session's TTL at the leader; writes nothing to the log. Returns `None` when the
    /// session does not exist or has expired.
    ///
    /// # Errors
    /// [`ServerError`]; the session may have been renewed.
    pub async fn renew_session(&self, id: &str) -> Result<Option<Arc<Session>>, ServerError> {
        let started = std::time::Instant::now();
        let renew = || async {
            match self.current_leader()? {
                leader if leader.is_self => self.renew_here(id).await,
                leader => self.leader.renew_session(&leader, id).await,
            }
        };
        let renewed = self.hold(renew).await;
        metrics::SESSION_RENEW.observe_since(started);
        if !renewed? {
            return Ok(None);
        }
        // A follower may not have applied the session's creation yet.
        self.barrier(Consistency::Default).await?;
        Ok(self.store.snapshot().sessions.get(id).cloned())
    }

    /// Renews a session's TTL on this server, which must lead. Returns false when there is no such
    /// session.
    ///
    /// # Errors
    /// [`ConsensusError::NoLeader`] when this server does not lead.
    pub(crate) async fn renew_here(&self, id: &str) -> Result<bool, ConsensusError> {
        // A deposed leader must not report a session as alive.
        self.consensus.barrier(Consistency::Default).await?;
        if !self.is_leader() {
            return Err(ConsensusError::NoLeader);
        }
        let session = self.store.snapshot().sessions.get(id).cloned();
        Ok(session.is_some_and(|session| self.clocks().renew(&session, Instant::now())))
    }
}

#[cfg(test)]
mod tests;
