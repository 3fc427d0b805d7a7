//! Query options and answer metadata shared by every read: index, wait, consistency, datacenter.
//!
//! Source: Consul's "Consistency modes" and "Blocking queries" pages.

use std::time::Duration;

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Answered by the leader under its lease.
    #[default]
    Default,
    /// Answered after the leader confirmed its role with a quorum (ReadIndex).
    Consistent,
    /// Answered by any server, however far behind.
    Stale,
}

/// What a client may ask of a read besides its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryOptions {
    /// Answer only when the resource's index is greater than this; 0 answers at once.
    pub index: u64,
    /// How long to block; `None` is the server's default (5 minutes), capped at 10 minutes.
    pub wait: Option<Duration>,
    /// How fresh the answer must be.
    pub consistency: Consistency,
    /// With a stale read: ask the leader if this server's copy is older.
    pub max_stale: Option<Duration>,
    /// Another datacenter, or `None` for the agent's own.
    pub datacenter: Option<String>,
    /// A filter expression over the answer's rows.
    pub filter: Option<String>,
}

/// What an answer says about itself in its headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryMeta {
    /// `X-Consul-Index`; never 0 on the wire.
    pub index: u64,
    /// `X-Consul-LastContact`, in milliseconds.
    pub last_contact_ms: u64,
    /// `X-Consul-KnownLeader`.
    pub known_leader: bool,
    /// `X-Consul-Effective-Consistency`.
    pub consistency: Consistency,
}
