//! The archive of `snapshot save`: a state and its metadata in one file.
//!
//! A gzip-compressed tar of `meta.json`, `state.bin` and `SHA256SUMS`, with the layout of Consul's
//! archives (Consul "Snapshot HTTP API"), so that tools which list or verify them work. The state
//! inside is ours ([`State::to_snapshot`]): Consul's archives are recognized and rejected.
//!
//! INVARIANT: reading an archive returns all of it or an error; sums, sizes, the gzip trailer and
//! the state's own checksum are verified, and every length is bounded before it is read.
//!
//! The file holds the certificate authority's key: it is readable by its owner alone.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use aws_lc_rs::digest;
use bytes::Bytes;
use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use lictor_core::{
    fsm::restore::MAX_STATE_BYTES,
    state::{State, snapshot::SnapshotError},
};
use serde::{Deserialize, Serialize};

/// The largest archive that is accepted over HTTP.
pub const MAX_ARCHIVE_BYTES: usize = 512 << 20;
const MAX_META_BYTES: u64 = 1 << 20;
/// The most bytes that an archive may unpack to: three files and the headers of tar.
const MAX_UNPACKED_BYTES: u64 = MAX_STATE_BYTES + 3 * MAX_META_BYTES;
const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";
const VERSION: u32 = 1;

