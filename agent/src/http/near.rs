//! `?near=`: rows by the estimated round trip from a node, the nearest first.
//!
//! COMPAT: nodes without a coordinate come last, in the order they had; from a node without one
//! nothing is sorted. The estimate is no part of what a blocking query waits for.

use lictor_api::NodeName;
use lictor_core::state::State;

use super::{Context, Request};

/// The node that rows are sorted from.
pub(super) struct Near(Option<NodeName>);

impl Near {
    /// Reads `?near=`; `_agent` is this agent.
    pub(super) fn new(cx: &Context, request: &Request) -> Self {
        Self(request.param("near").filter(|near| !near.is_empty()).map(|near| match near {
            "_agent" => cx.agent.local.node().name.clone(),
            name => NodeName::from(name),
        }))
    }

    /// Sorts rows by their nodes.
    pub(super) fn sort<T>(&self, state: &State, rows: &mut [T], node: impl Fn(&T) -> &NodeName) {
        let Some(near) = &self.0 else { return };
        if state.coordinates.get(near).is_none() {
            return;
        }
        rows.sort_by_cached_key(|row| Seconds(state.coordinates.seconds_between(near, node(row))));
    }
}

/// Seconds in their total order.
#[derive(PartialEq)]
struct Seconds(f64);

impl Eq for Seconds {}

impl PartialOrd for Seconds {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Seconds {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
