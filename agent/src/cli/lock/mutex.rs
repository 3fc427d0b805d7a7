//! A lock for one holder: the key is locked by its session.

use std::time::Duration;

use bytes::Bytes;
use lictor_api::types::kv::KvPair;

use super::keys::Keys;

/// Marks a key as such a lock. COMPAT: the Go client's `LockFlagValue`.
pub(super) const FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;
/// The pause while a lock-delay runs.
const LOCK_DELAY_INTERVAL: Duration = Duration::from_secs(5);

/// The lock.
pub(super) struct Mutex {
    pub(super) keys: Keys,
    pub(super) key: String,
}

impl Mutex {
    pub(super) async fn acquire(&self) -> anyhow::Result<bool> {
        let deadline = self.keys.deadline();
        let mut index = 0;
        while let Some(wait) = deadline.next_wait() {
            let (now, pairs) = self.keys.read_after(&self.key, index, wait, false).await?;
            let pair = pairs.first();
            anyhow::ensure!(
                pair.is_none_or(|pair| pair.flags == FLAGS),
                "Existing key does not match lock use"
            );
            if pair.is_some_and(|pair| !pair.session.is_empty()) {
                index = now;
                continue;
            }
            let acquire = ("acquire", self.keys.session.as_str());
            if self.keys.write(&self.key, acquire, FLAGS, Bytes::new()).await? {
                return Ok(true);
            }
            // Another contender was faster, which the key shows; or a lock-delay runs, which nothing shows.
            index = 0;
            let (_, pairs) = self.keys.read(&self.key, &[]).await?;
            if pairs.first().is_none_or(|pair| pair.session.is_empty()) {
                deadline.pause(LOCK_DELAY_INTERVAL).await;
            }
        }
        Ok(false)
    }

    pub(super) async fn lost(&self) {
        let session = &self.keys.session;
        let held = |pairs: &[KvPair]| pairs.first().is_some_and(|pair| pair.session == *session);
        self.keys.watch(&self.key, false, held).await;
    }

    pub(super) async fn release(&self) -> anyhow::Result<()> {
        let release = ("release", self.keys.session.as_str());
        self.keys.write(&self.key, release, FLAGS, Bytes::new()).await?;
        Ok(())
    }

    pub(super) async fn clean_up(&self) -> anyhow::Result<bool> {
        let (_, pairs) = self.keys.read(&self.key, &[]).await?;
        let Some(pair) = pairs.first() else { return Ok(true) };
        anyhow::ensure!(pair.flags == FLAGS, "Existing key does not match lock use");
        Ok(pair.session.is_empty() && self.keys.delete(&self.key, pair.modify_index).await?)
    }
}
