//! Admission: which members may enter the pool, and who holds this agent's name.
//!
//! The engine asks before it accepts the announcement of an alive member. Two things are decided
//! here: a member of another datacenter stays out of the LAN pool, and when another agent uses this
//! agent's name, the newer of the two keeps it.
//!
//! INVARIANT: of two agents with one name, the one that was started later keeps it; the other stops
//! gossiping and does not rejoin by itself, so that they never take turns. While the previous
//! holder still counts as alive elsewhere, the newer one retries. A host that was created again is
//! therefore accepted as soon as its predecessor has been found dead. The start time is the tag
//! `st`, in milliseconds; clocks that differ only make the newcomer wait until the previous holder
//! has failed.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use lictor_api::contract::{ROLE_SERVER, TAG_ROLE};
use serf::delegate::MergeDelegate;
use serf::types::SmolStr;
use tokio::sync::watch;

use super::{
    Profile,
    member::{EngineMember, STARTED_TAG},
};

/// Another agent that uses this agent's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameConflict {
    /// Gossip address of the other agent.
    pub address: SocketAddr,
    /// UUID of the other agent.
    pub node_id: String,
    /// When the other agent was started, in milliseconds since 1970; 0 if it does not say.
    pub started: u64,
}

/// Why a member is refused. The engine reports the text to the member.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("member {name:?} is of datacenter {datacenter:?}")]
    Datacenter { name: String, datacenter: String },
    #[error("member {name:?} is not a server")]
    NotAServer { name: String },
}

/// This agent as a member of the pool, and the last conflict over its name.
#[derive(Debug)]
pub(super) struct LocalMember {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) profile: Profile,
    pub(super) datacenter: String,
    pub(super) started: u64,
    conflict: Mutex<Option<NameConflict>>,
    superseded: watch::Sender<Option<NameConflict>>,
}

// === impl LocalMember ===

impl LocalMember {
    pub(super) fn new(
        name: &str,
        address: SocketAddr,
        profile: Profile,
        datacenter: &str,
        started: u64,
    ) -> Self {
        Self {
            name: name.to_owned(),
            address,
            profile,
            datacenter: datacenter.to_owned(),
            started,
            conflict: Mutex::default(),
            superseded: watch::Sender::new(None),
        }
    }

    /// Takes the conflict that was recorded since the last call.
    pub(super) fn take_conflict(&self) -> Option<NameConflict> {
        self.conflict.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns a receiver of the newer agent that took this agent's name.
    pub(super) fn superseded(&self) -> watch::Receiver<Option<NameConflict>> {
        self.superseded.subscribe()
    }

    /// Records another agent of this name; it supersedes this one if it was started later.
    fn record_conflict(&self, member: &EngineMember) {
        let tag = |name: &str| member.tags().get(name).map_or("", |value| value.as_str());
        let conflict = NameConflict {
            address: *member.node().address(),
            node_id: tag("id").to_owned(),
            started: tag(STARTED_TAG).parse().unwrap_or(0),
        };
        if conflict.started > self.started {
            self.superseded.send_if_modified(|superseded| {
                let first = superseded.is_none();
                superseded.get_or_insert_with(|| conflict.clone());
                first
            });
        }
        *self.conflict.lock().unwrap_or_else(PoisonError::into_inner) = Some(conflict);
    }

    /// Decides whether a member may enter.
    fn examine(&self, member: &EngineMember) -> Result<(), Refused> {
        let tag = |name: &str| member.tags().get(name).map_or("", |value| value.as_str());
        let name = member.node().id();
        let left = *member.status() == serf::types::MemberStatus::Left;
        match self.profile {
            Profile::Lan if !left && tag("dc") != self.datacenter => {
                let datacenter = tag("dc").to_owned();
                return Err(Refused::Datacenter { name: name.to_string(), datacenter });
            }
            Profile::Wan if !left && tag(TAG_ROLE) != ROLE_SERVER => {
                return Err(Refused::NotAServer { name: name.to_string() });
            }
            _ => {}
        }
        if !left && name.as_str() == self.name && *member.node().address() != self.address {
            self.record_conflict(member);
        }
        Ok(())
    }
}

/// Answers the engine from [`LocalMember`].
pub(super) struct Gate(pub(super) Arc<LocalMember>);

impl MergeDelegate for Gate {
    type Error = Refused;
    type Id = SmolStr;
    type Address = SocketAddr;

    async fn notify_merge(&self, members: Arc<[EngineMember]>) -> Result<(), Refused> {
        members.iter().try_for_each(|member| self.0.examine(member))
    }
}
