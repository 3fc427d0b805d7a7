//! The replicated state: tables of persistent maps, cloned in O(1), published whole.
//!
//! INVARIANT: a pure value. No clock, randomness, I/O or hash-ordered iteration, so that every
//! server that applies the same log has the same state. Only [`crate::fsm::apply`] changes it.
//!
//! Each table answers two questions about itself: its rows, and the Raft index at which a
//! [`Topic`] last changed, which is what `X-Consul-Index` and blocking queries are made of.

mod autopilot;
pub mod catalog;
pub mod certificate_authority;
pub mod config_entry;
pub mod coordinate;
mod folded;
pub mod kv;
pub mod restore;
pub mod session;
pub mod snapshot;
pub mod view;
pub mod watch;

pub use catalog::{Catalog, Instance};
pub use certificate_authority::CertificateAuthority;
pub use config_entry::ConfigEntries;
pub use coordinate::Coordinates;
pub use folded::Folded;
pub use kv::Kv;
pub use restore::Staging;
pub use session::Sessions;
pub use watch::{Topic, WatchSet};

use std::sync::Arc;

use lictor_api::types::operator::AutopilotConfiguration;

/// Everything the servers agree on, as of one Raft index.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Index of the last applied entry: its Raft index plus `index_offset`.
    pub index: u64,
    /// Autopilot's settings; `None` until an operator has set any.
    pub autopilot: Option<Arc<AutopilotConfiguration>>,
    /// How far indexes are ahead of Raft's own, since a state with higher ones was restored.
    pub(crate) index_offset: u64,
    /// The index of the last restore: everything may have changed then.
    pub(crate) index_floor: u64,
    /// A state that is being restored and not in force yet.
    pub(crate) staging: Option<Staging>,
    /// Nodes, service instances and checks.
    pub catalog: Catalog,
    /// Key/value pairs.
    pub kv: Kv,
    /// Cluster-wide settings, intentions among them.
    pub config_entries: ConfigEntries,
    /// The mesh's certificate authority; `None` until the first leader has made it.
    pub ca: Option<Arc<CertificateAuthority>>,
    /// Sessions.
    pub sessions: Sessions,
    /// Where the nodes are in the network.
    pub coordinates: Coordinates,
}

impl State {
    /// Records that the log is applied up to `raft_index`, also by an entry that changes nothing;
    /// returns the index that changes get.
    pub fn advance(&mut self, raft_index: u64) -> u64 {
        self.index = raft_index.saturating_add(self.index_offset);
        self.index
    }

    /// Returns a copy without the restore that may be under way.
    #[must_use]
    pub fn without_restore(&self) -> Self {
        Self { staging: None, ..self.clone() }
    }

    /// Deletes the last key: a bug on purpose ([`Bug::SnapshotIncomplete`]).
    ///
    /// [`Bug::SnapshotIncomplete`]: crate::planted::Bug::SnapshotIncomplete
    #[doc(hidden)]
    pub fn forget_last_key(&mut self) {
        let last = self.kv.list("").last().map(|pair| pair.key.clone());
        let touched = &mut watch::Touched::default();
        let change = &mut watch::Change::new(self.index, touched);
        last.map(|key| self.kv.delete(change, &key));
    }

    /// Returns the Raft index of the last applied entry. Compare it, never `index`, with indexes of
    /// the log.
    pub fn raft_index(&self) -> u64 {
        self.index.saturating_sub(self.index_offset)
    }

    /// Returns the index of the last change to what `topic` names; at least 1, because index 0
    /// means "do not block" to clients.
    pub fn topic_index(&self, topic: &Topic) -> u64 {
        let index = match topic {
            Topic::Nodes
            | Topic::Node(_)
            | Topic::Services
            | Topic::Service(_)
            | Topic::Connect(_)
            | Topic::Checks => self.catalog.topic_index(topic),
            Topic::KvKey(key) => self.kv.key_index(key),
            Topic::KvPrefix(prefix) => self.kv.prefix_index(prefix),
            Topic::ConfigKind(kind) => self.config_entries.kind_index(kind),
            Topic::Sessions | Topic::NodeSessions(_) => self.sessions.index,
            Topic::Session(id) => self.sessions.session_index(id),
            Topic::Coordinates => self.coordinates.index,
            Topic::Roots => self.ca.as_ref().map_or(0, |ca| ca.roots_index),
        };
        index.max(self.index_floor).max(1)
    }
}
