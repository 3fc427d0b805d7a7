//! Snapshots on disk: the whole state with what the engine must know about it.
//!
//! File: magic `LICTRAFT`, version (u32, big-endian), length of the header (u32), CRC-32 of the
//! header (u32), header (MessagePack: last entry and membership), then the state as
//! [`State::to_snapshot`] writes it, with a checksum of its own. The name is the index of the last
//! entry, so that names sort by age.
//!
//! INVARIANT: a file ending in `.snap` is complete and synced; the newest two are kept, and the
//! log is kept back to the older of them, so that one damaged snapshot costs nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use lictor_core::{
    planted::{Bug, is_planted},
    state::{State, snapshot::SnapshotError},
};
use tokio::sync::Notify;

use super::{
    directory::replace_file,
    error::StartError,
    failure::{Failure, Fault, place},
    types::{LogId, Membership, SnapshotMeta, StoredMembership},
};

const MAGIC: &[u8; 8] = b"LICTRAFT";
const VERSION: u32 = 1;
const PREFIX_BYTES: usize = 20;
/// Snapshots that are kept: the newest, and one in reserve.
const MAX_SNAPSHOTS: usize = 2;

/// Where a snapshot's bytes are: the engine's snapshot handle.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A file of [`Snapshots`].
    File(PathBuf),
    /// The bytes such a file would have.
    Memory(Bytes),
}

