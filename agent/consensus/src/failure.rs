//! Why consensus ended: the first cause wins, and the process must not go on.
//!
//! After a failed fsync the contents of the disk are unknown, and after a skipped entry servers
//! disagree; so nothing is retried here. The code that finds the cause [raises](Fault::raise) it
//! and returns an error to the engine, which stops; the agent ends the process with the cause as
//! its last line.

use std::{io, path::PathBuf};

use lictor_runtime::TaskFailed;
use tokio::sync::watch;

/// Why a server can take no further part in consensus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The log could not be read, written or made durable.
    #[error("raft log {path} failed: {reason}; what was acknowledged before is on disk")]
    Log {
        /// The file, or `memory`.
        path: String,
        /// The storage engine's error.
        reason: String,
    },
    /// An entry cannot be applied, and applying the next without it would make servers differ.
    #[error(
        "log entry {index} cannot be applied: {reason}; if a newer lictor wrote it, start that \
         version again, otherwise restore the data directory from a backup"
    )]
    Entry {
        /// Raft index of the entry.
        index: u64,
        /// Why it cannot be applied.
        reason: String,
    },
    /// A snapshot could not be written or read.
    #[error("snapshot in {directory} failed: {reason}")]
    Snapshot {
        /// The directory, or `memory`.
        directory: String,
        /// The error.
        reason: String,
    },
    /// The consensus engine ended by itself.
    #[error("consensus ended: {0}")]
    Engine(String),
    /// A task of this crate is gone.
    #[error("consensus ended: {0}")]
    Task(TaskFailed),
}

/// Holds the first [`Failure`].
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(watch::Sender<Option<Failure>>);

impl Fault {
    /// Records a failure, unless there is one already. Returns an error for the engine.
    pub(super) fn raise(&self, failure: Failure) -> io::Error {
        let error = io::Error::other(failure.to_string());
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(failure);
            }
            is_first
        });
        error
    }

    /// Returns the first failure so far.
    pub(super) fn first(&self) -> Option<Failure> {
        self.0.borrow().clone()
    }

    /// Waits for the first failure.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(super) async fn raised(&self) -> Failure {
        let mut failures = self.0.subscribe();
        match failures.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone().expect("waited for a failure"),
            Err(_) => unreachable!("the sender is this fault's own"),
        }
    }
}

/// Returns the name of a file, or `memory`.
pub(super) fn place(path: Option<&PathBuf>) -> String {
    path.map_or_else(|| "memory".to_owned(), |path| path.display().to_string())
}
