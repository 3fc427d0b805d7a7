//! The replicated state: tables of persistent maps, cloned in O(1), published whole.
//!
//! INVARIANT: a pure value. No clock, randomness, I/O or hash-ordered iteration, so that every
//! server that applies the same log has the same state. Only [`crate::fsm::apply`] changes it.
//!
//! Each table answers two questions about itself: its rows, and the Raft index at which a
//! [`Topic`] last changed, which is what `X-Consul-Index` and blocking queries are made of.

pub mod catalog;
pub mod certificate_authority;
pub mod config_entry;
pub mod kv;
pub mod session;
pub mod snapshot;
pub mod store;
pub mod view;
pub mod watch;

pub use catalog::{Catalog, Instance};
pub use certificate_authority::CertificateAuthority;
pub use config_entry::ConfigEntries;
pub use kv::Kv;
pub use session::Sessions;
pub use store::Store;
pub use watch::{Topic, WatchSet};

use std::sync::Arc;

/// Everything the servers agree on, as of one Raft index.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Raft index of the last applied entry.
    pub index: u64,
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
}

impl State {
    /// The Raft index of the last change to what `topic` names; at least 1, because index 0 means
    /// "do not block" to clients.
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
            Topic::Roots => self.ca.as_ref().map_or(0, |ca| ca.roots_index),
        };
        index.max(1)
    }
}
