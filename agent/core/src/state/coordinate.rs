//! The table of network coordinates, by node.
//!
//! A node's coordinate goes with the node; one of a node that is not there is not kept.

use std::sync::Arc;

use imbl::OrdMap;
use lictor_api::{NodeName, types::coordinate::Entry};

use super::{Topic, catalog::fold, watch::Touched};

/// Where the nodes are.
#[derive(Debug, Clone, Default)]
pub struct Coordinates {
    pub(super) entries: OrdMap<NodeName, Arc<Entry>>,
    /// Raft index of the last change.
    pub(super) index: u64,
}

impl Coordinates {
    /// Where a node is.
    pub fn get(&self, node: &NodeName) -> Option<&Arc<Entry>> {
        self.entries.get(&fold(node))
    }

    /// All of them, by node.
    pub fn list(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// The estimated round trip between two nodes in seconds; infinite when it is not known.
    pub fn seconds_between(&self, a: &NodeName, b: &NodeName) -> f64 {
        match (self.get(a), self.get(b)) {
            (Some(a), Some(b)) => a.coord.seconds_to(&b.coord),
            _ => f64::INFINITY,
        }
    }

    /// Writes a coordinate.
    pub(crate) fn set(&mut self, index: u64, entry: Entry, touched: &mut Touched) {
        self.entries.insert(fold(&NodeName::from(entry.node.as_str())), Arc::new(entry));
        self.index = index;
        touched.touch(Topic::Coordinates);
    }

    /// Forgets a node.
    pub(crate) fn remove(&mut self, index: u64, node: &NodeName, touched: &mut Touched) {
        if self.entries.remove(&fold(node)).is_some() {
            self.index = index;
            touched.touch(Topic::Coordinates);
        }
    }
}
