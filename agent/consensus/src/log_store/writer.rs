//! The writer thread: all queued jobs become one durable commit, then their callers are notified.
//!
//! While one commit waits for the disk the next batch gathers, so the batch size follows the load
//! and a lone write never waits for company. A failed commit ends the thread and consensus: what
//! the disk holds after a failed sync is not known.

use std::{io, sync::Arc, time::Instant};

use lictor_core::planted::{Bug, is_planted};
use openraft::storage::IOFlushed;
use redb::{ReadableTable, Table};
use tokio::sync::{mpsc, oneshot};

use super::{COMMITTED, FIGURES, LOG, PURGED, VOTE, window::Shared};
use crate::{
    metrics, record,
    types::{Entry, LogId, Proposal, TypeConfig, Vote},
};

/// Jobs that may wait; the engine waits when there are more.
pub(super) const MAX_QUEUED_JOBS: usize = 1024;
/// A batch is closed once it holds this many bytes, so that its commit stays short.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// One thing to write.
pub(super) enum Job {
    Append { entries: Vec<Entry>, callback: IOFlushed<TypeConfig> },
    Truncate { last: Option<LogId>, done: oneshot::Sender<io::Result<()>> },
    Purge { upto: LogId },
    Vote { vote: Vote, done: oneshot::Sender<io::Result<()>> },
}

pub(super) type WriteError = Box<dyn std::error::Error + Send + Sync>;

/// Writes until every sender of jobs is gone, then closes the log.
pub(super) fn run(shared: &Arc<Shared>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while bytes < MAX_BATCH_BYTES
            && let Ok(job) = jobs.try_recv()
        {
            bytes += job.bytes();
            batch.push(job);
        }
        if !write(shared, batch) {
            break;
        }
    }
    close(shared);
}

/// Commits a batch and notifies its callers; returns false when it cannot be committed.
pub(super) fn write(shared: &Shared, batch: Vec<Job>) -> bool {
    let started = Instant::now();
    let written = commit(shared, &batch).map_err(|error| shared.fail(&error));
    metrics::LOG_WRITE_TIMES.observe_since(started);
    for job in batch {
        job.complete(shared, &written);
    }
    written.is_ok()
}

fn commit(shared: &Shared, batch: &[Job]) -> Result<(), WriteError> {
    let committed = shared.lock().take_new_committed();
    let mut transaction = shared.begin_write()?;
    if is_planted(Bug::AnswerBeforeSync) {
        transaction.set_durability(redb::Durability::None)?;
    }
    {
        let mut log = transaction.open_table(LOG)?;
        let mut figures = transaction.open_table(FIGURES)?;
        for job in batch {
            job.write(&mut log, &mut figures)?;
        }
        if let Some(committed) = committed {
            put(&mut figures, COMMITTED, &committed)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Writes the last commit point and closes the file.
fn close(shared: &Shared) {
    let (database, has_committed) = {
        let mut window = shared.lock();
        (window.database.take(), window.take_new_committed())
    };
    let Some(database) = database else { return };
    let closed = (|| -> Result<(), WriteError> {
        if let Some(committed) = has_committed {
            let transaction = database.begin_write()?;
            put(&mut transaction.open_table(FIGURES)?, COMMITTED, &committed)?;
            transaction.commit()?;
        }
        Ok(database.close()?)
    })();
    if let Err(error) = closed {
        // Nothing acknowledged is at stake; opening the log again repairs and verifies it.
        tracing::warn!(%error, "raft log was not closed cleanly");
    }
}

impl Job {
    fn bytes(&self) -> usize {
        use openraft::EntryPayload::Normal;
        match self {
            Self::Append { entries, .. } => entries
                .iter()
                .map(|entry| match &entry.payload {
                    Normal(Proposal(bytes)) => bytes.len(),
                    _ => 0,
                })
                .sum(),
            Self::Truncate { .. } | Self::Purge { .. } | Self::Vote { .. } => 0,
        }
    }

    fn write(
        &self,
        log: &mut Table<'_, u64, &'static [u8]>,
        figures: &mut Table<'_, &'static str, &'static [u8]>,
    ) -> Result<(), WriteError> {
        match self {
            Self::Append { entries, .. } => {
                for entry in entries {
                    log.insert(entry.log_id.index, record::encode(entry)?.as_slice())?;
                }
            }
            Self::Truncate { last, .. } => {
                log.retain_in(super::window::next_index(*last).., |_, _| false)?;
            }
            Self::Purge { upto } => {
                log.retain_in(..=upto.index, |_, _| false)?;
                put(figures, PURGED, upto)?;
            }
            Self::Vote { .. } if is_planted(Bug::VoteNotSaved) => {}
            Self::Vote { vote, .. } => put(figures, VOTE, vote)?,
        }
        Ok(())
    }

    /// Notifies the caller of the outcome.
    fn complete(self, shared: &Shared, written: &io::Result<()>) {
        let result = match written {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        match self {
            Self::Append { entries, callback } => {
                if let (Ok(()), Some(last)) = (written, entries.last()) {
                    shared.lock().set_durable(last.log_id.index + 1);
                }
                callback.io_completed(result);
            }
            Self::Truncate { last, done } => {
                let mut window = shared.lock();
                let durable = window.durable().min(super::window::next_index(last));
                window.set_durable(durable);
                drop(window);
                answer(done, result);
            }
            Self::Vote { done, .. } => answer(done, result),
            Self::Purge { .. } => {}
        }
    }
}

fn answer(done: oneshot::Sender<io::Result<()>>, result: io::Result<()>) {
    if done.send(result).is_err() {
        tracing::debug!("the caller of this raft log write is gone");
    }
}

pub(super) fn put<T: serde::Serialize>(
    figures: &mut Table<'_, &'static str, &'static [u8]>,
    name: &'static str,
    value: &T,
) -> Result<(), WriteError> {
    let body = rmp_serde::to_vec_named(value)?;
    figures.insert(name, record::seal(name.as_bytes(), &body).as_slice())?;
    Ok(())
}

/// Reads one of the log's own figures.
pub(super) fn get<T: serde::de::DeserializeOwned>(
    figures: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<Option<T>, WriteError> {
    let Some(record) = figures.get(name)? else { return Ok(None) };
    let body = record::unseal(name.as_bytes(), record.value())
        .map_err(|error| format!("{name}: {error}"))?;
    Ok(Some(rmp_serde::from_slice(body)?))
}
