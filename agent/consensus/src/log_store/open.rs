//! Opening a log: every byte is checked before the server takes part.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    thread,
};

use lictor_core::planted::{Bug, is_planted};
use lictor_runtime::panics;
use openraft::entry::RaftEntry;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableError,
    backends::InMemoryBackend,
};
use tokio::sync::mpsc;

use super::{
    COMMITTED, FIGURES, LOG, LogReader, LogStore, PURGED, VOTE,
    window::{Shared, Window, next_index},
    writer,
};
use crate::{
    error::StartError,
    failure::{Fault, place},
    record,
    settings::LogWrites,
    types::{LogId, Membership},
};

/// Pages redb may keep in memory; the newest entries are kept in memory anyway.
const CACHE_BYTES: usize = 8 << 20;

/// What a log is kept on.
#[derive(Debug, Clone)]
pub(crate) enum Medium {
    File(PathBuf),
    Memory,
}

/// An opened log.
pub(crate) struct Opened {
    /// For the engine.
    pub(crate) store: LogStore,
    /// For figures.
    pub(crate) reader: LogReader,
    /// The newest membership in the log; the snapshot has an older one.
    pub(crate) membership: Option<Membership>,
    /// The last entry that is no longer in the log.
    pub(crate) purged: Option<LogId>,
    /// Ends, and the file is closed, once the engine has let go of `store`.
    pub(crate) writer: thread::JoinHandle<()>,
}

impl LogReader {
    /// Returns the last entry of the log.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.shared.lock().last
    }
}

impl LogStore {
    /// Opens and verifies a log. Blocks; takes time in proportion to the log's size.
    ///
    /// # Errors
    /// [`StartError`]: it is in use, cannot be read, or is damaged.
    pub(crate) fn open(
        medium: &Medium,
        writes: LogWrites,
        fault: Fault,
    ) -> Result<Opened, StartError> {
        let path = match medium {
            Medium::File(path) => Some(path),
            Medium::Memory => None,
        };
        Self::with(database(path)?, path, writes, fault)
    }

    /// Verifies what the storage engine has opened, and starts the writer.
    pub(super) fn with(
        database: Database,
        path: Option<&PathBuf>,
        writes: LogWrites,
        fault: Fault,
    ) -> Result<Opened, StartError> {
        let mut window = Window::new(database);
        let membership = verify(&mut window).map_err(|error| damaged(path, &*error))?;
        let purged = window.purged;
        let shared = Arc::new(Shared::new(window, place(path), fault));
        let (jobs, queue) = mpsc::channel(writer::MAX_QUEUED_JOBS);
        let writer = {
            let shared = shared.clone();
            thread::Builder::new()
                .name("raft-log".to_owned())
                .spawn(move || {
                    let run = AssertUnwindSafe(|| writer::run(&shared, queue));
                    if let Err(panic) = catch_unwind(run) {
                        let reason = panics::caught("raft.log", &*panic);
                        let error = shared.fail(&format!("its writer panicked: {reason}"));
                        tracing::debug!(%error, "raft log writer ended");
                    }
                })
                .map_err(StartError::Thread)?
        };
        let reader = LogReader { shared: shared.clone() };
        Ok(Opened { store: Self { shared, jobs, writes }, reader, membership, purged, writer })
    }
}

/// Opens the file, or memory, and lets the storage engine verify it.
pub(super) fn database(path: Option<&PathBuf>) -> Result<Database, StartError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    let database = match path {
        Some(path) => builder.create(path),
        None => builder.create_with_backend(InMemoryBackend::new()),
    };
    database.map_err(|error| refuse(path, error))
}

/// Reads all that is stored and returns the newest membership.
pub(super) fn verify(
    window: &mut Window,
) -> Result<Option<Membership>, Box<dyn std::error::Error + Send + Sync>> {
    let Some(database) = &window.database else { return Ok(None) };
    let transaction = database.begin_read()?;
    let (log, figures) = match (transaction.open_table(LOG), transaction.open_table(FIGURES)) {
        (Ok(log), Ok(figures)) => (log, figures),
        (Err(TableError::TableDoesNotExist(_)), _) => return Ok(None),
        (Err(error), _) | (_, Err(error)) => return Err(error.into()),
    };
    let purged: Option<LogId> = writer::get(&figures, PURGED)?;
    let mut last = purged;
    let mut membership = None;
    let mut first = next_index(purged);
    for row in log.iter()? {
        let (index, stored) = row?;
        let index = index.value();
        if last.is_none() {
            first = index;
        }
        if last.is_some() && index != next_index(last) {
            return Err(format!("entry {} is missing", next_index(last)).into());
        }
        let entry = record::decode(index, stored.value())
            .map_err(|error| format!("entry {index}: {error}"))?;
        if last.is_some_and(|last| entry.log_id.leader_id < last.leader_id) {
            return Err(format!("entry {index} has an older term than the one before it").into());
        }
        last = Some(entry.log_id);
        membership = entry.get_membership().or(membership);
    }
    if is_planted(Bug::TailCut)
        && let Some(index) = last.and_then(|last| last.index.checked_sub(2))
        && let Some(stored) = log.get(index)?
    {
        last = Some(record::decode(index, stored.value())?.log_id);
    }
    let vote = writer::get(&figures, VOTE)?;
    let committed = writer::get::<Option<LogId>>(&figures, COMMITTED)?.flatten();
    (window.purged, window.first, window.last) = (purged, first, last);
    (window.vote, window.committed) = (vote, committed);
    window.set_durable(next_index(last));
    Ok(membership)
}

fn refuse(path: Option<&PathBuf>, error: DatabaseError) -> StartError {
    let path = path.cloned().unwrap_or_default();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StartError::InUse { path },
        DatabaseError::Storage(StorageError::Corrupted(reason)) => {
            StartError::DamagedLog { path, reason }
        }
        other => StartError::Log { path, source: Box::new(other) },
    }
}

pub(super) fn damaged(
    path: Option<&PathBuf>,
    error: &(dyn std::error::Error + 'static),
) -> StartError {
    StartError::DamagedLog { path: path.cloned().unwrap_or_default(), reason: error.to_string() }
}
