//! Transactions (Consul "Transactions HTTP API").

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    catalog::{Node, NodeService},
    health::HealthCheck,
    kv::value,
};
use crate::NodeName;

/// The most operations of one transaction.
pub const MAX_OPERATIONS: usize = 128;

/// One operation of a transaction's body; one of its fields is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TxnOp {
    /// On a key.
    #[serde(rename = "KV", skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvTxnOp>,
    /// On a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeTxnOp>,
    /// On an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceTxnOp>,
    /// On a check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckTxnOp>,
}

/// An operation on a key or on the keys under a prefix.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct KvTxnOp {
    /// What to do: `set`, `cas`, `lock` and so on.
    pub verb: String,
    /// The key or prefix.
    pub key: String,
    /// The value to write; base64.
    #[serde(with = "value")]
    pub value: Bytes,
    /// The client's number to write.
    pub flags: u64,
    /// The `ModifyIndex` that the key must have.
    pub index: u64,
    /// The session that locks or unlocks.
    pub session: String,
}

impl std::fmt::Debug for KvTxnOp {
    /// Values stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple(&self.verb).field(&self.key).finish()
    }
}

/// An operation on a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeTxnOp {
    /// What to do: `get`, `set`, `cas`, `delete`, `delete-cas`.
    pub verb: String,
    /// The node; its `ModifyIndex` is what `cas` compares.
    pub node: Node,
}

/// An operation on an instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceTxnOp {
    /// What to do.
    pub verb: String,
    /// The node it is on.
    pub node: NodeName,
    /// The instance.
    pub service: NodeService,
}

/// An operation on a check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckTxnOp {
    /// What to do.
    pub verb: String,
    /// The check.
    pub check: HealthCheck,
}

/// Why an operation failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TxnError {
    /// The operation's place in the transaction, from 0.
    pub op_index: u64,
    /// The reason, for people.
    pub what: String,
}
