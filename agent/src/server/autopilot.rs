//! Autopilot: the membership of consensus, decided from gossip and replication (Consul
//! "Autopilot").
//!
//! [`health`] evaluates each server, [`plan`] returns the next membership change; both are pure.
//! Changes are applied one at a time with a new evaluation before each, because each change affects
//! which ones are safe next.

mod duty;
pub mod health;
pub mod plan;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use lictor_api::CONSUL_VERSION;
use lictor_consensus::Peer;
use lictor_membership::MemberStatus;

pub use duty::{Cluster, run};
use health::Health;

/// The last report of the leader's duty; `None` on servers that do not lead.
pub type Reports = ArcSwapOption<Report>;

/// The health of all servers at one moment.
#[derive(Debug, Clone)]
pub struct Report {
    /// The leader's node ID.
    pub leader: String,
    /// The Raft term.
    pub term: u64,
    /// The time of the evaluation.
    pub at: Timestamp,
    /// Every member of Raft.
    pub servers: Vec<Health>,
}

impl Report {
    /// Returns whether all servers are healthy.
    pub fn is_healthy(&self) -> bool {
        self.servers.iter().all(|server| server.healthy)
    }

    /// Returns how many more voters may fail without an outage.
    pub fn failure_tolerance(&self) -> usize {
        health::failure_tolerance(&self.servers)
    }
}

/// A voter counts toward a quorum when it responded to the leader within this time. Far longer than
/// a heartbeat: a busy machine is not a dead one.
pub const CONTACT_TIMEOUT: Duration = Duration::from_secs(2);

/// A server's status in gossip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Liveness {
    /// It acknowledges probes.
    Alive,
    /// It does not acknowledge probes.
    Failed,
    /// It announced that it leaves.
    Left,
    /// It is not in the pool.
    #[default]
    Unknown,
}

impl Liveness {
    /// Returns Consul's name of the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Failed => "failed",
            Self::Left => "left",
            Self::Unknown => "none",
        }
    }
}

impl From<MemberStatus> for Liveness {
    fn from(status: MemberStatus) -> Self {
        match status {
            MemberStatus::Alive => Self::Alive,
            // A server that left does not return with the same data.
            MemberStatus::Leaving | MemberStatus::Left => Self::Left,
            MemberStatus::Failed => Self::Failed,
        }
    }
}

/// A server of this datacenter in the LAN pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Node ID.
    pub node_id: String,
    /// Node name.
    pub node_name: String,
    /// Server RPC address.
    pub address: SocketAddr,
    /// Its status in gossip.
    pub liveness: Liveness,
    /// The version that it advertises.
    pub version: String,
}

/// The replication progress of a server, as the leader last saw it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contact {
    /// Its match index; `None` if unknown.
    pub matched: Option<u64>,
    /// Time since its last response; `None` if it never responded to this leader.
    pub ago: Option<Duration>,
}

impl Contact {
    /// Returns whether it responded recently enough to count toward a quorum.
    pub fn is_recent(&self) -> bool {
        self.ago.is_some_and(|ago| ago < CONTACT_TIMEOUT)
    }
}

/// The cluster as its leader sees it at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The leader's node ID.
    pub this: String,
    /// The Raft term.
    pub term: u64,
    /// The last entry of the leader's log.
    pub last_index: u64,
    /// The servers of this datacenter in the LAN pool.
    pub members: Vec<Member>,
    /// The members of Raft.
    pub peers: Vec<Peer>,
    /// The replication progress of each peer, without the leader.
    pub contacts: BTreeMap<String, Contact>,
}

impl View {
    /// Returns a peer's contact; the leader is always in contact with itself.
    pub fn contact(&self, node_id: &str) -> Contact {
        if node_id == self.this {
            return Contact { matched: Some(self.last_index), ago: Some(Duration::ZERO) };
        }
        self.contacts.get(node_id).copied().unwrap_or_default()
    }

    /// Returns the member with a node ID; an alive one if there are several.
    pub fn member(&self, node_id: &str) -> Option<&Member> {
        let of_id = || self.members.iter().filter(|member| member.node_id == node_id);
        of_id().find(|member| member.liveness == Liveness::Alive).or_else(|| of_id().next())
    }

    /// Returns the status of a node ID in gossip. The leader itself is always alive.
    pub fn liveness(&self, node_id: &str) -> Liveness {
        if node_id == self.this {
            return Liveness::Alive;
        }
        self.member(node_id).map_or(Liveness::Unknown, |member| member.liveness)
    }

    fn version(&self, node_id: &str) -> String {
        let member = self.member(node_id);
        member.map_or_else(|| CONSUL_VERSION.to_owned(), |member| member.version.clone())
    }

    fn voters(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.voter)
    }
}

/// Returns the servers of `datacenter` among the members of the LAN pool.
pub fn servers(members: &[lictor_membership::Member], datacenter: &str) -> Vec<Member> {
    let server = |member: &lictor_membership::Member| {
        let is_ours = member.is_server() && member.datacenter() == datacenter;
        let address = member.server_address().filter(|_| is_ours)?;
        Some(Member {
            node_id: member.node_id().to_owned(),
            node_name: member.name.clone(),
            address,
            liveness: member.status.into(),
            version: member.build().to_owned(),
        })
    };
    members.iter().filter_map(server).collect()
}

/// Returns the size of a quorum of `voters`.
pub fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}
