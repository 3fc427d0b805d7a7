//! Joining a pool, and taking over this agent's name from its previous holder.
//!
//! Members refuse a second agent of a name while the first still counts as alive. A host that was
//! created again meets its own predecessor that way. The newer agent therefore notifies the
//! previous holder, which then stops ([`super::watch`]), and repeats its announcement until it is
//! accepted.
//!
//! INVARIANT: at most one background retry runs per pool, and it ends with the pool.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::stream::{self, StreamExt};
use memberlist::proto::MaybeResolvedAddress;
use tokio::time::timeout;

use super::{
    Pool,
    error::{ContactError, EngineError, JoinError, sentences},
    gate::NameConflict,
};

/// Attempts of one [`Pool::join`] to be accepted under a name that another address still holds.
const MAX_JOIN_ATTEMPTS: usize = 3;
/// Between two of these attempts.
const JOIN_RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Between two announcements in the background after a join was refused.
const TAKEOVER_INTERVAL: Duration = Duration::from_secs(2);
/// How long notifying the previous holder of the name may take.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(1);
/// Addresses that are contacted at the same time.
const MAX_CONCURRENT_CONTACTS: usize = 16;
/// Members that are contacted per announcement in the background.
const MAX_ANNOUNCED_MEMBERS: usize = 3;

impl Pool {
    /// Exchanges state with the agents at these addresses, and through them meets all members that
    /// they know. Returns how many addresses were contacted; this agent's own address counts.
    ///
    /// # Errors
    /// [`JoinError`]; no agent was contacted, or this agent was not accepted under its name.
    pub async fn join(&self, addresses: &[SocketAddr]) -> Result<usize, JoinError> {
        let own = addresses.iter().filter(|address| **address == self.local_address()).count();
        let others: Vec<_> =
            addresses.iter().filter(|address| **address != self.local_address()).collect();
        if others.is_empty() {
            return Ok(own);
        }
        let mut attempt = 1;
        loop {
            self.0.local.take_conflict();
            let contacted = self.contact(&others).await?;
            self.refresh_members().await;
            let Some(conflict) = self.0.local.take_conflict() else { return Ok(own + contacted) };
            self.notify_previous_holder(&conflict).await;
            if attempt == MAX_JOIN_ATTEMPTS {
                let error = JoinError::NameInUse {
                    name: self.name().to_owned(),
                    node_id: conflict.node_id,
                    address: conflict.address,
                };
                self.retry_until_accepted(&error);
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(JOIN_RETRY_INTERVAL).await;
        }
    }

    /// Notifies the previous holder of this agent's name that it has been superseded. Members
    /// reject this agent while that one looks alive to them, and no other agent can notify it.
    async fn notify_previous_holder(&self, holder: &NameConflict) {
        if holder.started < self.0.local.started {
            let address = MaybeResolvedAddress::resolved(holder.address);
            let joined = timeout(NOTIFY_TIMEOUT, self.0.engine.join(address, true)).await;
            tracing::debug!(address = %holder.address, reached = matches!(joined, Ok(Ok(_))), "notified the previous holder of this name");
        }
    }

    /// Repeats the announcement in the background until other members accept this agent's name.
    fn retry_until_accepted(&self, refusal: &JoinError) {
        if self.0.retrying.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!(target: "agent", "{refusal}");
        let pool = self.clone();
        self.0.tasks.spawn_transient("gossip.takeover", async move {
            // Also after a panic, so that the next refusal is retried.
            let _retrying = Retrying(&pool.0.retrying);
            let accepted = pool.announce_until_accepted();
            tokio::select! {
                () = pool.0.stop.cancelled() => {}
                () = accepted => {
                    tracing::info!(target: "agent", name = pool.name(), "this agent has taken over its node name");
                }
            }
        });
    }

    /// Returns once some members were contacted and none of them named another holder.
    async fn announce_until_accepted(&self) {
        loop {
            tokio::time::sleep(TAKEOVER_INTERVAL).await;
            let members = self.members();
            let others = members.iter().filter(|m| m.is_alive() && m.name != self.name());
            let others: Vec<_> =
                others.map(|member| &member.address).take(MAX_ANNOUNCED_MEMBERS).collect();
            self.0.local.take_conflict();
            let contacted = !others.is_empty() && self.contact(&others).await.is_ok();
            match self.0.local.take_conflict() {
                Some(holder) => self.notify_previous_holder(&holder).await,
                None if contacted => return,
                None => {}
            }
        }
    }

    /// Exchanges state with the agents at these addresses; returns how many took part.
    async fn contact(&self, addresses: &[&SocketAddr]) -> Result<usize, JoinError> {
        if self.0.stop.is_cancelled() {
            return Err(JoinError::Stopped);
        }
        let (mut reached, mut errors) = (Vec::new(), Vec::new());
        let attempts = addresses.iter().map(|address| self.exchange(**address));
        let attempts = attempts.collect::<Vec<_>>();
        let mut attempts = stream::iter(attempts).buffer_unordered(MAX_CONCURRENT_CONTACTS);
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(address) => reached.push(address),
                Err(error) => errors.push(error),
            }
        }
        let Some(first) = reached.first() else { return Err(JoinError::Unreachable(errors)) };
        if !errors.is_empty() {
            tracing::debug!(errors = sentences(&errors), "some addresses could not be joined");
        }
        // Joins once more through serf, which broadcasts that this agent intends to stay.
        if let Err(error) = self.0.engine.join(MaybeResolvedAddress::resolved(*first), true).await {
            tracing::debug!(%error, "the pool learns of this agent with the next exchange of state");
        }
        Ok(reached.len())
    }

    /// Exchanges state with the agent at one address; returns the address.
    async fn exchange(&self, address: SocketAddr) -> Result<SocketAddr, ContactError> {
        let resolved = MaybeResolvedAddress::resolved(address);
        match self.0.engine.memberlist().join(resolved).await {
            Ok(_) => Ok(address),
            Err(error) => Err(ContactError { address, reason: EngineError::new(&error) }),
        }
    }
}

/// Lets the next refusal of this agent's name be retried, when it is dropped.
struct Retrying<'a>(&'a AtomicBool);

impl Drop for Retrying<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
