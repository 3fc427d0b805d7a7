//! Membership: founding a cluster, adding and removing servers, transferring leadership.
//!
//! Only the leader changes the membership, one change at a time; a server is first a learner and
//! becomes a voter when it has caught up (autopilot decides when).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Duration,
};

use openraft::{
    ChangeMembers, Instant, ServerState,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, RaftError},
};
use tokio::time::{self, timeout};

use super::{
    Consensus, ConsensusError, Peer,
    types::{ServerId, ServerNode, StoredMembership, TypeConfig},
};

/// How long a change of the membership may take; longer than an election.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a leadership transfer may take before it is tried again.
const TRANSFER_TIMEOUT: Duration = Duration::from_millis(1000);
/// Attempts to transfer leadership.
const MAX_TRANSFER_ATTEMPTS: usize = 3;

/// Replication progress of a server, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Node ID.
    pub node_id: String,
    /// Index of the last entry known to be in its log; `None` if unknown.
    pub matched: Option<u64>,
    /// How long ago it last answered this leader; `None` if it never did.
    pub last_contact: Option<Duration>,
}

/// Returns whether a server votes before and after the change of voters that may be in progress.
pub(super) fn is_settled_voter(membership: &StoredMembership, id: &ServerId) -> bool {
    membership.get_joint_config().iter().all(|config| config.contains(id))
}

impl Consensus {
    /// Returns whether this server has data or has agreed to found a cluster.
    pub fn has_data(&self) -> bool {
        self.membership_known() || self.log.last().is_some()
    }

    /// Founds a cluster of exactly these servers, this one among them. All of them are asked to
    /// found the same; the winner of the first election leads.
    ///
    /// # Errors
    /// [`ConsensusError::Refused`] if this server has data already, or an ID is not a UUID.
    pub async fn found(&self, servers: &[Peer]) -> Result<(), ConsensusError> {
        let members =
            servers.iter().map(to_member).collect::<Result<BTreeMap<_, _>, ConsensusError>>()?;
        if !members.contains_key(self.engine.node_id()) {
            return Err(ConsensusError::Refused("this server is not among them".to_owned()));
        }
        self.engine.initialize(members).await.map_err(|error| match error {
            RaftError::Fatal(_) => ConsensusError::ShuttingDown,
            RaftError::APIError(error) => ConsensusError::Refused(error.to_string()),
        })
    }

    /// Adds a server as a learner, or updates its name and address.
    ///
    /// # Errors
    /// [`ConsensusError`].
    pub async fn add_learner(&self, peer: &Peer) -> Result<(), ConsensusError> {
        let (id, node) = to_member(peer)?;
        let known = self.peers().iter().any(|known| known.node_id == peer.node_id);
        let nodes = BTreeMap::from([(id, node)]);
        let change =
            if known { ChangeMembers::SetNodes(nodes) } else { ChangeMembers::AddNodes(nodes) };
        self.change(change, true).await
    }

    /// Promotes a learner to a voter.
    ///
    /// # Errors
    /// [`ConsensusError`].
    pub async fn promote(&self, node_id: &str) -> Result<(), ConsensusError> {
        let id = to_id(node_id)?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await
    }

