//! The table of network coordinates, by node.
//!
//! INVARIANT: a coordinate exists only while its node does; both are removed by one command.

use std::sync::Arc;

use imbl::OrdMap;
use lictor_api::{NodeName, types::coordinate::Entry};

use super::{Folded, Topic, folded::FoldedStr, watch::Change};

/// All coordinates.
#[derive(Debug, Clone, Default)]
pub struct Coordinates {
    pub(super) entries: OrdMap<Folded<NodeName>, Arc<Entry>>,
    /// Raft index of the last change.
    pub(super) index: u64,
}

impl Coordinates {
    /// Returns the coordinate of a node.
    pub fn get(&self, node: &NodeName) -> Option<&Arc<Entry>> {
        self.entries.get(&FoldedStr::of_written(node))
    }

    /// Returns all coordinates, by node.
    pub fn list(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// Returns the estimated round trip between two nodes in seconds; infinite when unknown.
    pub fn seconds_between(&self, a: &NodeName, b: &NodeName) -> f64 {
        match (self.get(a), self.get(b)) {
            (Some(a), Some(b)) => a.coord.seconds_to(&b.coord),
            _ => f64::INFINITY,
        }
    }

    /// Inserts or replaces a coordinate.
    pub(crate) fn set(&mut self, change: &mut Change<'_>, entry: Entry) {
        self.entries.insert(Folded::of_written(&entry.node), Arc::new(entry));
        self.index = change.index;
        change.touch(Topic::Coordinates);
    }

    /// Removes the coordinate of a node.
    pub(crate) fn remove(&mut self, change: &mut Change<'_>, node: &NodeName) {
        if self.entries.remove(&FoldedStr::of_written(node)).is_some() {
            self.index = change.index;
            change.touch(Topic::Coordinates);
        }
    }
}
