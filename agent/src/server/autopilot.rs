//! Autopilot: who takes part in consensus, decided from what gossip and replication say (Consul
//! "Autopilot").
//!
//! [`health`] judges each server, [`plan`] names the next change of the membership; both are pure.
//! Changes are made one at a time, each judged anew, because each changes what the next may be.

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

/// What the leader's duty found last; `None` on servers that do not lead.
pub type Reports = ArcSwapOption<Report>;

/// How the servers are at one moment.
#[derive(Debug, Clone)]
pub struct Report {
    /// The leader's node ID.
    pub leader: String,
    /// The Raft term.
    pub term: u64,
    /// When.
    pub at: Timestamp,
    /// Every member of Raft.
    pub servers: Vec<Health>,
}

impl Report {
    /// Whether all servers are healthy.
    pub fn is_healthy(&self) -> bool {
        self.servers.iter().all(|server| server.healthy)
    }

    /// How many more voters may fail without an outage.
    pub fn failure_tolerance(&self) -> usize {
        health::failure_tolerance(&self.servers)
    }
}

/// A voter that answered the leader this recently can be counted on for a quorum. Far longer than
/// a heartbeat: a busy machine is not a dead one.
pub const SILENT_AFTER: Duration = Duration::from_secs(2);

/// How gossip sees a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Liveness {
    /// It answers.
    Alive,
    /// It does not.
    Failed,
    /// It said that it leaves.
    Left,
    /// Gossip does not know it.
    #[default]
    Unknown,
}

impl Liveness {
    /// Consul's word for it.
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
            // Who says goodbye does not come back under the same data.
            MemberStatus::Leaving | MemberStatus::Left => Self::Left,
            MemberStatus::Failed => Self::Failed,
        }
    }
}

/// A server of this datacenter as gossip sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Node ID.
    pub node_id: String,
    /// Node name.
    pub node_name: String,
    /// Server RPC address.
    pub address: SocketAddr,
    /// Whether it answers.
    pub liveness: Liveness,
    /// The version it says it is.
    pub version: String,
}

/// What the leader knows of a server's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contact {
    /// The last entry that it has; `None` if unknown.
    pub matched: Option<u64>,
    /// How long ago it answered; `None`: never to this leader.
    pub ago: Option<Duration>,
}

impl Contact {
    /// Whether it can be counted on for a quorum.
    pub fn answers(&self) -> bool {
        self.ago.is_some_and(|ago| ago < SILENT_AFTER)
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
    /// What is known of each peer's log; the leader is left out.
    pub contacts: BTreeMap<String, Contact>,
}

impl View {
    /// The peer's contact; the leader is in contact with itself.
    pub fn contact(&self, node_id: &str) -> Contact {
        if node_id == self.this {
            return Contact { matched: Some(self.last_index), ago: Some(Duration::ZERO) };
        }
        self.contacts.get(node_id).copied().unwrap_or_default()
    }

    /// What gossip says about a node ID; alive wins if it says several things.
    pub fn member(&self, node_id: &str) -> Option<&Member> {
        let of_id = || self.members.iter().filter(|member| member.node_id == node_id);
        of_id().find(|member| member.liveness == Liveness::Alive).or_else(|| of_id().next())
    }

    /// How gossip sees a node ID. Whoever judges is alive.
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

/// The servers of `datacenter` among the members of the LAN pool.
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

/// Voters that a quorum of `voters` needs.
pub fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}