/// Why a snapshot file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The file cannot be read.
    #[error("reading snapshot")]
    Read(#[from] io::Error),
    /// The file is cut short, damaged, or no snapshot.
    #[error("snapshot header is damaged")]
    Header,
    /// A newer version wrote the file.
    #[error("snapshot file format {0} is newer than {VERSION}, the newest this version reads")]
    Version(u32),
    /// The header cannot be decoded.
    #[error("decoding snapshot header")]
    Decode(#[from] rmp_serde::decode::Error),
    /// The state in the file is damaged or newer.
    #[error("snapshot state: {0}")]
    State(#[from] SnapshotError),
}

/// A snapshot that was read and verified.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) meta: SnapshotMeta,
    pub(super) state: State,
}

#[derive(Debug, Clone)]
struct Kept {
    meta: SnapshotMeta,
    source: Source,
}

/// The snapshots of this server.
pub(super) struct Snapshots {
    /// `None` keeps them in memory.
    directory: Option<PathBuf>,
    /// Newest first.
    kept: Mutex<Vec<Kept>>,
    fault: Fault,
    /// Notified after each saved snapshot.
    pub(super) saved: Notify,
}

impl Snapshots {
    /// Opens the directory and loads the newest good snapshot, if there is one. Blocks.
    ///
    /// # Errors
    /// [`StartError`]: without the damaged snapshot the log, which begins after `purged`, does not
    /// reach back far enough.
    pub(super) fn open(
        directory: Option<PathBuf>,
        purged: Option<LogId>,
        fault: Fault,
    ) -> Result<(Arc<Self>, Loaded), StartError> {
        let mut kept = Vec::new();
        let mut newest: Option<Loaded> = None;
        let mut damaged = None;
        for path in directory.iter().map(|path| list(path)).collect::<Result<Vec<_>, _>>()?.concat()
        {
            let meta = match &newest {
                // The older one is a reserve: its header says how far back the log is needed.
                Some(_) => Source::File(path.clone()).read().and_then(|bytes| Ok(split(&bytes)?.0)),
                None => Source::File(path.clone()).load().map(|loaded| {
                    let meta = loaded.meta.clone();
                    newest = Some(loaded);
                    meta
                }),
            };
            match meta {
                Ok(meta) => kept.push(Kept { meta, source: Source::File(path) }),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "snapshot is not usable");
                    damaged.get_or_insert((path, error));
                }
            }
        }
        let loaded = newest.unwrap_or_default();
        if loaded.meta.last_log_id < purged {
            return Err(match damaged {
                Some((path, error)) => {
                    StartError::DamagedSnapshot { path, reason: error.to_string() }
                }
                None => StartError::MissingSnapshot { path: directory.unwrap_or_default() },
            });
        }
        let kept = Mutex::new(kept);
        Ok((Arc::new(Self { directory, kept, fault, saved: Notify::new() }), loaded))
    }

    /// Returns the newest snapshot.
    pub(super) fn newest(&self) -> Option<(SnapshotMeta, Source)> {
        self.lock().first().map(|kept| (kept.meta.clone(), kept.source.clone()))
    }

    /// Returns the index up to which the log is not needed, once there is a second snapshot.
    pub(super) fn purgeable(&self) -> Option<u64> {
        let kept = self.lock();
        let reserve = kept.get(MAX_SNAPSHOTS - 1)?;
        reserve.meta.last_log_id.map(|log_id| log_id.index)
    }

    /// Saves a state durably and removes all but the newest two snapshots. Blocks.
    ///
    /// # Errors
    /// The file system's, for the engine; consensus ends.
    pub(super) fn save(&self, meta: &SnapshotMeta, state: &State) -> io::Result<Source> {
        let saved = encode(meta, state).and_then(|(header, body)| {
            let Some(directory) = &self.directory else {
                return Ok(Source::Memory([header, body].concat().into()));
            };
            let index = meta.last_log_id.map_or(0, |log_id| log_id.index);
            let path = directory.join(format!("{index:020}.snap"));
            replace_file(&path, &[&header, &body])?;
            Ok(Source::File(path))
        });
        let source = saved.map_err(|error| self.fail(&error))?;
        self.keep(Kept { meta: meta.clone(), source: source.clone() })
            .map_err(|error| self.fail(&error))?;
        self.saved.notify_one();
        Ok(source)
    }

    fn keep(&self, new: Kept) -> io::Result<()> {
        let mut kept = self.lock();
        kept.retain(|kept| kept.meta.last_log_id != new.meta.last_log_id);
        kept.push(new);
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.meta.last_log_id));
        kept.truncate(MAX_SNAPSHOTS);
        let Some(directory) = &self.directory else { return Ok(()) };
        for path in list_files(directory)? {
            let is_kept = kept
                .iter()
                .any(|kept| matches!(&kept.source, Source::File(source) if *source == path));
            if !is_kept {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Ends consensus over a snapshot that cannot be written or read.
    pub(super) fn fail(&self, error: &dyn std::error::Error) -> io::Error {
        let directory = place(self.directory.as_ref());
        self.fault.raise(Failure::Snapshot { directory, reason: error.to_string() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Reads and verifies all of it. Blocks.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn load(&self) -> Result<Loaded, FileError> {
        let bytes = self.read()?;
        let (meta, body) = split(&bytes)?;
        let mut state = State::from_snapshot(body)?;
        if is_planted(Bug::SnapshotIncomplete) {
            state.forget_last_key();
        }
        Ok(Loaded { meta, state })
    }

    /// Reads its bytes without verifying them. Blocks.
    ///
    /// # Errors
    /// [`FileError::Read`].
    pub(super) fn read(&self) -> Result<Bytes, FileError> {
        match self {
            Self::File(path) => Ok(fs::read(path)?.into()),
            Self::Memory(bytes) => Ok(bytes.clone()),
        }
    }
}

/// Reads the header of a snapshot that a peer sent.
///
/// # Errors
/// [`FileError`]: it is not a snapshot, or damaged.
pub(super) fn meta(source: &Source) -> Result<SnapshotMeta, FileError> {
    Ok(split(&source.read()?)?.0)
}

/// Returns the newest usable membership of a directory's snapshots. Blocks.
///
/// # Errors
/// [`StartError::Directory`].
pub(super) fn last_membership(directory: &Path) -> Result<Option<Membership>, StartError> {
    let usable = list(directory)?.into_iter().find_map(|path| Source::File(path).load().ok());
    Ok(usable.map(|loaded| loaded.meta.last_membership.membership().clone()))
}

/// Replaces the membership in every snapshot of a directory. Damaged ones are left for
/// [`Snapshots::open`] to judge. Blocks.
///
/// # Errors
/// [`StartError::Directory`].
pub(super) fn replace_membership(
    directory: &Path,
    membership: &Membership,
) -> Result<(), StartError> {
    for path in list(directory)? {
        let failed = |source| StartError::Directory { path: path.clone(), source };
        let Ok(Loaded { mut meta, state }) = Source::File(path.clone()).load() else { continue };
        let log_id = *meta.last_membership.log_id();
        meta.last_membership = StoredMembership::new(log_id, membership.clone());
        let (header, body) = encode(&meta, &state).map_err(failed)?;
        replace_file(&path, &[&header, &body]).map_err(failed)?;
    }
    Ok(())
}

fn encode(meta: &SnapshotMeta, state: &State) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let meta = rmp_serde::to_vec_named(meta).map_err(io::Error::other)?;
    let length = u32::try_from(meta.len()).map_err(io::Error::other)?;
    let mut header = Vec::with_capacity(PREFIX_BYTES + meta.len());
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_be_bytes());
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&crc32fast::hash(&meta).to_be_bytes());
    header.extend_from_slice(&meta);
    Ok((header, state.to_snapshot().map_err(io::Error::other)?))
}

/// Verifies the header; returns its content and the state's bytes after it.
fn split(bytes: &[u8]) -> Result<(SnapshotMeta, &[u8]), FileError> {
    let word = |at: usize| -> Result<u32, FileError> {
        let bytes = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
        bytes.map(u32::from_be_bytes).ok_or(FileError::Header)
    };
    if bytes.get(..8) != Some(MAGIC) {
        return Err(FileError::Header);
    }
    let (version, length, checksum) = (word(8)?, word(12)? as usize, word(16)?);
    if version > VERSION {
        return Err(FileError::Version(version));
    }
    let header = bytes.get(PREFIX_BYTES..PREFIX_BYTES + length).ok_or(FileError::Header)?;
    if crc32fast::hash(header) != checksum {
        return Err(FileError::Header);
    }
    Ok((rmp_serde::from_slice(header)?, &bytes[PREFIX_BYTES + length..]))
}

/// Lists the snapshots of a directory, newest first, after removing files that a crash left
/// partial.
fn list(directory: &Path) -> Result<Vec<PathBuf>, StartError> {
    let failed = |source| StartError::Directory { path: directory.to_owned(), source };
    let (snapshots, rest): (Vec<_>, Vec<_>) = list_files(directory)
        .map_err(failed)?
        .into_iter()
        .partition(|path| path.extension().is_some_and(|extension| extension == "snap"));
    for path in rest {
        fs::remove_file(path).map_err(failed)?;
    }
    Ok(snapshots)
}

fn list_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(directory)?
        .map(|file| Ok(file?.path()))
        .filter(|path| !matches!(path, Ok(path) if path.is_dir()))
        .collect::<io::Result<Vec<_>>>()?;
    files.sort();
    files.reverse();
    Ok(files)
}

/// Returns the bytes of a whole file, for goldens of old formats.
#[cfg(test)]
pub(super) fn encoded(meta: &SnapshotMeta, state: &State) -> Vec<u8> {
    let (header, body) = encode(meta, state).unwrap();
    [header, body].concat()
}
