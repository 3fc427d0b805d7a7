//! The types that the Raft engine is instantiated with.
//!
//! A log entry carries a command as the bytes its proposer encoded. They are stored, replicated and
//! kept in memory as they are, and decoded once, when applied. A server can therefore store and
//! replicate an entry that its version does not know, and stops only where it would have to skip
//! it.

use std::{fmt, net::SocketAddr};

use bytes::Bytes;
use lictor_core::fsm::Response;
use openraft::{alias, impls::leader_id_std};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

openraft::declare_raft_types!(
    /// What is replicated, and between whom. One leader per term, as in the Raft paper.
    pub(super) TypeConfig:
        D = Proposal,
        R = Response,
        NodeId = ServerId,
        Node = ServerNode,
        LeaderId = leader_id_std::LeaderId<u64, ServerId>,
);

pub(super) type Entry = alias::EntryOf<TypeConfig>;
pub(super) type LogId = alias::LogIdOf<TypeConfig>;
pub(super) type Vote = alias::VoteOf<TypeConfig>;
pub(super) type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub(super) type Membership = openraft::Membership<ServerId, ServerNode>;
pub(super) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;

/// A server's identity in the log: the UUID of its agent, never reused after its data is lost.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub(super) struct ServerId(pub(super) Uuid);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A server as the membership describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServerNode {
    /// Node name.
    pub(super) name: String,
    /// Server RPC address.
    pub(super) address: SocketAddr,
}

/// Where a server listens for peers, and since when in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerEndpoint {
    pub(super) address: SocketAddr,
    pub(super) started: u64,
}

/// An encoded [`Command`](lictor_core::fsm::Command). Prints only its size: keys and values are
/// secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proposal(pub(super) Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Servers for the engine's own acceptance suite.
#[cfg(test)]
mod suite {
    use super::{ServerId, ServerNode, Uuid};

    impl From<u64> for ServerId {
        fn from(number: u64) -> Self {
            Self(Uuid::from_u128(number.into()))
        }
    }

    impl Default for ServerNode {
        fn default() -> Self {
            Self { name: "server".to_owned(), address: ([127, 0, 0, 1], 8300).into() }
        }
    }
}
