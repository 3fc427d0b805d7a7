//! Leader duty: saves archives on schedule and retains the newest few.
//!
//! Only the leader saves, so a cluster has one schedule; a new leader continues from the newest
//! file in its own directory. A file is complete, synced and verified when it gets its name. Files
//! with other names are never touched.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use lictor_api::{error::chain, query::Consistency};
use lictor_config::runtime::Snapshots;
use tokio::{task, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Server, SnapshotError};
use crate::archive::{self, ArchiveError};

const PREFIX: &str = "lictor-";
const SUFFIX: &str = ".snap";
/// Pause before a failed save is retried, or the schedule's interval if that is shorter.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Saves on schedule until `until`, which ends when this server no longer leads.
pub async fn run(server: Arc<Server>, settings: Snapshots, until: CancellationToken) {
    let mut pause = first_pause(&settings, SystemTime::now());
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            () = sleep(pause) => {}
        }
        // A save that has started is completed; it takes seconds.
        pause = match save(&server, &settings).await {
            Ok(path) => {
                tracing::info!(path = %path.display(), "scheduled snapshot saved");
                settings.interval
            }
            Err(error) => {
                let path = settings.path.display();
                let pause = RETRY_INTERVAL.min(settings.interval);
                tracing::error!(%path, error = chain(&error), ?pause, "scheduled snapshot failed, trying again");
                pause
            }
        };
    }
}

/// Returns the pause before the first save: the rest of the interval since the newest file.
fn first_pause(settings: &Snapshots, now: SystemTime) -> Duration {
    let files = list(&settings.path).unwrap_or_default();
    let saved = files.last().and_then(|newest| fs::metadata(newest).ok()?.modified().ok());
    let age = saved.and_then(|saved| now.duration_since(saved).ok());
    age.map_or(Duration::ZERO, |age| settings.interval.saturating_sub(age))
}

async fn save(server: &Server, settings: &Snapshots) -> Result<PathBuf, SnapshotError> {
    let (meta, archive) = server.save(Consistency::Default).await?;
    let settings = settings.clone();
    let (now, index) = (Timestamp::now(), meta.index);
    let kept = task::spawn_blocking(move || keep(&settings, &archive, index, now)).await;
    Ok(kept.map_err(|panic| ArchiveError::Read(io::Error::other(panic)))??)
}

/// Writes an archive to the directory and removes the surplus ones. Blocks.
fn keep(
    settings: &Snapshots,
    archive: &[u8],
    index: u64,
    now: Timestamp,
) -> Result<PathBuf, ArchiveError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&settings.path)?;
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    let path = settings.path.join(format!("{PREFIX}{time}-{index:020}{SUFFIX}"));
    archive::save(&path, archive)?;
    let files = list(&settings.path)?;
    let surplus = files.len().saturating_sub(settings.retain.max(1));
    for old in &files[..surplus] {
        fs::remove_file(old)?;
    }
    Ok(path)
}

/// Lists the scheduled archives of a directory, oldest first: their names sort by time.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_ours(name) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns whether a file is a scheduled archive:
/// `lictor-<16 characters of time>-<20 digits of index>.snap`.
fn is_ours(name: &str) -> bool {
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    parts.and_then(|rest| rest.split_once('-')).is_some_and(|(time, index)| {
        time.len() == 16
            && time.ends_with('Z')
            && index.len() == 20
            && index.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests;
