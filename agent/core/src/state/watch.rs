//! Watch topics: what a blocking query depends on, and what a batch of commands touched.
//!
//! A topic is as narrow as the data it names (one key, one prefix, one service), so that a write
//! wakes only those whose answer can have changed. `lictor_store` wakes them.

use std::{collections::BTreeSet, sync::Arc};

use lictor_api::{NodeName, ServiceName};

use super::State;

/// Something that can change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// The list of nodes.
    Nodes,
    /// One node with its instances and checks; the name in lower case.
    Node(NodeName),
    /// The list of services and their tags.
    Services,
    /// The instances of one service with their nodes and checks; the name in lower case.
    Service(ServiceName),
    /// The mesh endpoints of one service; the name in lower case.
    Connect(ServiceName),
    /// All checks.
    Checks,
    /// One key.
    KvKey(Arc<str>),
    /// All keys that begin with this text.
    KvPrefix(Arc<str>),
    /// All config entries of a kind.
    ConfigKind(Arc<str>),
    /// The mesh's roots.
    Roots,
    /// The list of sessions.
    Sessions,
    /// The sessions of one node; the name in lower case.
    NodeSessions(NodeName),
    /// One session.
    Session(Arc<str>),
    /// All network coordinates.
    Coordinates,
}

/// The topics an answer depends on, collected while it is read.
#[derive(Debug, Clone, Default)]
pub struct WatchSet(BTreeSet<Topic>);

impl WatchSet {
    /// Notes that the answer depends on `topic`.
    pub fn add(&mut self, topic: Topic) {
        self.0.insert(topic);
    }

    /// The topics, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.0.iter()
    }

    /// The answer's index: that of its most recently changed topic.
    pub fn index(&self, state: &State) -> u64 {
        self.0.iter().map(|topic| state.topic_index(topic)).max().unwrap_or(1)
    }
}

/// The topics a batch of commands touched.
#[derive(Debug, Default)]
pub struct Touched {
    topics: BTreeSet<Topic>,
    everything: bool,
}

impl Touched {
    /// Notes that `topic` changed. Touching a key touches its prefixes too.
    pub fn touch(&mut self, topic: Topic) {
        self.topics.insert(topic);
    }

    /// Notes that anything may have changed.
    pub fn touch_everything(&mut self) {
        self.everything = true;
    }

    /// Whether anything may have changed.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// The topics that changed, in order.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter()
    }

    /// Adds what another batch touched.
    pub fn merge(&mut self, other: Self) {
        self.topics.extend(other.topics);
        self.everything |= other.everything;
    }
}
