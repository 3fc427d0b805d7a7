//! A lock for several holders: a document beside a key per contender.
//!
//! COMPAT: the Go client's semaphore. Each contender locks a key named after its session; the
//! document under `.lock` lists the holders, is changed by check-and-set only, and a holder whose
//! key is no longer locked does not count.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lictor_api::types::kv::KvPair;
use serde::{Deserialize, Serialize};

use super::{
    LOCK_KEY,
    keys::{Keys, join},
};
use crate::cli::kv;

/// Marks keys as a semaphore's. COMPAT: the Go client's `SemaphoreFlagValue`.
const FLAGS: u64 = 0xe0f6_9a2b_aa41_4de0;

/// The semaphore.
pub(super) struct Semaphore {
    pub(super) keys: Keys,
    pub(super) prefix: String,
    pub(super) limit: i64,
}

/// The value of the `.lock` key, in the Go client's form.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    limit: i64,
    /// Sessions; the value is always true.
    holders: BTreeMap<String, bool>,
}

/// The document as it was read, without holders that are gone.
struct Slots {
    document: Document,
    modify_index: u64,
}

impl Semaphore {
    pub(super) async fn acquire(&self) -> anyhow::Result<bool> {
        let session = &self.keys.session;
        let made =
            self.keys.write(&self.contender(), ("acquire", session), FLAGS, Bytes::new()).await?;
        anyhow::ensure!(made, "failed to make contender entry");
        let deadline = self.keys.deadline();
        let mut index = 0;
        while let Some(wait) = deadline.next_wait() {
            let (now, pairs) = self.keys.read_after(&self.prefix, index, wait, true).await?;
            let mut slots = self.slots(&pairs)?;
            anyhow::ensure!(
                slots.document.limit == self.limit,
                "semaphore limit conflict (lock: {}, local: {})",
                slots.document.limit,
                self.limit
            );
            if usize::try_from(self.limit).is_ok_and(|limit| slots.document.holders.len() >= limit)
            {
                index = now;
                continue;
            }
            index = 0;
            slots.document.holders.insert(session.clone(), true);
            if self.swap(&slots).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn lost(&self) {
        let held = |pairs: &[KvPair]| {
            self.slots(pairs)
                .is_ok_and(|slots| slots.document.holders.contains_key(&self.keys.session))
        };
        self.keys.watch(&self.prefix, true, held).await;
    }

    pub(super) async fn release(&self) -> anyhow::Result<()> {
        loop {
            let (_, pairs) = self.keys.read(&self.prefix, &[("recurse", "")]).await?;
            let mut slots = self.slots(&pairs)?;
            let held = slots.document.holders.remove(&self.keys.session).is_some();
            if !held || self.swap(&slots).await? {
                break;
            }
        }
        self.keys.client.delete(&kv::path(&self.contender()), &[]).await?;
        Ok(())
    }

    pub(super) async fn clean_up(&self) -> anyhow::Result<bool> {
        let (_, pairs) = self.keys.read(&self.prefix, &[("recurse", "")]).await?;
        let slots = self.slots(&pairs)?;
        if slots.modify_index == 0 {
            return Ok(true);
        }
        Ok(slots.document.holders.is_empty()
            && self.keys.delete(&self.lock_key(), slots.modify_index).await?)
    }

    fn lock_key(&self) -> String {
        join(&self.prefix, LOCK_KEY)
    }

    fn contender(&self) -> String {
        join(&self.prefix, &self.keys.session)
    }

    fn slots(&self, pairs: &[KvPair]) -> anyhow::Result<Slots> {
        let key = self.lock_key();
        let lock = pairs.iter().find(|pair| pair.key == key);
        anyhow::ensure!(
            lock.is_none_or(|lock| lock.flags == FLAGS),
            "Existing key does not match semaphore use"
        );
        let mut document = match lock.filter(|lock| !lock.value.is_empty()) {
            Some(lock) => serde_json::from_slice(&lock.value)
                .map_err(|error| anyhow::anyhow!("lock decoding failed: {error}"))?,
            None => Document { limit: self.limit, holders: BTreeMap::new() },
        };
        let alive: BTreeSet<&str> = pairs.iter().map(|pair| pair.session.as_str()).collect();
        document.holders.retain(|holder, _| alive.contains(holder.as_str()));
        Ok(Slots { document, modify_index: lock.map_or(0, |lock| lock.modify_index) })
    }

    async fn swap(&self, slots: &Slots) -> anyhow::Result<bool> {
        let value = serde_json::to_vec(&slots.document)?;
        let index = slots.modify_index.to_string();
        self.keys.write(&self.lock_key(), ("cas", &index), FLAGS, value.into()).await
    }
}

#[cfg(test)]
mod tests {
    use lictor_api::client::{Client, Config};

    use super::*;
    use crate::cli::lock::mutex;

    fn semaphore() -> Semaphore {
        let client = Client::new(Config::default()).unwrap();
        let keys = Keys { client, session: "me".to_owned(), timeout: None, retries: 0 };
        Semaphore { keys, prefix: "p/".to_owned(), limit: 2 }
    }

    fn pair(key: &str, session: &str, value: &'static str, flags: u64) -> KvPair {
        KvPair {
            key: key.to_owned(),
            session: session.to_owned(),
            value: Bytes::from_static(value.as_bytes()),
            flags,
            modify_index: 9,
            ..KvPair::default()
        }
    }

    #[test]
    fn the_document_is_the_go_clients_and_dead_holders_do_not_count() {
        let semaphore = semaphore();
        let document = r#"{"Limit":2,"Holders":{"a":true,"dead":true}}"#;
        let pairs = [pair("p/.lock", "", document, FLAGS), pair("p/a", "a", "", FLAGS)];
        let slots = semaphore.slots(&pairs).unwrap();
        assert_eq!(slots.modify_index, 9);
        assert_eq!(
            serde_json::to_string(&slots.document).unwrap(),
            r#"{"Limit":2,"Holders":{"a":true}}"#
        );
    }

    #[test]
    fn without_a_document_all_slots_are_free() {
        let slots = semaphore().slots(&[]).unwrap();
        let free = Document { limit: 2, holders: BTreeMap::new() };
        assert_eq!((slots.document, slots.modify_index), (free, 0));
    }

    #[test]
    fn a_contender_has_a_key_named_after_its_session() {
        assert_eq!(semaphore().contender(), "p/me");
    }

    #[test]
    fn a_key_of_something_else_is_left_alone() {
        let pairs = [pair("p/.lock", "", "", mutex::FLAGS)];
        assert!(semaphore().slots(&pairs).is_err());
    }
}
