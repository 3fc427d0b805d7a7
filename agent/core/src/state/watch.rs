//! Watch topics: what a blocking query depends on, and what a batch of commands touches.
//!
//! A topic is as narrow as the data it names (one key, one prefix, one service), so that a write
//! wakes only those whose answer can have changed. `lictor_store` wakes them.

use std::{collections::BTreeSet, sync::Arc};

use lictor_api::{NodeName, ServiceName};

use super::{Folded, State};

/// A part of the state that readers can wait for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// The list of nodes.
    Nodes,
    /// One node with its instances and checks.
    Node(Folded<NodeName>),
    /// The list of services and their tags.
    Services,
    /// The instances of one service with their nodes and checks.
    Service(Folded<ServiceName>),
    /// The mesh endpoints of one service.
    Connect(Folded<ServiceName>),
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
    /// The sessions of one node.
    NodeSessions(Folded<NodeName>),
    /// One session.
    Session(Arc<str>),
    /// All network coordinates.
    Coordinates,
}

/// The topics an answer depends on, collected while it is read.
#[derive(Debug, Clone, Default)]
pub struct WatchSet(BTreeSet<Topic>);

impl WatchSet {
    /// Records that the answer depends on `topic`.
    pub fn add(&mut self, topic: Topic) {
        self.0.insert(topic);
    }

    /// Returns the topics, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.0.iter()
    }

    /// Returns the answer's index: that of its most recently changed topic.
    pub fn index(&self, state: &State) -> u64 {
        self.0.iter().map(|topic| state.topic_index(topic)).max().unwrap_or(1)
    }
}

/// One change to the state: the index that its rows get, and the topics that it touches. Every
/// function that writes a table takes it, so that no write can forget either.
#[derive(Debug)]
pub struct Change<'a> {
    /// The state's index as of this change.
    pub(crate) index: u64,
    /// The topics of the batch that the change belongs to.
    pub(crate) touched: &'a mut Touched,
}

// === impl Change ===

impl<'a> Change<'a> {
    /// Begins a change at `index` whose topics are added to `touched`.
    pub(crate) fn new(index: u64, touched: &'a mut Touched) -> Self {
        Self { index, touched }
    }

    /// Records that `topic` changed.
    pub(crate) fn touch(&mut self, topic: Topic) {
        self.touched.touch(topic);
    }
}

/// The topics that a batch of commands touched.
#[derive(Debug, Default)]
pub struct Touched {
    topics: BTreeSet<Topic>,
    everything: bool,
}

impl Touched {
    /// Records that `topic` changed. Touching a key touches its prefixes too.
    pub fn touch(&mut self, topic: Topic) {
        self.topics.insert(topic);
    }

    /// Records that anything may have changed.
    pub fn touch_everything(&mut self) {
        self.everything = true;
    }

    /// Returns whether anything may have changed.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Returns the topics that changed, in order.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter()
    }

    /// Adds the topics of another batch.
    pub fn merge(&mut self, other: Self) {
        self.topics.extend(other.topics);
        self.everything |= other.everything;
    }
}
