//! What both kinds of lock do with keys, and how long they wait.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use lictor_api::{GoDuration, client::Client, types::kv::KvPair};
use tokio::time::{Instant, sleep};

use super::MAX_WAIT;
use crate::cli::kv;

/// The pause after a failed read of a lock that is held.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// A contender's view of the keys.
pub(super) struct Keys {
    pub(super) client: Client,
    pub(super) session: String,
    /// How long to wait for the lock; `None` is forever.
    pub(super) timeout: Option<Duration>,
    /// How many reads of a held lock may fail in a row.
    pub(super) retries: u32,
}

/// When a contender gives up.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// Returns how long the next read may block, at most [`MAX_WAIT`]; `None` after the deadline.
    pub(super) fn next_wait(self) -> Option<Duration> {
        let Some(end) = self.0 else { return Some(MAX_WAIT) };
        let left = end.saturating_duration_since(Instant::now());
        (!left.is_zero()).then(|| left.min(MAX_WAIT))
    }

    /// Sleeps for `pause`, but not past the deadline.
    pub(super) async fn pause(self, pause: Duration) {
        sleep(self.next_wait().unwrap_or_default().min(pause)).await;
    }
}

impl Keys {
    /// Starts the timeout of the lock.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline(self.timeout.map(|timeout| Instant::now() + timeout))
    }

    /// Reads the key, or with `recurse` all keys that begin with it. Also returns the index of the
    /// response.
    pub(super) async fn read(
        &self,
        key: &str,
        query: &[(&str, &str)],
    ) -> anyhow::Result<(u64, Vec<KvPair>)> {
        let answer = self.client.get(&kv::path(key), query).await?;
        let index = answer.index();
        if answer.status == StatusCode::NOT_FOUND {
            return Ok((index, Vec::new()));
        }
        Ok((index, answer.success()?.json()?))
    }

    /// Reads like [`Keys::read`] after blocking, at most for `wait`, until something is newer than
    /// `index`.
    pub(super) async fn read_after(
        &self,
        key: &str,
        index: u64,
        wait: Duration,
        recurse: bool,
    ) -> anyhow::Result<(u64, Vec<KvPair>)> {
        let (index, wait) = (index.to_string(), GoDuration(wait).to_string());
        let mut query = vec![("index", index.as_str()), ("wait", wait.as_str())];
        if recurse {
            query.push(("recurse", ""));
        }
        self.read(key, &query).await
    }

    /// Writes a key. Returns whether its condition held.
    pub(super) async fn write(
        &self,
        key: &str,
        condition: (&str, &str),
        flags: u64,
        value: Bytes,
    ) -> anyhow::Result<bool> {
        let flags = flags.to_string();
        let query = [("flags", flags.as_str()), condition];
        let answer = self.client.put(&kv::path(key), &query, value).await?;
        Ok(answer.text().trim() == "true")
    }

    /// Deletes a key if it is unchanged since `index`. Returns whether it was.
    pub(super) async fn delete(&self, key: &str, index: u64) -> anyhow::Result<bool> {
        let index = index.to_string();
        let answer = self.client.delete(&kv::path(key), &[("cas", &index)]).await?;
        Ok(answer.text().trim() == "true")
    }

    /// Reads the lock after each change until `held` returns false or too many reads have failed.
    pub(super) async fn watch(&self, key: &str, recurse: bool, held: impl Fn(&[KvPair]) -> bool) {
        let (mut index, mut failed) = (0_u64, 0);
        loop {
            let text = index.to_string();
            let mut query = vec![("consistent", ""), ("index", text.as_str())];
            if recurse {
                query.push(("recurse", ""));
            }
            match self.read(key, &query).await {
                Ok((_, pairs)) if !held(&pairs) => return,
                // An index that went back means that the servers restarted from a snapshot.
                Ok((now, _)) => (index, failed) = (if now < index { 0 } else { now }, 0),
                Err(_) if failed < self.retries => {
                    (index, failed) = (0, failed + 1);
                    sleep(RETRY_INTERVAL).await;
                }
                Err(_) => return,
            }
        }
    }
}

/// Joins a name to a prefix. COMPAT: Go's `path.Join`, for prefixes without dots.
pub(super) fn join(prefix: &str, name: &str) -> String {
    let segments = prefix.split('/').filter(|segment| !segment.is_empty());
    segments.chain([name]).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_joined_with_one_slash() {
        for (prefix, joined) in [("a", "a/x"), ("a/", "a/x"), ("a//b/", "a/b/x"), ("", "x")] {
            assert_eq!(join(prefix, "x"), joined);
        }
    }
}
