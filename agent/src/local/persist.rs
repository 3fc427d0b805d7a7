//! Registrations of the HTTP API on disk: `<data_dir>/services/<hash of the ID>` and
//! `<data_dir>/checks/<hash of the ID>`, one JSON file each, like Consul's layout.
//!
//! INVARIANT: writing a file is atomic (temporary file, fsync, rename), and so is a change of
//! several files: its steps are written to `<data_dir>/registrations.journal` first. Writing the
//! journal commits the change; steps that fail afterwards are retried before the next change and at
//! the next start. So an error means that nothing was changed, now and after a restart, and a crash
//! loses no acknowledged change. (A disk that fails to sync a file it has just renamed may keep
//! either version.) Files are readable by the agent alone: they carry tokens.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use lictor_api::{CheckId, ServiceId, error::chain, types::agent::CheckDefinition};
use serde::{Serialize, de::DeserializeOwned};

use super::state::Registration;

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// A system call failed.
    #[error("{action} {path:?}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The definition cannot be encoded as JSON.
    #[error("encoding registration")]
    Encode(#[source] serde_json::Error),
    /// The journal is damaged or was not written by an agent.
    #[error("reading {path:?}; remove it to start with the files as they are")]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
}

/// A step of a change on disk; idempotent.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub enum Step {
    /// Writes a service with its sidecar.
    StoreService(Box<Registration>),
    /// Removes a service's file, if there is one.
    RemoveService(ServiceId),
    /// Writes a check.
    StoreCheck(Box<PersistedCheck>),
    /// Removes a check's file, if there is one.
    RemoveCheck(CheckId),
}

/// A check registered by itself over HTTP, or maintenance mode.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PersistedCheck {
    /// The definition, with defaults filled in.
    pub check: CheckDefinition,
    /// Whether this is maintenance mode and not a check with a runner.
    #[serde(default)]
    pub maintenance: bool,
}

/// The two directories and the journal.
#[derive(Debug)]
pub struct Files {
    services: PathBuf,
    checks: PathBuf,
    journal: PathBuf,
}

impl Files {
    /// Creates the directories and completes a change that was interrupted.
    ///
    /// # Errors
    /// [`PersistError`].
    pub fn open(data_dir: &Path) -> Result<Self, PersistError> {
        let files = Self {
            services: data_dir.join("services"),
            checks: data_dir.join("checks"),
            journal: data_dir.join("registrations.journal"),
        };
        for directory in [&files.services, &files.checks] {
            fs::create_dir_all(directory).map_err(io_error("creating directory", directory))?;
        }
        files.complete()?;
        Ok(files)
    }

    /// Reads all registrations. Logs and skips a file that cannot be read.
    ///
    /// # Errors
    /// [`PersistError::Io`] when a directory cannot be listed.
    pub fn load(&self) -> Result<(Vec<Registration>, Vec<PersistedCheck>), PersistError> {
        Ok((load_all(&self.services)?, load_all(&self.checks)?))
    }

    /// Commits a change of one or several files; it is durable when this returns.
    ///
    /// # Errors
    /// [`PersistError`]; nothing was changed.
    pub fn commit(&self, mut steps: Vec<Step>) -> Result<(), PersistError> {
        self.complete()?;
        steps.retain(|step| self.is_needed(step));
        match &steps[..] {
            [] => Ok(()),
            [step] => self.apply(step),
            steps => {
                write(&self.journal, steps)?;
                if let Err(error) = self.complete() {
                    let error = chain(&error);
                    tracing::warn!(target: "agent", error, "a registration is in the journal only; its files follow with the next one or at the next start");
                }
                Ok(())
            }
        }
    }

    /// Replays the steps of the journal, if there is one, and removes it.
    fn complete(&self) -> Result<(), PersistError> {
        let path = &self.journal;
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.map_err(io_error("reading", path))?,
        };
        let steps: Vec<Step> = serde_json::from_slice(&bytes)
            .map_err(|source| PersistError::Journal { path: path.clone(), source })?;
        steps.iter().try_for_each(|step| self.apply(step))?;
        remove(path)
    }

    fn path(&self, step: &Step) -> PathBuf {
        match step {
            Step::StoreService(registration) => file(&self.services, &registration.service.id),
            Step::RemoveService(id) => file(&self.services, id),
            Step::StoreCheck(check) => file(&self.checks, &check.check.id),
            Step::RemoveCheck(id) => file(&self.checks, id),
        }
    }

    /// Returns whether a step changes anything.
    fn is_needed(&self, step: &Step) -> bool {
        let removes = matches!(step, Step::RemoveService(_) | Step::RemoveCheck(_));
        !removes || self.path(step).symlink_metadata().is_ok()
    }

    fn apply(&self, step: &Step) -> Result<(), PersistError> {
        let path = self.path(step);
        match step {
            Step::StoreService(registration) => write(&path, registration),
            Step::StoreCheck(check) => write(&path, check),
            Step::RemoveService(_) | Step::RemoveCheck(_) => remove(&path),
        }
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PersistError {
    let path = path.to_owned();
    move |source| PersistError::Io { action, path, source }
}

/// Returns the file of an ID. The name is a hash, because an ID may contain slashes.
fn file(directory: &Path, id: &str) -> PathBuf {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    let name: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    directory.join(name)
}

fn write(path: &Path, value: &(impl Serialize + ?Sized)) -> Result<(), PersistError> {
    let bytes = serde_json::to_vec(value).map_err(PersistError::Encode)?;
    lictor_runtime::files::write_atomically(path, &bytes).map_err(io_error("writing", path))
}

fn remove(path: &Path) -> Result<(), PersistError> {
    let remove = || match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => fs::File::open(path.parent().unwrap_or(path))?.sync_all(),
    };
    remove().map_err(io_error("removing", path))
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
