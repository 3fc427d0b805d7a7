//! The durable log: entries, vote and commit point in one redb file, behind one writer thread.
//!
//! INVARIANT: jobs are written in the order in which they were submitted, and one succeeds only
//! after the commit that contains it is synced. An entry is readable as soon as `append` returns,
//! so replication does not wait for this server's own disk.
//!
//! **Torn and damaged.** redb makes a commit visible by one checksummed header, written last: a
//! commit that a crash interrupted is not there after reopening, which is how a torn tail is cut.
//! Opening verifies the checksum of every page, then of every entry, and that none is missing.
//! Damage anywhere else than in the commit that was being written refuses to start. Pages of that
//! last, never acknowledged commit cannot be told from torn ones.
//!
//! The commit point is not synced by itself: it travels with the next commit. What it lags behind
//! is applied again once this server's term is committed, which is waited for before reads.
//!
//! **Why redb.** Measured beside fjall 3.1 (tests/bench/RESULTS.md, "Log storage"): one fdatasync
//! per commit in both; fjall is faster for a single entry (118 against 185 µs), redb for batches
//! of 64 and more, and its file stays bounded (128 MiB against 483 MiB after a million entries),
//! opens in under a millisecond (fjall 100-700 ms) and runs on memory for `-dev`.

mod open;
mod rewrite;
mod window;
mod writer;

#[cfg(test)]
mod tests;

use std::{fmt::Debug, io, ops::RangeBounds, sync::Arc};

use openraft::{
    LogState, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use redb::{ReadTransaction, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use super::{
    record,
    settings::LogWrites,
    types::{Entry, LogId, TypeConfig, Vote},
};
pub(super) use open::{Medium, Opened};
pub(super) use rewrite::Rewrite;
use window::Shared;
use writer::Job;

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// `vote`, `committed` and `purged`, each a MessagePack record under its name.
const FIGURES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("figures");
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// The engine's handle for writing; there is one.
pub(super) struct LogStore {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    writes: LogWrites,
}

/// A handle for reading; there can be many.
#[derive(Clone)]
pub(super) struct LogReader {
    shared: Arc<Shared>,
}

impl LogStore {
    async fn submit(&self, job: Job) -> io::Result<()> {
        if self.writes == LogWrites::Inline {
            writer::write(&self.shared, vec![job]);
            return Ok(());
        }
        self.jobs.send(job).await.map_err(|_| stopped())
    }

    /// Submits a job that has to be durable before the caller goes on.
    async fn complete(
        &self,
        job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job,
    ) -> io::Result<()> {
        let (done, result) = oneshot::channel();
        self.submit(job(done)).await?;
        result.await.map_err(|_| stopped())?
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let window = self.shared.lock();
        Ok(LogState { last_purged_log_id: window.purged, last_log_id: window.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { shared: self.shared.clone() }
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = *vote;
        self.complete(|done| Job::Vote { vote, done }).await?;
        self.shared.lock().vote = Some(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.shared.lock().set_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.shared.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.shared.lock().append(&entries);
        self.submit(Job::Append { entries, callback }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.shared.lock().truncate(last);
        self.complete(|done| Job::Truncate { last, done }).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.shared.lock().purge(upto);
        // Losing a purge loses nothing: no need to wait for the disk.
        self.submit(Job::Purge { upto }).await
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        let plan = self.shared.plan(&range).map_err(|error| self.shared.fail(&error))?;
        let mut entries = Vec::with_capacity(plan.recent.len());
        // A read of the page cache, for ranges that memory no longer has.
        if let Some((transaction, stored)) = plan.disk {
            read(&transaction, stored, &mut entries).map_err(|reason| self.shared.fail(&reason))?;
        }
        entries.extend(plan.recent);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.lock().vote)
    }
}

/// Reads every entry of `range` from disk.
fn read(
    transaction: &ReadTransaction,
    range: std::ops::Range<u64>,
    entries: &mut Vec<Entry>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let log = transaction.open_table(LOG)?;
    let mut next = range.start;
    for row in log.range(range.clone())? {
        let (index, stored) = row?;
        let index = index.value();
        if index != next {
            return Err(format!("entry {next} is missing").into());
        }
        let entry = record::decode(index, stored.value())
            .map_err(|error| format!("entry {index}: {error}"))?;
        entries.push(entry);
        next += 1;
    }
    if next == range.end { Ok(()) } else { Err(format!("entry {next} is missing").into()) }
}

fn stopped() -> io::Error {
    io::Error::other("the log's writer has stopped")
}
