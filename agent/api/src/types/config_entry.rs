//! Config entries: cluster-wide settings by kind and name (Consul "Config HTTP API").

use serde::{Deserialize, Serialize};

use super::intention::ServiceIntentions;

/// A config entry of a kind that lictor stores. `Kind` on the wire selects the variant.
///
/// Adding a kind: a variant here, its kind in [`ConfigEntry::kind`], and its validation in the
/// agent's `fsm::config_entry`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "Kind")]
pub enum ConfigEntry {
    /// Who may connect to one destination.
    #[serde(rename = "service-intentions")]
    ServiceIntentions(ServiceIntentions),
}

/// Kind of [`ConfigEntry::ServiceIntentions`].
pub const SERVICE_INTENTIONS: &str = "service-intentions";

impl ConfigEntry {
    /// The entry's kind, as in its JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ServiceIntentions(_) => SERVICE_INTENTIONS,
        }
    }

    /// The entry's name, unique within its kind.
    pub fn name(&self) -> &str {
        match self {
            Self::ServiceIntentions(entry) => &entry.name,
        }
    }

    /// Raft index of the last change.
    pub fn modify_index(&self) -> u64 {
        match self {
            Self::ServiceIntentions(entry) => entry.modify_index,
        }
    }
}