/// Why an archive is invalid or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not readable, not gzip, not tar, cut short, or damaged.
    #[error("reading the archive")]
    Read(#[from] io::Error),
    /// A file that is unexpected or appears twice.
    #[error("unexpected file {0:?} in the archive")]
    Unexpected(String),
    /// A file is larger than accepted.
    #[error("{name} has {bytes} bytes; at most {limit} are accepted")]
    TooLarge {
        /// The file.
        name: &'static str,
        /// Its length.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// A file is missing.
    #[error("no {0} in the archive")]
    Missing(&'static str),
    /// A file does not match its checksum.
    #[error("{0} does not match its sum in SHA256SUMS")]
    Sum(&'static str),
    /// There is data after the end of the archive.
    #[error("there is more after the end of the archive")]
    Trailing,
    /// `meta.json` cannot be decoded.
    #[error("decoding meta.json")]
    Meta(#[source] serde_json::Error),
    /// Written by a newer lictor.
    #[error("archive version {0} is newer than {VERSION}, the newest this version reads")]
    Version(u32),
    /// The state is Consul's, or not a state.
    #[error("state.bin is not a state of lictor; snapshots of Consul cannot be used")]
    Foreign,
    /// The state cannot be encoded or decoded.
    #[error("state.bin: {0}")]
    State(SnapshotError),
    /// `meta.json` belongs to another state.
    #[error("meta.json names {field} {named}, state.bin has {found}")]
    Mismatch {
        /// The field that differs.
        field: &'static str,
        /// Its value in `meta.json`.
        named: u64,
        /// Its value in the state.
        found: u64,
    },
}

/// `meta.json`: names and shape are those of Consul's Raft library.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Meta {
    /// Version of the archive's layout; 1.
    pub version: u32,
    /// `term-index-milliseconds`.
    #[serde(rename = "ID")]
    pub id: String,
    /// The state's index.
    pub index: u64,
    /// The Raft term at that time.
    pub term: u64,
    /// The servers at that time; a restore leaves the servers as they are.
    pub configuration: Configuration,
    /// Length of the state.
    pub size: u64,
}

/// The servers of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Configuration {
    /// All of them.
    pub servers: Vec<Member>,
}

/// A server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Member {
    /// 0 for a voter, 1 for a learner.
    pub suffrage: u8,
    /// Node ID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Server RPC address.
    pub address: String,
}

/// A verified archive.
pub struct Archive {
    /// The metadata.
    pub meta: Meta,
    /// The state as [`State::to_snapshot`] wrote it.
    pub bytes: Bytes,
    /// The state.
    pub state: State,
}

impl fmt::Debug for Archive {
    /// Formats the metadata only, to keep the state out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// Packs a state into an archive with the time `unix_millis`. Omits a restore in progress.
///
/// # Errors
/// [`ArchiveError::State`] for a state that cannot be encoded; unexpected.
pub fn pack(
    state: &State,
    term: u64,
    servers: Vec<Member>,
    unix_millis: u64,
) -> Result<Vec<u8>, ArchiveError> {
    let state = state.without_restore();
    let bytes = state.to_snapshot().map_err(ArchiveError::State)?;
    let meta = Meta {
        version: VERSION,
        id: format!("{term}-{}-{unix_millis}", state.index),
        index: state.index,
        term,
        configuration: Configuration { servers },
        size: bytes.len() as u64,
    };
    let mut meta = serde_json::to_vec(&meta).map_err(ArchiveError::Meta)?;
    meta.push(b'\n');
    let sums = format!("{}  {META}\n{}  {STATE}\n", sha256(&meta), sha256(&bytes));
    let gzip = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::default());
    let mut tar = tar::Builder::new(gzip);
    for (name, content) in [(META, &meta[..]), (STATE, &bytes), (SUMS, sums.as_bytes())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(unix_millis / 1000);
        tar.append_data(&mut header, name, content)?;
    }
    Ok(tar.into_inner()?.finish()?)
}

/// Reads and verifies a whole archive.
///
/// # Errors
/// [`ArchiveError`] states the defect.
pub fn unpack(archive: impl Read) -> Result<Archive, ArchiveError> {
    let mut files = read(archive, MAX_UNPACKED_BYTES)?;
    let mut take = |name| files.remove(name).ok_or(ArchiveError::Missing(name));
    let (meta, bytes, sums) = (take(META)?, take(STATE)?, take(SUMS)?);
    let sums = String::from_utf8_lossy(&sums);
    for (name, content) in [(META, &meta), (STATE, &bytes)] {
        let line = format!("{}  {name}", sha256(content));
        if !sums.lines().any(|known| known == line) {
            return Err(ArchiveError::Sum(name));
        }
    }
    let meta: Meta = serde_json::from_slice(&meta).map_err(ArchiveError::Meta)?;
    if meta.version > VERSION {
        return Err(ArchiveError::Version(meta.version));
    }
    let state = State::from_snapshot(&bytes).map_err(|error| match error {
        SnapshotError::Magic => ArchiveError::Foreign,
        other => ArchiveError::State(other),
    })?;
    for (field, named, found) in
        [("index", meta.index, state.index), ("size", meta.size, bytes.len() as u64)]
    {
        if named != found {
            return Err(ArchiveError::Mismatch { field, named, found });
        }
    }
    Ok(Archive { meta, bytes: bytes.into(), state })
}

/// Returns the files of an archive by name. Unpacks at most `limit` bytes, because the library does
/// not bound what it reads around a file, such as a long name.
fn read(archive: impl Read, limit: u64) -> Result<BTreeMap<&'static str, Vec<u8>>, ArchiveError> {
    let mut gzip = GzDecoder::new(BufReader::new(archive));
    let mut files = BTreeMap::new();
    let mut tar = tar::Archive::new((&mut gzip).take(limit));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let known = [(META, MAX_META_BYTES), (STATE, MAX_STATE_BYTES), (SUMS, MAX_META_BYTES)];
        let known = known.into_iter().find(|(name, _)| *name == path);
        let Some((name, limit)) = known.filter(|(name, _)| !files.contains_key(name)) else {
            return Err(ArchiveError::Unexpected(path));
        };
        let bytes = entry.size();
        if bytes > limit {
            return Err(ArchiveError::TooLarge { name, bytes, limit });
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(name, content);
    }
    // Reads the padding of the tar and the gzip trailer, whose checksum is verified thereby.
    let mut rest = Vec::new();
    gzip.by_ref().take(MAX_META_BYTES).read_to_end(&mut rest)?;
    if rest.iter().any(|byte| *byte != 0) || gzip.read(&mut [0])? > 0 {
        return Err(ArchiveError::Trailing);
    }
    if gzip.into_inner().read(&mut [0])? > 0 {
        return Err(ArchiveError::Trailing);
    }
    Ok(files)
}

fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes an archive to `path`, readable by its owner alone, and verifies it as it is on disk.
/// After an error or a crash the previous file is still there; only if the directory cannot be
/// synced is it the new one. Blocks.
///
/// # Errors
/// [`ArchiveError`]; the file beside it is removed.
pub fn save(path: &Path, archive: &[u8]) -> Result<Archive, ArchiveError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".unverified");
    let beside = path.with_file_name(name);
    let saved = write_new(&beside, archive).and_then(|()| {
        let verified = unpack(File::open(&beside)?)?;
        fs::rename(&beside, path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(verified)
    });
    if saved.is_err() {
        // The first error is returned; one of the cleanup would hide it.
        let _removed = fs::remove_file(&beside);
    }
    saved
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
    // One that an earlier attempt left may be readable by others.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests;
