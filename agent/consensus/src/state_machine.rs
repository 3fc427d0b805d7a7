//! Applies committed entries by [`fsm::apply`] and publishes one state per batch.
//!
//! INVARIANT: this is the only writer of the published state, a batch is published whole before
//! any of its proposals returns, and an entry that cannot be read stops the server.
//!
//! A snapshot is taken from a clone of the state, which costs nothing, and encoded and written on
//! a blocking thread while entries go on being applied.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{Stream, TryStreamExt};
use lictor_api::error::chain;
use lictor_core::{
    fsm::{self, Command, Response},
    planted::{Bug, is_planted},
    state::{State, watch::Touched},
};
use lictor_store::Store;
use openraft::{
    EntryPayload, RaftSnapshotBuilder, Snapshot, alias,
    storage::{EntryResponder, RaftStateMachine},
};
use tokio::{sync::watch, task, time};

use super::{
    failure::{Failure, Fault},
    metrics,
    snapshot::{Loaded, Snapshots, Source},
    types::{LogId, SnapshotMeta, StoredMembership, TypeConfig},
};

/// Snapshots may take one part in this many of the time.
const SNAPSHOT_TIME_DIVISOR: u32 = 10;
/// Snapshots that take less time need no pause.
const MIN_PACED_SNAPSHOT: Duration = Duration::from_millis(10);

/// The replicated state with the last entry that is applied to it.
pub(super) struct StateMachine {
    state: State,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    store: Arc<Store>,
    snapshots: Arc<Snapshots>,
    /// Term of the last applied entry: shows that a leader's first entry is applied here.
    applied_term: watch::Sender<u64>,
    /// Index of the last applied entry, announced when its state is published.
    applied: watch::Sender<u64>,
    pace: watch::Sender<Instant>,
    /// Shortest time between two snapshots.
    interval: Duration,
    fault: Fault,
}

/// Writes a clone of the state as a snapshot.
pub(super) struct Builder {
    meta: SnapshotMeta,
    state: State,
    snapshots: Arc<Snapshots>,
    pace: watch::Sender<Instant>,
    interval: Duration,
}

impl StateMachine {
    /// Begins with the state of a snapshot, and publishes it.
    pub(super) fn new(
        loaded: Loaded,
        store: Arc<Store>,
        snapshots: Arc<Snapshots>,
        fault: Fault,
    ) -> Self {
        store.replace(loaded.state.clone());
        let last_applied = loaded.meta.last_log_id;
        Self {
            state: loaded.state,
            last_applied,
            membership: loaded.meta.last_membership,
            store,
            snapshots,
            applied_term: watch::Sender::new(last_applied.map_or(0, |id| id.leader_id.term)),
            applied: watch::Sender::new(last_applied.map_or(0, |id| id.index)),
            pace: watch::Sender::new(Instant::now()),
            interval: Duration::ZERO,
            fault,
        }
    }

    /// Sets the shortest time between two snapshots.
    pub(super) fn with_snapshot_interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Returns a receiver of the term of the last applied entry.
    pub(super) fn applied_term(&self) -> watch::Receiver<u64> {
        self.applied_term.subscribe()
    }

    /// Returns a receiver of the index of the last applied entry.
    pub(super) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    fn apply_one(
        &mut self,
        log_id: LogId,
        payload: EntryPayload<
            super::types::Proposal,
            super::types::ServerId,
            super::types::ServerNode,
        >,
        touched: &mut Touched,
    ) -> io::Result<Response> {
        let response = match payload {
            EntryPayload::Blank => Response::Done,
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(log_id), membership);
                Response::Done
            }
            EntryPayload::Normal(proposal) => {
                let command = Command::decode(&proposal.0).map_err(|error| {
                    let reason = chain(&error);
                    self.fault.raise(Failure::Entry { index: log_id.index, reason })
                })?;
                let started = Instant::now();
                let response = fsm::apply(&mut self.state, log_id.index, command, touched);
                metrics::APPLY_TIMES.observe_since(started);
                response
            }
        };
        self.state.advance(log_id.index);
        self.last_applied = Some(log_id);
        Ok(response)
    }

    fn announce(&self) {
        self.applied.send_replace(self.last_applied.map_or(0, |log_id| log_id.index));
        let term = self.last_applied.map_or(0, |log_id| log_id.leader_id.term);
        self.applied_term.send_if_modified(|known| std::mem::replace(known, term) != term);
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Source;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        let mut touched = Touched::default();
        let mut answers = Vec::new();
        while let Some((entry, responder)) = entries.try_next().await? {
            let response = self.apply_one(entry.log_id, entry.payload, &mut touched)?;
            answers.extend(responder.map(|responder| (responder, response)));
        }
        if is_planted(Bug::FollowerAhead) && !answers.is_empty() {
            // As on a busy machine, where a leader is often slower than its followers.
            time::sleep(Duration::from_millis(5)).await;
        }
        self.store.publish(self.state.clone(), &touched);
        self.announce();
        for (responder, response) in answers {
            responder.send(response);
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        if !force && Instant::now() < *self.pace.borrow() {
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            meta: SnapshotMeta {
                last_log_id: self.last_applied,
                last_membership: self.membership.clone(),
            },
            state: self.state.clone(),
            snapshots: self.snapshots.clone(),
            pace: self.pace.clone(),
            interval: self.interval,
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Source) -> io::Result<()> {
        let (snapshots, meta) = (self.snapshots.clone(), meta.clone());
        let loaded = task::spawn_blocking(move || {
            let loaded = snapshot.load().map_err(|error| snapshots.fail(&error))?;
            snapshots.save(&meta, &loaded.state)?;
            io::Result::Ok(Loaded { meta, state: loaded.state })
        })
        .await
        .map_err(io::Error::other)??;
        self.last_applied = loaded.meta.last_log_id;
        self.membership = loaded.meta.last_membership;
        self.state = loaded.state;
        self.store.replace(self.state.clone());
        self.announce();
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<alias::SnapshotOf<TypeConfig, Source>>> {
        Ok(self.snapshots.newest().map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Source;

    async fn build_snapshot(&mut self) -> io::Result<alias::SnapshotOf<TypeConfig, Source>> {
        let (meta, state) = (self.meta.clone(), self.state.clone());
        let (snapshots, pace) = (self.snapshots.clone(), self.pace.clone());
        let interval = self.interval;
        task::spawn_blocking(move || {
            let begun = Instant::now();
            let snapshot = snapshots.save(&meta, &state)?;
            metrics::SNAPSHOT_TIMES.observe_since(begun);
            pace.send_replace(Instant::now() + pause_after(begun.elapsed()).max(interval));
            Ok(Snapshot { meta, snapshot })
        })
        .await
        .map_err(io::Error::other)?
    }
}

/// Returns the pause before the next snapshot after one that took this long.
fn pause_after(taken: Duration) -> Duration {
    if taken < MIN_PACED_SNAPSHOT { Duration::ZERO } else { taken * (SNAPSHOT_TIME_DIVISOR - 1) }
}
