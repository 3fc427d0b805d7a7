//! The time at which a server last ran: one that was down for longer than `server_rejoin_age_max`
//! does not rejoin by itself, because the cluster has changed without it.
//!
//! COMPAT: file name and content are Consul's. The machine's clock is the only reference; a time in
//! the future counts as now.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lictor_runtime::files::write_atomically;
use serde::{Deserialize, Serialize};
use tokio::{task::spawn_blocking, time::interval};
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::data_dir::DataDirError;

/// How often the time is written.
const WRITE_INTERVAL: Duration = Duration::from_secs(3600);

#[derive(Serialize, Deserialize)]
struct Metadata {
    last_seen_unix: u64,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("server_metadata.json")
}

/// Checks that the server last ran at most `max_age` ago.
///
/// # Errors
/// [`StartError::Away`], and [`StartError::DataDir`] for a file that cannot be read.
pub(super) fn check(dir: &Path, max_age: Duration, now: SystemTime) -> Result<(), StartError> {
    let failed = |source| DataDirError::Io { path: path(dir), source };
    let text = match fs::read(path(dir)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error).into()),
    };
    let invalid = |error| failed(io::Error::new(io::ErrorKind::InvalidData, error));
    let metadata: Metadata =
        serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    let seconds = metadata.last_seen_unix;
    let last_seen = UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or_else(|| invalid(format!("last_seen_unix {seconds} is no time")))?;
    match now.duration_since(last_seen) {
        Ok(away) if away > max_age => Err(StartError::Away(max_age)),
        _ => Ok(()),
    }
}

/// Writes the time at the start, every hour, and at `shutdown`.
pub(super) async fn keep(dir: PathBuf, shutdown: CancellationToken) {
    let mut ticks = interval(WRITE_INTERVAL);
    loop {
        let stopping = shutdown.run_until_cancelled(ticks.tick()).await.is_none();
        let dir = dir.clone();
        if let Ok(Err(error)) = spawn_blocking(move || write(&dir, SystemTime::now())).await {
            tracing::warn!(%error, "when this server ran last is not written down");
        }
        if stopping {
            return;
        }
    }
}

fn write(dir: &Path, now: SystemTime) -> io::Result<()> {
    let last_seen_unix = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    write_atomically(&path(dir), &serde_json::to_vec(&Metadata { last_seen_unix })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(168 * 3600);

    #[test]
    fn a_server_that_was_away_for_longer_than_allowed_is_refused_in_consuls_words() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        check(dir.path(), WEEK, now).expect("a new server has been nowhere");
        write(dir.path(), now).unwrap();
        check(dir.path(), WEEK, now + WEEK - Duration::from_secs(1)).unwrap();
        let refused = check(dir.path(), WEEK, now + WEEK + Duration::from_secs(2)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "refusing to rejoin cluster because server has been offline for more than the \
             configured server_rejoin_age_max (168h0m0s) - consider wiping your data dir"
        );
    }

    #[test]
    fn a_clock_that_was_set_back_is_no_absence() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        write(dir.path(), now + 2 * WEEK).unwrap();
        check(dir.path(), WEEK, now).unwrap();
    }

    #[test]
    fn consuls_file_is_understood_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(path(dir.path()), r#"{"last_seen_unix":1000}"#).unwrap();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        check(dir.path(), WEEK, at(2000)).unwrap();
        assert!(matches!(check(dir.path(), WEEK, SystemTime::now()), Err(StartError::Away(_))));
        for text in ["{", r#"{"last_seen_unix":18446744073709551615}"#] {
            fs::write(path(dir.path()), text).unwrap();
            let damaged = check(dir.path(), WEEK, at(2000)).unwrap_err();
            assert!(damaged.to_string().contains("server_metadata.json"), "{text}: {damaged}");
        }
    }

    #[tokio::test]
    async fn the_time_is_written_at_start_and_stop() {
        let dir = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        keep(dir.path().to_owned(), shutdown).await;
        let read = fs::read(path(dir.path())).unwrap();
        let seen = serde_json::from_slice::<Metadata>(&read).unwrap().last_seen_unix;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(now - seen < 60, "{seen} {now}");
    }
}
