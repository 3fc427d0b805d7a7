//! The data directory of a server's consensus.
//!
//! ```text
//! <data_dir>/raft/format             the version of everything beside it
//! <data_dir>/raft/raft.redb          log, vote, commit point
//! <data_dir>/raft/snapshots/*.snap   the newest states, at most two
//! <data_dir>/raft/peers.json         written by an operator to recover from the loss of servers
//! ```
//!
//! INVARIANT: the directory is readable by its owner alone (it holds the CA's key), and a process
//! that finds a newer format touches nothing.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::error::StartError;

/// The format this version writes.
const FORMAT: u32 = 1;

/// The paths of one server's consensus.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Opens `<data_dir>/raft`, making it if it does not exist.
    ///
    /// # Errors
    /// [`StartError`]: it cannot be made or read, or its format is not this version's.
    pub(super) fn open(data_dir: &Path) -> Result<Self, StartError> {
        let directory = Self { root: data_dir.join("raft") };
        let snapshots = directory.snapshots();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&snapshots)
            .map_err(|source| StartError::Directory { path: snapshots, source })?;
        directory.check_format()?;
        Ok(directory)
    }

    /// Returns the directory itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of log, vote and commit point.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("raft.redb")
    }

    /// Returns the directory of snapshots.
    pub(super) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    fn check_format(&self) -> Result<(), StartError> {
        let path = self.root.join("format");
        let failed = |source| StartError::Directory { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse::<u32>() {
                Ok(FORMAT) => Ok(()),
                Ok(found) => Err(StartError::NewerFormat { path, found, newest: FORMAT }),
                Err(_) => Err(StartError::UnknownFormat { path }),
            },
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            // Written before the log is made, so a log without it is not ours to judge.
            Err(_) if self.log().exists() => Err(StartError::UnknownFormat { path }),
            Err(_) => replace_file(&path, &[format!("{FORMAT}\n").as_bytes()]).map_err(failed),
        }
    }
}

/// Replaces the file at `path` by these parts. After a crash it is the new one as a whole or the
/// old one.
///
/// # Errors
/// The file system's; the temporary file may stay behind.
pub(super) fn replace_file(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let parent = path.parent().ok_or_else(|| io::Error::other("a file without a directory"))?;
    File::open(parent)?.sync_all()
}
