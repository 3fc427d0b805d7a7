//! The keys that gossip is encrypted with, and the file that holds them:
//! `<data_dir>/serf/local.keyring`, a JSON list of base64 with the primary key first, as in Consul.
//!
//! INVARIANT: the file is there as a whole or not at all, is readable by the agent alone, and holds
//! a key before the key is reported as installed. Keys appear in no log line and no error.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use memberlist::proto::SecretKey;

/// One key: 16, 24 or 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(SecretKey);

// === impl Key ===

impl Key {
    /// Parses a key in base64.
    ///
    /// # Errors
    /// [`KeyringError`] says what is wrong without the key.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| KeyringError::NotBase64)?;
        SecretKey::try_from(bytes.as_slice())
            .map(Self)
            .map_err(|_| KeyringError::Length(bytes.len()))
    }

    /// Returns the key in base64: a secret.
    pub fn reveal(&self) -> String {
        STANDARD.encode(self.0.as_ref())
    }

    pub(super) fn secret(self) -> SecretKey {
        self.0
    }
}

impl From<SecretKey> for Key {
    fn from(secret: SecretKey) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

/// Why a key or a keyring file is unusable. The file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The text is not base64.
    #[error("the gossip key is not base64; `lictor keygen` makes one")]
    NotBase64,
    /// The key has a length that AES does not know.
    #[error("the gossip key has {0} bytes; it must have 16, 24 or 32")]
    Length(usize),
    /// The file holds no key.
    #[error("{0:?} holds no key; remove it to start from `encrypt`")]
    Empty(PathBuf),
    /// The file cannot be read as a list of keys.
    #[error("{0:?} is not a JSON list of keys")]
    Format(PathBuf),
    /// Reading or writing the file failed.
    #[error("{action} {path:?}")]
    Io {
        /// Operation that failed.
        action: &'static str,
        /// File of the operation.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}

/// The keys of one pool, the primary one first. Never empty.
#[derive(Debug, Clone)]
pub struct Keyring {
    keys: Vec<Key>,
    file: Option<PathBuf>,
}

// === impl Keyring ===

impl Keyring {
    /// Returns the keys of the file if it exists, else `encrypt`, which is then written to it;
    /// `None` without either. Without a file the keys stay in memory (`disable_keyring_file`,
    /// `-dev`).
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn open(file: Option<&Path>, encrypt: Option<&str>) -> Result<Option<Self>, KeyringError> {
        if let Some(path) = file
            && let Some(keys) = read(path)?
        {
            let given = encrypt.map(Key::parse).transpose()?;
            if given.is_some_and(|key| !keys.contains(&key)) {
                tracing::warn!(target: "agent", file = ?path, "the configured gossip key is ignored because the keyring file has others; change keys with the keyring verb");
            }
            return Ok(Some(Self { keys, file: Some(path.to_owned()) }));
        }
        let Some(encrypt) = encrypt else { return Ok(None) };
        let keyring = Self { keys: vec![Key::parse(encrypt)?], file: file.map(Path::to_owned) };
        keyring.write()?;
        Ok(Some(keyring))
    }

    /// Returns a keyring of the same file with other keys; writes nothing.
    #[must_use]
    pub(super) fn with_keys(&self, keys: Vec<Key>) -> Self {
        Self { keys, file: self.file.clone() }
    }

    /// Writes the file, if there is one, and syncs it to disk.
    ///
    /// # Errors
    /// [`KeyringError::Io`]; an existing file is unchanged.
    pub(super) fn write(&self) -> Result<(), KeyringError> {
        let Some(path) = &self.file else { return Ok(()) };
        let keys: Vec<String> = self.keys.iter().map(Key::reveal).collect();
        let text = serde_json::to_vec_pretty(&keys).unwrap_or_default();
        let failed = |action| {
            let path = path.clone();
            move |source| KeyringError::Io { action, path, source }
        };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed("creating the directory of"))?;
        }
        lictor_runtime::files::write_atomically(path, &text).map_err(failed("writing"))
    }

    pub(super) fn secrets(&self) -> (SecretKey, Vec<SecretKey>) {
        let mut keys = self.keys.iter().map(|key| key.secret());
        let primary = keys.next().expect("a keyring is never empty");
        (primary, keys.collect())
    }
}

fn read(path: &Path) -> Result<Option<Vec<Key>>, KeyringError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(KeyringError::Io { action: "reading", path: path.to_owned(), source });
        }
    };
    let keys: Vec<String> =
        serde_json::from_slice(&text).map_err(|_| KeyringError::Format(path.to_owned()))?;
    if keys.is_empty() {
        return Err(KeyringError::Empty(path.to_owned()));
    }
    keys.iter().map(|key| Key::parse(key)).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=";
    const SECOND: &str = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";

    #[test]
    fn the_first_key_is_kept_in_a_file_of_the_agent_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("serf/local.keyring");
        assert!(Keyring::open(Some(&path), None).unwrap().is_none());
        Keyring::open(Some(&path), Some(FIRST)).unwrap().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Keyring::open(Some(&path), Some(SECOND)).unwrap().unwrap();
        assert_eq!(again.keys, vec![Key::parse(FIRST).unwrap()]);
    }

    #[test]
    fn a_key_is_never_shown() {
        let keyring = Keyring::open(None, Some(FIRST)).unwrap().unwrap();
        assert!(!format!("{keyring:?}").contains("pUq"));
    }

    #[test]
    fn a_wrong_key_is_named_by_its_length() {
        assert_eq!(
            Keyring::open(None, Some("AAAA")).unwrap_err().to_string(),
            "the gossip key has 3 bytes; it must have 16, 24 or 32"
        );
        assert!(matches!(Key::parse("***"), Err(KeyringError::NotBase64)));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("local.keyring");
        fs::write(&path, "[").unwrap();
        assert!(
            matches!(Keyring::open(Some(&path), None), Err(KeyringError::Format(p)) if p == path)
        );
    }
}
