//! Registrations of the HTTP API on disk: `<data_dir>/services/<hash of the ID>` and
//! `<data_dir>/checks/<hash of the ID>`, one JSON file each, like Consul's layout.
//!
//! INVARIANT: a file is there as a whole or not at all (written beside, synced, renamed), so that a
//! crash at any moment loses nothing that was answered. Files are readable by the agent alone: they
//! carry tokens.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use lictor_api::{CheckId, ServiceId, types::agent::CheckDefinition};
use serde::{Serialize, de::DeserializeOwned};

use super::state::Registration;

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// The operating system refused.
    #[error("{action} {path:?}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The definition has no JSON form.
    #[error("encoding registration")]
    Encode(#[source] serde_json::Error),
}

/// A check registered by itself over HTTP, or maintenance mode.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PersistedCheck {
    /// Complete.
    pub check: CheckDefinition,
    /// Maintenance mode, not a check that is run.
    #[serde(default)]
    pub maintenance: bool,
}

/// The two directories.
#[derive(Debug)]
pub struct Files {
    services: PathBuf,
    checks: PathBuf,
}

impl Files {
    /// Makes the directories.
    ///
    /// # Errors
    /// [`PersistError::Io`].
    pub fn open(data_dir: &Path) -> Result<Self, PersistError> {
        let files = Self { services: data_dir.join("services"), checks: data_dir.join("checks") };
        for directory in [&files.services, &files.checks] {
            fs::create_dir_all(directory).map_err(io_error("creating directory", directory))?;
        }
        Ok(files)
    }

    /// All registrations. A file that cannot be read is reported and left alone.
    ///
    /// # Errors
    /// [`PersistError::Io`] when a directory cannot be listed.
    pub fn load(&self) -> Result<(Vec<Registration>, Vec<PersistedCheck>), PersistError> {
        Ok((load_all(&self.services)?, load_all(&self.checks)?))
    }

    /// Keeps a service with its sidecar; on disk when this returns.
    ///
    /// # Errors
    /// [`PersistError`]; the older file, if any, is still there.
    pub fn store_service(&self, registration: &Registration) -> Result<(), PersistError> {
        store(&self.services, &registration.service.id, registration)
    }

    /// Forgets a service; no error when there is no file.
    ///
    /// # Errors
    /// [`PersistError::Io`].
    pub fn remove_service(&self, id: &ServiceId) -> Result<(), PersistError> {
        remove(&self.services, id)
    }

    /// Keeps a check; on disk when this returns.
    ///
    /// # Errors
    /// [`PersistError`]; the older file, if any, is still there.
    pub fn store_check(&self, check: &PersistedCheck) -> Result<(), PersistError> {
        store(&self.checks, &check.check.id, check)
    }

    /// Forgets a check; no error when there is no file.
    ///
    /// # Errors
    /// [`PersistError::Io`].
    pub fn remove_check(&self, id: &CheckId) -> Result<(), PersistError> {
        remove(&self.checks, id)
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PersistError {
    let path = path.to_owned();
    move |source| PersistError::Io { action, path, source }
}

/// IDs may hold anything, slashes included.
fn file_name(id: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn store(directory: &Path, id: &str, value: &impl Serialize) -> Result<(), PersistError> {
    let bytes = serde_json::to_vec(value).map_err(PersistError::Encode)?;
    let path = directory.join(file_name(id));
    lictor_runtime::files::write_atomically(&path, &bytes).map_err(io_error("writing", &path))
}

fn remove(directory: &Path, id: &str) -> Result<(), PersistError> {
    let path = directory.join(file_name(id));
    let remove = || match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => fs::File::open(directory)?.sync_all(),
    };
    remove().map_err(io_error("removing", &path))
}

fn load_all<T: DeserializeOwned>(directory: &Path) -> Result<Vec<T>, PersistError> {
    let mut paths = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>())
        .map_err(io_error("listing", directory))?;
    paths.sort();
    let mut loaded = Vec::new();
    for path in paths {
        if path.extension().is_some_and(|extension| extension == "new") {
            continue;
        }
        let parsed = fs::read(&path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        match parsed {
            Ok(value) => loaded.push(value),
            Err(error) => {
                tracing::error!(target: "agent", ?path, %error, "skipping a persisted registration that cannot be read; remove the file or register again");
            }
        }
    }
    Ok(loaded)
}
