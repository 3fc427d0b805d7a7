//! A member as everything above the pool sees it: a name, an address, a status, tags.
//!
//! Source: Consul's member tags (serf tags of `agent/consul`).

use std::{collections::BTreeMap, net::SocketAddr};

use serf::types::MemberStatus as EngineStatus;

use super::{engine::EngineMember, gate::STARTED};

/// How a member stands in the pool. The numbers are Consul's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum MemberStatus {
    /// Answers.
    Alive = 1,
    /// Is about to leave.
    Leaving = 2,
    /// Left of its own accord, or was made to.
    Left = 3,
    /// Does not answer.
    Failed = 4,
}

// === impl MemberStatus ===

impl MemberStatus {
    /// As `members` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }

    /// As the HTTP API has it.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// One member of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Unique in the pool.
    pub name: String,
    /// Where it gossips.
    pub address: SocketAddr,
    /// How it stands.
    pub status: MemberStatus,
    /// What it says about itself.
    pub tags: BTreeMap<String, String>,
    /// The protocol of the membership layer.
    pub protocol: u8,
    /// The protocol of events and queries.
    pub delegate: u8,
}

// === impl Member ===

impl Member {
    /// The tag's value, empty if there is none.
    pub fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }

    /// The UUID of the agent behind the name.
    pub fn node_id(&self) -> &str {
        self.tag("id")
    }

    /// Whether it is a server.
    pub fn is_server(&self) -> bool {
        self.tag("role") == "consul"
    }

    /// Whether it answers.
    pub fn is_alive(&self) -> bool {
        self.status == MemberStatus::Alive
    }

    /// Its datacenter.
    pub fn datacenter(&self) -> &str {
        self.tag("dc")
    }

    /// Where its server RPC listens; `None` for clients.
    pub fn server_port(&self) -> Option<u16> {
        self.is_server().then(|| self.tag("port").parse().ok()).flatten()
    }

    /// Where its server RPC is reached; `None` for clients.
    pub fn server_address(&self) -> Option<SocketAddr> {
        self.server_port().map(|port| SocketAddr::new(self.address.ip(), port))
    }

    /// When it was started, in milliseconds since 1970; 0 if it does not say.
    pub fn started(&self) -> u64 {
        self.tag(STARTED).parse().unwrap_or(0)
    }

    /// The version it runs.
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
