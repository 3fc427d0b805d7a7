//! The table of config entries, by kind and name.

use std::sync::Arc;

use imbl::OrdMap;
use lictor_api::types::{config_entry::ConfigEntry, intention::ServiceIntentions};

use super::{Topic, watch::Change};

/// All config entries.
#[derive(Debug, Clone, Default)]
pub struct ConfigEntries {
    pub(super) entries: OrdMap<(Arc<str>, Arc<str>), Arc<ConfigEntry>>,
    /// Raft index of the last change, by kind.
    pub(super) indexes: OrdMap<Arc<str>, u64>,
}

impl ConfigEntries {
    /// Returns one entry.
    pub fn get(&self, kind: &str, name: &str) -> Option<&Arc<ConfigEntry>> {
        self.entries.get(&(Arc::from(kind), Arc::from(name)))
    }

    /// Returns all entries, by kind and name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<ConfigEntry>> {
        self.entries.values()
    }

    /// Returns all entries of a kind, by name.
    pub fn list<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Arc<ConfigEntry>> + 'a {
        self.entries
            .range((Arc::from(kind), Arc::from(""))..)
            .take_while(move |((of, _), _)| **of == *kind)
            .map(|(_, entry)| entry)
    }

    /// Returns all intentions, one entry per destination.
    pub fn intentions(&self) -> impl Iterator<Item = &ServiceIntentions> {
        self.list(lictor_api::types::config_entry::SERVICE_INTENTIONS).map(|entry| match &**entry {
            ConfigEntry::ServiceIntentions(entry) => entry,
        })
    }

    /// Returns the intentions of one destination.
    pub fn intentions_for(&self, destination: &str) -> Option<&ServiceIntentions> {
        self.get(lictor_api::types::config_entry::SERVICE_INTENTIONS, destination).map(|entry| {
            match &**entry {
                ConfigEntry::ServiceIntentions(entry) => entry,
            }
        })
    }

    /// Inserts or replaces an entry, whose indexes are already set.
    pub(crate) fn upsert(&mut self, change: &mut Change<'_>, entry: ConfigEntry) {
        let kind: Arc<str> = Arc::from(entry.kind());
        self.entries.insert((kind.clone(), Arc::from(entry.name())), Arc::new(entry));
        self.changed(change, kind);
    }

    /// Removes an entry; returns false when there was none.
    pub(crate) fn delete(&mut self, change: &mut Change<'_>, kind: &str, name: &str) -> bool {
        let kind: Arc<str> = Arc::from(kind);
        if self.entries.remove(&(kind.clone(), Arc::from(name))).is_none() {
            return false;
        }
        self.changed(change, kind);
        true
    }

    pub(super) fn kind_index(&self, kind: &str) -> u64 {
        self.indexes.get(kind).copied().unwrap_or(0)
    }

    fn changed(&mut self, change: &mut Change<'_>, kind: Arc<str>) {
        self.indexes.insert(kind.clone(), change.index);
        change.touch(Topic::ConfigKind(kind));
    }
}
