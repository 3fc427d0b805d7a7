//! The data directory: created when missing, locked against a second agent, and home of the node
//! ID.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use lictor_runtime::files::write_atomically;

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be created, read or written.
    #[error("using data_dir {path}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another agent uses it.
    #[error("data_dir {path} is in use by another agent; stop it or choose another directory", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The node ID is not a UUID.
    #[error("node_id {0:?} is not a UUID")]
    NodeId(String),
}

/// The lock of a data directory, held while the agent runs; the kernel releases it when the process
/// exits.
pub(crate) struct Lock(#[expect(dead_code, reason = "closing the file gives the lock back")] File);

/// Creates the directory if it is missing, readable by its owner only, and locks it.
pub(crate) fn open(dir: &Path) -> Result<Lock, DataDirError> {
    let failed = |source| DataDirError::Io { path: dir.to_owned(), source };
    if !dir.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    }
    let file = File::create(dir.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Returns the configured UUID, else the stored one, else a new one. Stores the result in the
/// directory.
pub(crate) fn node_id(
    dir: Option<&Path>,
    configured: Option<&str>,
) -> Result<String, DataDirError> {
    let valid = |text: &str| {
        uuid::Uuid::parse_str(text.trim())
            .map(|id| id.to_string())
            .map_err(|_| DataDirError::NodeId(text.trim().to_owned()))
    };
    let configured = configured.map(valid).transpose()?;
    let Some(dir) = dir else {
        return Ok(configured.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()));
    };
    let path = dir.join("node-id");
    let kept = match fs::read_to_string(&path) {
        Ok(text) => Some(valid(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(DataDirError::Io { path, source }),
    };
    let id =
        configured.or_else(|| kept.clone()).unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    if kept.as_ref() != Some(&id) {
        write_atomically(&path, id.as_bytes())
            .map_err(|source| DataDirError::Io { path, source })?;
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_id_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = node_id(Some(dir.path()), None).unwrap();
        assert_eq!(node_id(Some(dir.path()), None).unwrap(), first);
        assert!(node_id(Some(dir.path()), Some("nonsense")).is_err());
    }

    #[test]
    fn a_second_agent_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/data");
        let first = open(&path).unwrap();
        assert!(matches!(open(&path), Err(DataDirError::InUse { .. })));
        drop(first);
        assert!(open(&path).is_ok());
    }
}
