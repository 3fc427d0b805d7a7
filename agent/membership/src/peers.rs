//! Addresses of the other members, kept over a restart: `<data_dir>/serf/local.snapshot`, a JSON
//! list.
//!
//! Only a hint for an agent that has no live member: a file that is missing, old or damaged is
//! ignored, and is replaced as soon as a member is met. Without a live member the last list stays.

use std::{net::SocketAddr, path::PathBuf, sync::Mutex, sync::PoisonError};

use super::Member;

/// Addresses in the file.
const MAX_ADDRESSES: usize = 128;

pub(super) struct File {
    path: Option<PathBuf>,
    kept: Mutex<Vec<SocketAddr>>,
}

// === impl File ===

impl File {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        let found: Vec<SocketAddr> = path
            .as_ref()
            .and_then(|path| std::fs::read(path).ok())
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        Self { path, kept: Mutex::new(found) }
    }

    pub(super) fn remembered(&self) -> Vec<SocketAddr> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores the addresses of the live members, servers first: every agent can join through them.
    pub(super) async fn remember(&self, own: SocketAddr, members: &[Member]) {
        let mut others: Vec<&Member> =
            members.iter().filter(|m| m.is_alive() && m.address != own).collect();
        others.sort_by_key(|member| !member.is_server());
        let addresses: Vec<_> = others.iter().map(|m| m.address).take(MAX_ADDRESSES).collect();
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if addresses.is_empty() || *kept == addresses {
                return;
            }
            kept.clone_from(&addresses);
        }
        let Some(path) = self.path.clone() else { return };
        on_disk(move || {
            let text = serde_json::to_vec(&addresses)?;
            if let Some(directory) = path.parent() {
                std::fs::create_dir_all(directory)?;
            }
            lictor_runtime::files::write_atomically(&path, &text)
        })
        .await;
    }

    pub(super) async fn forget(&self) {
        let Some(path) = self.path.clone() else { return };
        on_disk(move || match std::fs::remove_file(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        })
        .await;
    }
}

async fn on_disk(write: impl FnOnce() -> std::io::Result<()> + Send + 'static) {
    if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
        tracing::warn!(%error, "the addresses of the members cannot be written to disk");
    }
}
