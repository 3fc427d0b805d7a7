//! Replacing the membership in a log that no engine has open; see [`crate::recovery`].

use std::path::{Path, PathBuf};

use openraft::{EntryPayload, entry::RaftEntry};
use redb::ReadableTable;

use super::{
    COMMITTED, FIGURES, LOG, open,
    window::Window,
    writer::{self, WriteError},
};
use crate::{
    error::StartError,
    record,
    types::{LogId, Membership},
};

/// A verified log whose membership can be replaced.
pub(crate) struct Rewrite {
    path: PathBuf,
    window: Window,
    /// The newest membership in it.
    pub(crate) membership: Option<Membership>,
    /// Its last entry.
    pub(crate) last: Option<LogId>,
}

impl Rewrite {
    /// Opens and verifies a log. Blocks.
    ///
    /// # Errors
    /// [`StartError`]: it is in use, cannot be read, or is damaged.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        let path = path.to_owned();
        let mut window = Window::new(open::database(Some(&path))?);
        let membership =
            open::verify(&mut window).map_err(|error| open::damaged(Some(&path), &*error))?;
        let last = window.last;
        Ok(Self { path, window, membership, last })
    }

    /// Replaces the membership of every entry that has one, forgets the commit point, and closes
    /// the log, all in one durable commit. Blocks.
    ///
    /// # Errors
    /// [`StartError::Log`]; nothing was changed.
    pub(crate) fn replace_membership(mut self, membership: &Membership) -> Result<(), StartError> {
        let replaced = self.replace(membership);
        replaced.map_err(|source| StartError::Log { path: self.path.clone(), source })
    }

    fn replace(&mut self, membership: &Membership) -> Result<(), WriteError> {
        let Some(database) = self.window.database.take() else { return Ok(()) };
        let transaction = database.begin_write()?;
        {
            let mut log = transaction.open_table(LOG)?;
            let mut replaced = Vec::new();
            for row in log.iter()? {
                let (index, stored) = row?;
                let mut entry = record::decode(index.value(), stored.value())?;
                if entry.get_membership().is_some() {
                    entry.payload = EntryPayload::Membership(membership.clone());
                    replaced.push((index.value(), record::encode(&entry)?));
                }
            }
            for (index, entry) in replaced {
                log.insert(index, entry.as_slice())?;
            }
            let mut figures = transaction.open_table(FIGURES)?;
            writer::put(&mut figures, COMMITTED, &None::<LogId>)?;
        }
        transaction.commit()?;
        Ok(database.close()?)
    }
}
