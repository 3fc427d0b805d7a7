//! A member as everything above the pool sees it: a name, an address, a status, tags.
//!
//! Source: Consul's member tags (serf tags of `agent/consul`).

use std::{collections::BTreeMap, net::SocketAddr};

use lictor_api::contract::{ROLE_SERVER, TAG_ROLE};
use serf::types::{MemberStatus as EngineStatus, SmolStr};

pub(super) type EngineMember = serf::types::Member<SmolStr, SocketAddr>;

/// The tag with the time of an agent's start.
pub(super) const STARTED_TAG: &str = "st";

/// State of a member in the pool. The numbers are Consul's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum MemberStatus {
    /// Answers probes.
    Alive = 1,
    /// Has announced that it leaves and still gossips.
    Leaving = 2,
    /// Left by itself or by `force-leave`.
    Left = 3,
    /// No longer answers probes and did not leave.
    Failed = 4,
}

// === impl MemberStatus ===

impl MemberStatus {
    /// Returns the word that `members` prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }

    /// Returns the number of the HTTP API.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// One member of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name; unique in the pool.
    pub name: String,
    /// Gossip address.
    pub address: SocketAddr,
    /// State as this agent sees it.
    pub status: MemberStatus,
    /// Tags that the member announces about itself.
    pub tags: BTreeMap<String, String>,
    /// Protocol version of the membership layer.
    pub protocol: u8,
    /// Protocol version of events and queries.
    pub delegate: u8,
}

// === impl Member ===

impl Member {
    /// Returns the tag's value; empty if there is none.
    pub fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }

    /// Returns the UUID of the agent behind the name.
    pub fn node_id(&self) -> &str {
        self.tag("id")
    }

    /// Returns whether the member is a server.
    pub fn is_server(&self) -> bool {
        self.tag(TAG_ROLE) == ROLE_SERVER
    }

    /// Returns whether the member answers probes.
    pub fn is_alive(&self) -> bool {
        self.status == MemberStatus::Alive
    }

    /// Returns the member's datacenter.
    pub fn datacenter(&self) -> &str {
        self.tag("dc")
    }

    /// Returns the port of its server RPC; `None` for clients.
    pub fn server_port(&self) -> Option<u16> {
        self.is_server().then(|| self.tag("port").parse().ok()).flatten()
    }

    /// Returns the address of its server RPC; `None` for clients.
    pub fn server_address(&self) -> Option<SocketAddr> {
        self.server_port().map(|port| SocketAddr::new(self.address.ip(), port))
    }

    /// Returns when the agent was started, in milliseconds since 1970; 0 if it does not say.
    pub fn started(&self) -> u64 {
        self.tag(STARTED_TAG).parse().unwrap_or(0)
    }

    /// Returns the version that the agent runs.
    pub fn build(&self) -> &str {
        self.tag("build")
    }
}

impl From<&EngineMember> for Member {
    fn from(member: &EngineMember) -> Self {
        Self {
            name: member.node().id().to_string(),
            address: *member.node().address(),
            status: match member.status() {
                EngineStatus::Leaving => MemberStatus::Leaving,
                EngineStatus::Left => MemberStatus::Left,
                EngineStatus::Failed => MemberStatus::Failed,
                _ => MemberStatus::Alive,
            },
            tags: member.tags().iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            protocol: (*member.memberlist_protocol_version()).into(),
            delegate: (*member.memberlist_delegate_version()).into(),
        }
    }
}
