//! Transactions: operations carried out in order, all or none (Consul "Transactions HTTP API").
//!
//! INVARIANT: the operations work on a draft of the state, which replaces the state only if every
//! one of them succeeded. An operation after a failed one is carried out too, on the draft, so that
//! all its reasons are told at once.
//!
//! Source of order and wording: Consul's answers; clients print the reasons.

mod catalog;
mod kv;

use lictor_api::{
    NodeName,
    types::{
        catalog::{Node, NodeService},
        health::HealthCheck,
        kv::KvPair,
        txn::TxnError,
    },
};
use serde::{Deserialize, Serialize};

pub use kv::{KvOperation, KvVerb};

use super::Response;
use crate::state::{
    State,
    watch::{Change, Touched},
};

/// Verb of an operation on a node, an instance or a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CatalogVerb {
    /// Read the row.
    Get,
    /// Write the row.
    Set,
    /// Write the row if its `ModifyIndex` is as given; 0 means that it must not exist.
    Cas,
    /// Delete the row.
    Delete,
    /// Delete the row if its `ModifyIndex` is as given.
    DeleteCas,
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Operation {
    /// An operation on a key.
    Kv(KvOperation),
    /// An operation on a node.
    Node {
        /// Verb of the operation.
        verb: CatalogVerb,
        /// The node, as it is to be written.
        node: Box<Node>,
    },
    /// An operation on an instance.
    Service {
        /// Verb of the operation.
        verb: CatalogVerb,
        /// Node of the instance.
        node: NodeName,
        /// The instance, as it is to be written.
        service: Box<NodeService>,
    },
    /// An operation on a check.
    Check {
        /// Verb of the operation.
        verb: CatalogVerb,
        /// The check, as it is to be written.
        check: Box<HealthCheck>,
    },
}

/// Row that an operation read or wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TxnResult {
    /// A pair; with its value only for reads.
    Kv(Box<KvPair>),
    /// A node.
    Node(Box<Node>),
    /// An instance.
    Service(Box<NodeService>),
    /// A check.
    Check(Box<HealthCheck>),
}

/// Result of a transaction. It changed something only if there are no errors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TxnOutcome {
    /// Rows that the operations read and wrote, in order; empty if one failed.
    pub results: Vec<TxnResult>,
    /// Operations that failed, with the reason.
    pub errors: Vec<TxnError>,
}

impl Operation {
    /// Returns whether the operation changes nothing.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Kv(operation) => operation.verb.is_read(),
            Self::Node { verb, .. } | Self::Service { verb, .. } | Self::Check { verb, .. } => {
                *verb == CatalogVerb::Get
            }
        }
    }
}

/// Carries out operations that only read. They run on a copy, so that even an operation that
/// [`Operation::is_read`] took for a read by mistake could not change `state`.
pub fn read(state: &State, operations: &[Operation]) -> TxnOutcome {
    let reads = operations.iter().filter(|operation| operation.is_read());
    let touched = &mut Touched::default();
    run(&mut state.clone(), &mut Change::new(0, touched), reads.cloned())
}

pub(super) fn apply(
    state: &mut State,
    change: &mut Change<'_>,
    operations: Vec<Operation>,
) -> Response {
    let (mut draft, mut touched) = (state.clone(), Touched::default());
    let draft_change = &mut Change::new(change.index, &mut touched);
    let outcome = run(&mut draft, draft_change, operations.into_iter());
    if outcome.errors.is_empty() {
        *state = draft;
        change.touched.merge(touched);
    }
    Response::Transaction(outcome)
}

fn run(
    draft: &mut State,
    change: &mut Change<'_>,
    operations: impl Iterator<Item = Operation>,
) -> TxnOutcome {
    let mut outcome = TxnOutcome::default();
    for (op_index, operation) in (0..).zip(operations) {
        let one = |result: Option<TxnResult>| result.into_iter().collect();
        let done: Result<Vec<TxnResult>, String> = match operation {
            Operation::Kv(operation) => kv::run(draft, change, operation),
            Operation::Node { verb, node } => catalog::node(draft, change, verb, *node).map(one),
            Operation::Service { verb, node, service } => {
                catalog::service(draft, change, verb, &node, *service).map(one)
            }
            Operation::Check { verb, check } => {
                catalog::check(draft, change, verb, *check).map(one)
            }
        };
        match done {
            Ok(results) => outcome.results.extend(results),
            Err(what) => outcome.errors.push(TxnError { op_index, what }),
        }
    }
    if !outcome.errors.is_empty() {
        outcome.results.clear();
    }
    outcome
}

/// Returns whether a row may be written that must have the `ModifyIndex` `expected`; 0 means that
/// it must not exist.
fn may_write(expected: u64, current: Option<u64>) -> bool {
    current.unwrap_or(0) == expected
}