    /// Removes a server. A leader that removes itself transfers leadership first.
    ///
    /// # Errors
    /// [`ConsensusError`].
    pub async fn remove(&self, node_id: &str) -> Result<(), ConsensusError> {
        let id = to_id(node_id)?;
        let membership = self.engine.server_metrics().borrow_watched().membership_config.clone();
        let is_voter = membership.voter_ids().any(|voter| voter == id);
        if is_voter {
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id])), false).await?;
        }
        let is_left = self.peers().iter().any(|peer| peer.node_id == node_id);
        if is_left {
            self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), false).await?;
        }
        Ok(())
    }

    /// Transfers leadership to a voter (`None`: to the one with the most complete log), and returns
    /// once another server leads.
    ///
    /// # Errors
    /// [`ConsensusError::NoLeader`] if this server does not lead,
    /// [`ConsensusError::Refused`] if no other server took over.
    pub async fn transfer_leader(&self, to: Option<&str>) -> Result<(), ConsensusError> {
        let mut leader = self.leader.clone();
        for _ in 0..MAX_TRANSFER_ATTEMPTS {
            if !self.is_engine_leader() {
                return Err(ConsensusError::NoLeader);
            }
            let target = match to {
                Some(id) => to_id(id)?,
                None => self.best_successor().ok_or_else(|| {
                    ConsensusError::Refused("there is no other voter that is up to date".to_owned())
                })?,
            };
            // From here on a vote may be granted before the lease has expired.
            let term = self.engine.metrics().borrow_watched().current_term;
            self.handed_over.store(term, Ordering::Release);
            let asked = self.engine.trigger().transfer_leader(target).await;
            asked.map_err(|_| ConsensusError::ShuttingDown)?;
            let other = leader.wait_for(|now| now.as_ref().is_some_and(|now| !now.is_self));
            if timeout(TRANSFER_TIMEOUT, other).await.is_ok() {
                return Ok(());
            }
        }
        Err(ConsensusError::Refused("no other server took over".to_owned()))
    }

    /// Returns the progress of every other server; empty unless this server leads.
    pub fn progress(&self) -> Vec<Progress> {
        let metrics = self.engine.metrics();
        let metrics = metrics.borrow_watched();
        let (Some(replication), Some(heartbeat)) = (&metrics.replication, &metrics.heartbeat)
        else {
            return Vec::new();
        };
        let progress = |(id, matched): (&ServerId, &Option<super::types::LogId>)| Progress {
            node_id: id.to_string(),
            matched: matched.as_ref().map(|log_id| log_id.index),
            last_contact: heartbeat.get(id).copied().flatten().map(|at| at.elapsed()),
        };
        replication.iter().map(progress).collect()
    }

    /// Returns the index of the last entry in this server's log.
    pub fn last_index(&self) -> u64 {
        self.log.last().map_or(0, |log_id| log_id.index)
    }

    /// Returns the index of the last entry that is visible here.
    pub fn applied_index(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Returns the Raft term.
    pub fn term(&self) -> u64 {
        self.engine.metrics().borrow_watched().current_term
    }

    pub(super) fn is_engine_leader(&self) -> bool {
        self.engine.server_metrics().borrow_watched().state == ServerState::Leader
    }

    fn membership_known(&self) -> bool {
        let metrics = self.engine.server_metrics();
        metrics.borrow_watched().membership_config.nodes().next().is_some()
    }

    fn best_successor(&self) -> Option<ServerId> {
        let voters: BTreeSet<String> =
            self.peers().into_iter().filter(|peer| peer.voter).map(|peer| peer.node_id).collect();
        let own = self.engine.node_id().to_string();
        let mut candidates = self.progress();
        candidates.retain(|peer| voters.contains(&peer.node_id) && peer.node_id != own);
        let fresh = |peer: &Progress| peer.last_contact.is_some_and(|ago| ago < TRANSFER_TIMEOUT);
        let best = candidates.iter().max_by_key(|peer| (fresh(peer), peer.matched))?;
        to_id(&best.node_id).ok()
    }

    async fn change(
        &self,
        change: ChangeMembers<ServerId, ServerNode>,
        retain: bool,
    ) -> Result<(), ConsensusError> {
        let changed = self.engine.change_membership(change, retain);
        match time::timeout(CHANGE_TIMEOUT, changed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refusal(error)),
            Err(_) => Err(ConsensusError::LeadershipLost),
        }
    }
}

fn refusal(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ConsensusError {
    match error {
        RaftError::Fatal(_) => ConsensusError::ShuttingDown,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            ConsensusError::Refused(error.to_string())
        }
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
            ConsensusError::LeadershipLost
        }
        RaftError::APIError(_) => ConsensusError::NoLeader,
    }
}

fn to_id(node_id: &str) -> Result<ServerId, ConsensusError> {
    node_id
        .parse()
        .map(ServerId)
        .map_err(|_| ConsensusError::Refused(format!("server ID {node_id:?} is not a UUID")))
}

fn to_member(peer: &Peer) -> Result<(ServerId, ServerNode), ConsensusError> {
    let node = ServerNode { name: peer.node_name.clone(), address: peer.address };
    Ok((to_id(&peer.node_id)?, node))
}
