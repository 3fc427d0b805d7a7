//! The log in memory: its bounds, the newest entries, the vote and the commit point.
//!
//! INVARIANT: an entry is in `recent` until it is durable, and a read is planned under the same
//! lock that changes the bounds, so that it sees the log before or after a change, never between.

use std::{
    collections::VecDeque,
    ops::{Bound, Range, RangeBounds},
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use crate::{
    failure::{Failure, Fault},
    types::{Entry, LogId, Proposal, Vote},
};

/// Entries, and their bytes, kept in memory after they are durable: they are applied and replicated
/// from there.
const MAX_RECENT_ENTRIES: usize = 1024;
const MAX_RECENT_BYTES: usize = 1 << 20;

/// The log as its writer, its readers and the engine share it.
pub(super) struct Shared {
    window: Mutex<Window>,
    place: String,
    fault: Fault,
}

/// The part of [`Shared`] that changes.
pub(super) struct Window {
    /// `None` once the log is closed.
    pub(super) database: Option<Database>,
    pub(super) purged: Option<LogId>,
    /// The index of the first entry, if there is one.
    pub(super) first: u64,
    /// The last entry, or `purged` when there is none after it.
    pub(super) last: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    /// Whether `committed` is newer than what is on disk.
    committed_is_new: bool,
    recent: VecDeque<Entry>,
    recent_bytes: usize,
    /// Entries before this index are durable.
    durable: u64,
}

/// Where the entries of a range are.
pub(super) struct Plan {
    /// To be read from disk, first.
    pub(super) disk: Option<(ReadTransaction, Range<u64>)>,
    /// What follows.
    pub(super) recent: Vec<Entry>,
}

impl Window {
    pub(super) fn new(database: Database) -> Self {
        Self {
            database: Some(database),
            purged: None,
            first: 0,
            last: None,
            vote: None,
            committed: None,
            committed_is_new: false,
            recent: VecDeque::new(),
            recent_bytes: 0,
            durable: 0,
        }
    }

    pub(super) fn set_committed(&mut self, committed: Option<LogId>) {
        self.committed_is_new |= self.committed != committed;
        self.committed = committed;
    }

    /// Returns the commit point if it has to be written.
    pub(super) fn take_new_committed(&mut self) -> Option<Option<LogId>> {
        std::mem::take(&mut self.committed_is_new).then_some(self.committed)
    }

    pub(super) fn append(&mut self, entries: &[Entry]) {
        if let (true, Some(entry)) = (self.last == self.purged, entries.first()) {
            self.first = entry.log_id.index;
        }
        for entry in entries {
            self.recent_bytes += weight(entry);
            self.recent.push_back(entry.clone());
            self.last = Some(entry.log_id);
        }
    }

    pub(super) fn truncate(&mut self, last: Option<LogId>) {
        self.last = last.max(self.purged).min(self.last);
        let next = next_index(self.last);
        while self.recent.back().is_some_and(|entry| entry.log_id.index >= next)
            && let Some(entry) = self.recent.pop_back()
        {
            self.recent_bytes -= weight(&entry);
        }
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(self.purged);
        self.first = self.first.max(next_index(self.purged));
        while self.recent.front().is_some_and(|entry| entry.log_id.index < self.first) {
            self.forget_oldest();
        }
    }

    /// Records that entries before `next` are durable, and those from it on are not.
    pub(super) fn set_durable(&mut self, next: u64) {
        self.durable = next;
        while (self.recent.len() > MAX_RECENT_ENTRIES || self.recent_bytes > MAX_RECENT_BYTES)
            && self.recent.front().is_some_and(|entry| entry.log_id.index < self.durable)
        {
            self.forget_oldest();
        }
    }

    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    fn forget_oldest(&mut self) {
        if let Some(entry) = self.recent.pop_front() {
            self.recent_bytes -= weight(&entry);
        }
    }
}

impl Shared {
    pub(super) fn new(window: Window, place: String, fault: Fault) -> Self {
        Self { window: Mutex::new(window), place, fault }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Window> {
        // No step under the lock can panic halfway.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends consensus: the log has failed. Returns an error for the engine.
    pub(super) fn fail(&self, reason: &dyn ToString) -> std::io::Error {
        self.fault.raise(Failure::Log { path: self.place.clone(), reason: reason.to_string() })
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, redb::Error> {
        match &self.lock().database {
            Some(database) => Ok(database.begin_write()?),
            None => Err(redb::Error::DatabaseClosed),
        }
    }

    /// Splits a range into what is read from disk and what memory has.
    pub(super) fn plan(&self, range: &impl RangeBounds<u64>) -> Result<Plan, redb::Error> {
        let window = self.lock();
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let (start, end) = (start.max(window.first), end.min(next_index(window.last)));
        if start >= end {
            return Ok(Plan { disk: None, recent: Vec::new() });
        }
        let remembered = window.recent.front().map_or(end, |entry| entry.log_id.index).min(end);
        let recent = window
            .recent
            .iter()
            .skip_while(|entry| entry.log_id.index < start)
            .take_while(|entry| entry.log_id.index < end)
            .cloned()
            .collect();
        let disk = if start < remembered {
            let database = window.database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
            Some((database.begin_read()?, start..remembered))
        } else {
            None
        };
        Ok(Plan { disk, recent })
    }
}

/// Returns the index after `log_id`.
pub(super) fn next_index(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index + 1)
}

fn weight(entry: &Entry) -> usize {
    use openraft::EntryPayload::Normal;
    size_of::<Entry>() + if let Normal(Proposal(bytes)) = &entry.payload { bytes.len() } else { 0 }
}
