//! Calls to the leader when it is another server: proposals, read indexes, session renewals.
//!
//! INVARIANT: a call that certainly changed nothing fails with [`ConsensusError::NoLeader`] and may
//! be retried; one that may have changed something fails with [`ConsensusError::LeadershipLost`]
//! and is never retried.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use lictor_api::{
    query::Consistency,
    server::{PROTOCOL_VERSION, v1, v1::peer_client::PeerClient},
};
use lictor_consensus::{Committed, ConsensusError, Leader, PeerDirectory, rounds::Rounds};
use lictor_transport::{MAX_COMMAND_BYTES, connections::Connection};
use tokio::time::timeout;
use tonic::{Code, Status};
use uuid::Uuid;

/// Timeout of a proposal. The leader itself gives up after thirty seconds.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(31);
/// Timeout of a read index: within it an election may have replaced the leader.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of the removal of a server.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);

type Client = PeerClient<Connection>;

/// Calls to the current leader.
pub(super) struct RemoteLeader {
    peers: PeerDirectory,
    default: Rounds<Result<u64, ConsensusError>>,
    consistent: Rounds<Result<u64, ConsensusError>>,
}

impl RemoteLeader {
    pub(super) fn new(peers: PeerDirectory) -> Self {
        Self { peers, default: Rounds::default(), consistent: Rounds::default() }
    }

    pub(super) fn peers(&self) -> &PeerDirectory {
        &self.peers
    }

    /// Forwards an encoded command to the leader and returns its result.
    ///
    /// # Errors
    /// [`ConsensusError`]; see the module's invariant.
    pub(super) async fn propose(
        &self,
        leader: &Leader,
        command: Bytes,
    ) -> Result<Committed, ConsensusError> {
        let mut client = self.client(leader.address).await?;
        let request = v1::ProposeRequest { protocol_version: PROTOCOL_VERSION, command };
        let response = match timeout(PROPOSE_TIMEOUT, client.propose(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(self.failed(leader.address, &status)),
            Err(_) => return Err(ConsensusError::LeadershipLost),
        };
        let decoded = rmp_serde::from_slice(&response.response);
        let decoded = decoded.map_err(|error| {
            tracing::warn!(%error, "the leader's answer cannot be read; is it a newer version?");
            ConsensusError::LeadershipLost
        })?;
        Ok(Committed { index: response.index, response: decoded })
    }

    /// Returns the log index that a read must have applied. Concurrent callers share one call.
    ///
    /// # Errors
    /// [`ConsensusError`]; nothing was changed.
    pub(super) async fn read_index(
        &self,
        leader: &Leader,
        consistency: Consistency,
    ) -> Result<u64, ConsensusError> {
        let quorum = consistency == Consistency::Consistent;
        let rounds = if quorum { &self.consistent } else { &self.default };
        rounds.join(|| self.fetch_read_index(leader.address, quorum)).await
    }

    async fn fetch_read_index(
        &self,
        address: SocketAddr,
        quorum: bool,
    ) -> Result<u64, ConsensusError> {
        let mut client = self.client(address).await?;
        let request = v1::ReadIndexRequest { protocol_version: PROTOCOL_VERSION, quorum };
        match timeout(READ_TIMEOUT, client.read_index(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner().index),
            Ok(Err(status)) => {
                self.failed(address, &status);
                Err(ConsensusError::NoLeader)
            }
            Err(_) => {
                self.peers.connections.forget(address);
                Err(ConsensusError::NoLeader)
            }
        }
    }

    /// Forwards a session's renewal to the leader. Returns false when there is no such session.
    /// Renewing is idempotent, so every failure may be retried.
    ///
    /// # Errors
    /// [`ConsensusError::NoLeader`] when the call failed.
    pub(super) async fn renew_session(
        &self,
        leader: &Leader,
        id: &str,
    ) -> Result<bool, ConsensusError> {
        let mut client = self.client(leader.address).await?;
        let request =
            v1::RenewSessionRequest { protocol_version: PROTOCOL_VERSION, id: id.to_owned() };
        match timeout(READ_TIMEOUT, client.renew_session(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner().renewed),
            Ok(Err(status)) => {
                self.failed(leader.address, &status);
                Err(ConsensusError::NoLeader)
            }
            Err(_) => {
                self.peers.connections.forget(leader.address);
                Err(ConsensusError::NoLeader)
            }
        }
    }

    /// Forwards the removal of a server to the leader.
    ///
    /// # Errors
    /// [`ConsensusError`]; see the module's invariant.
    pub(super) async fn remove(&self, leader: &Leader, server: &str) -> Result<(), ConsensusError> {
        let id = Uuid::parse_str(server);
        let id = id.map_err(|_| ConsensusError::Refused("server ID is not a UUID".to_owned()))?;
        let mut client = self.client(leader.address).await?;
        let server = Bytes::copy_from_slice(id.as_bytes());
        let request = v1::RemoveRequest { protocol_version: PROTOCOL_VERSION, server };
        match timeout(REMOVE_TIMEOUT, client.remove(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(self.failed(leader.address, &status)),
            Err(_) => Err(ConsensusError::LeadershipLost),
        }
    }

    async fn client(&self, address: SocketAddr) -> Result<Client, ConsensusError> {
        match self.peers.connections.connect(address, &self.peers.datacenter).await {
            Ok(connection) => Ok(PeerClient::new(connection)
                .max_decoding_message_size(MAX_COMMAND_BYTES)
                .max_encoding_message_size(MAX_COMMAND_BYTES)),
            Err(error) => {
                tracing::debug!(%error, "leader cannot be reached");
                Err(ConsensusError::NoLeader)
            }
        }
    }

    fn failed(&self, address: SocketAddr, status: &Status) -> ConsensusError {
        match status.code() {
            Code::FailedPrecondition => ConsensusError::NoLeader,
            Code::Aborted => ConsensusError::LeadershipLost,
            _ => {
                tracing::debug!(%address, %status, "call to the leader failed");
                self.peers.connections.forget(address);
                ConsensusError::LeadershipLost
            }
        }
    }
}
