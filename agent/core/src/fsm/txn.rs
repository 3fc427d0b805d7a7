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
use crate::state::{State, watch::Touched};

/// What to do with a node, an instance or a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CatalogVerb {
    /// Read it.
    Get,
    /// Write it.
    Set,
    /// Write it if its `ModifyIndex` is as given; 0 means that it must not exist.
    Cas,
    /// Delete it.
    Delete,
    /// Delete it if its `ModifyIndex` is as given.
    DeleteCas,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Operation {
    /// On a key.
    Kv(KvOperation),
    /// On a node.
    Node {
        /// What to do.
        verb: CatalogVerb,
        /// The node, as it is to be.
        node: Box<Node>,
    },
    /// On an instance.
    Service {
        /// What to do.
        verb: CatalogVerb,
        /// Its node.
        node: NodeName,
        /// The instance, as it is to be.
        service: Box<NodeService>,
    },
    /// On a check.
    Check {
        /// What to do.
        verb: CatalogVerb,
        /// The check, as it is to be.
        check: Box<HealthCheck>,
    },
}

/// What one operation read or wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TxnResult {
    /// A key; with its value only if it was asked for.
    Kv(Box<KvPair>),
    /// A node.
    Node(Box<Node>),
    /// An instance.
    Service(Box<NodeService>),
    /// A check.
    Check(Box<HealthCheck>),
}

/// What a transaction did: it changed something only if there are no errors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TxnOutcome {
    /// What the operations read and wrote, in order; empty when one failed.
    pub results: Vec<TxnResult>,
    /// Which operations failed, and why.
    pub errors: Vec<TxnError>,
}

impl Operation {
    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Kv(operation) => operation.verb.is_read(),
            Self::Node { verb, .. } | Self::Service { verb, .. } | Self::Check { verb, .. } => {
                *verb == CatalogVerb::Get
            }
        }
    }
}

/// Carries out operations that only read.
pub fn read(state: &State, operations: &[Operation]) -> TxnOutcome {
    let reads = operations.iter().filter(|operation| operation.is_read());
    run(&mut state.clone(), 0, reads.cloned(), &mut Touched::default())
}

pub(super) fn apply(
    state: &mut State,
    index: u64,
    operations: Vec<Operation>,
    touched: &mut Touched,
) -> Response {
    let (mut draft, mut changes) = (state.clone(), Touched::default());
    let outcome = run(&mut draft, index, operations.into_iter(), &mut changes);
    if outcome.errors.is_empty() {
        *state = draft;
        touched.merge(changes);
    }
    Response::Transaction(outcome)
}

fn run(
    draft: &mut State,
    index: u64,
    operations: impl Iterator<Item = Operation>,
    touched: &mut Touched,
) -> TxnOutcome {
    let mut outcome = TxnOutcome::default();
    for (op_index, operation) in (0..).zip(operations) {
        let one = |result: Option<TxnResult>| result.into_iter().collect();
        let done: Result<Vec<TxnResult>, String> = match operation {
            Operation::Kv(operation) => kv::run(draft, index, operation, touched),
            Operation::Node { verb, node } => {
                catalog::node(draft, index, verb, *node, touched).map(one)
            }
            Operation::Service { verb, node, service } => {
                catalog::service(draft, index, verb, &node, *service, touched).map(one)
            }
            Operation::Check { verb, check } => {
                catalog::check(draft, index, verb, *check, touched).map(one)
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

/// Whether something may be written that must have the `ModifyIndex` `expected`; 0 means that it
/// must not exist.
fn may_write(expected: u64, current: Option<u64>) -> bool {
    current.unwrap_or(0) == expected
}
