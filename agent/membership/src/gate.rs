//! Who may come in, and who owns this agent's name.
//!
//! The engine shows every announcement of an alive member before it believes it. Two things are
//! decided here: a member of another datacenter stays out of the LAN pool, and when somebody else
//! uses this agent's name, the newer of the two keeps it.
//!
//! INVARIANT: of two agents with one name, the one that was started later keeps it; the other stops
//! gossiping and does not come back by itself, so that they never take turns. While the elder still
//! counts as alive elsewhere, the newer one keeps asking. A host that was created again is therefore
//! welcome as soon as its predecessor has been found dead. The start time is the tag `st`, in
//! milliseconds; clocks that differ only make the newcomer wait for the elder's end.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use serf::delegate::MergeDelegate;
use serf::types::SmolStr;
use tokio::sync::watch;

use super::{Profile, engine::EngineMember};

/// The tag with the time of an agent's start.
pub(super) const STARTED: &str = "st";

/// Somebody else who uses this agent's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namesake {
    /// Where it gossips.
    pub address: SocketAddr,
    /// Its agent's UUID.
    pub node_id: String,
    /// When it was started, in milliseconds.
    pub started: u64,
}

/// Why a member is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("member {name:?} is of datacenter {datacenter:?}")]
    Datacenter { name: String, datacenter: String },
    #[error("member {name:?} is not a server")]
    NotAServer { name: String },
}

/// What this agent is known as, and whom it met under the same name.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) profile: Profile,
    pub(super) datacenter: String,
    pub(super) started: u64,
    met: Mutex<Option<Namesake>>,
    displaced: watch::Sender<Option<Namesake>>,
}

// === impl Own ===

impl Own {
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
            met: Mutex::default(),
            displaced: watch::Sender::new(None),
        }
    }

    /// Takes the namesake that was met since the last call.
    pub(super) fn take_met(&self) -> Option<Namesake> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Holds the one that took this agent's name.
    pub(super) fn displaced(&self) -> watch::Receiver<Option<Namesake>> {
        self.displaced.subscribe()
    }

    fn meet(&self, member: &EngineMember) {
        let tag = |name: &str| member.tags().get(name).map_or("", |value| value.as_str());
        let namesake = Namesake {
            address: *member.node().address(),
            node_id: tag("id").to_owned(),
            started: tag(STARTED).parse().unwrap_or(0),
        };
        if namesake.started > self.started {
            self.displaced.send_if_modified(|displaced| {
                let first = displaced.is_none();
                displaced.get_or_insert_with(|| namesake.clone());
                first
            });
        }
        *self.met.lock().unwrap_or_else(PoisonError::into_inner) = Some(namesake);
    }

    fn examine(&self, member: &EngineMember) -> Result<(), Refused> {
        let tag = |name: &str| member.tags().get(name).map_or("", |value| value.as_str());
        let name = member.node().id();
        let left = *member.status() == serf::types::MemberStatus::Left;
        match self.profile {
            Profile::Lan if !left && tag("dc") != self.datacenter => {
                let datacenter = tag("dc").to_owned();
                return Err(Refused::Datacenter { name: name.to_string(), datacenter });
            }
            Profile::Wan if !left && tag("role") != "consul" => {
                return Err(Refused::NotAServer { name: name.to_string() });
            }
            _ => {}
        }
        if !left && name.as_str() == self.name && *member.node().address() != self.address {
            self.meet(member);
        }
        Ok(())
    }
}

/// The engine's end of [`Own`].
pub(super) struct Gate(pub(super) Arc<Own>);

impl MergeDelegate for Gate {
    type Error = Refused;
    type Id = SmolStr;
    type Address = SocketAddr;

    async fn notify_merge(&self, members: Arc<[EngineMember]>) -> Result<(), Refused> {
        members.iter().try_for_each(|member| self.0.examine(member))
    }
}
