//! `lictor.server.v1.Peer`: calls between the servers of a datacenter besides Raft.
//!
//! INVARIANT: only servers of this datacenter may call. A command is decoded before it is proposed,
//! because one that cannot be decoded stops every server that applies it.

use std::sync::Arc;

use lictor_api::{
    query::Consistency,
    server::{v1, v1::peer_server},
};
use lictor_consensus::{ConsensusError, Peer as Voter};
use lictor_core::fsm::Command;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::server::Server;
use lictor_transport::listener::Caller;

/// The service.
pub(super) struct Peer {
    server: Arc<Server>,
    datacenter: String,
}

impl Peer {
    pub(super) fn new(server: Arc<Server>) -> Self {
        let datacenter = server.peers().datacenter.clone();
        Self { server, datacenter }
    }

    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        Caller::of(request)?.require_server(&self.datacenter)
    }
}

#[tonic::async_trait]
impl peer_server::Peer for Peer {
    async fn propose(
        &self,
        request: Request<v1::ProposeRequest>,
    ) -> Result<Response<v1::ProposeResponse>, Status> {
        self.admit(&request)?;
        let command = request.into_inner().command;
        Command::decode(&command).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let committed =
            self.server.consensus().propose_encoded(command).await.map_err(|e| status(&e))?;
        let response = rmp_serde::to_vec_named(&committed.response)
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(v1::ProposeResponse { index: committed.index, response: response.into() }))
    }

    async fn read_index(
        &self,
        request: Request<v1::ReadIndexRequest>,
    ) -> Result<Response<v1::ReadIndexResponse>, Status> {
        self.admit(&request)?;
        let quorum = request.into_inner().quorum;
        let consistency = if quorum { Consistency::Consistent } else { Consistency::Default };
        let index = self.server.consensus().read_index(consistency).await;
        Ok(Response::new(v1::ReadIndexResponse { index: index.map_err(|e| status(&e))? }))
    }

    async fn found(
        &self,
        request: Request<v1::FoundRequest>,
    ) -> Result<Response<v1::FoundResponse>, Status> {
        self.admit(&request)?;
        let servers = request.into_inner().servers.into_iter().map(voter);
        let servers = servers.collect::<Result<Vec<_>, Status>>()?;
        self.server.consensus().found(&servers).await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::FoundResponse {}))
    }

    async fn standing(
        &self,
        request: Request<v1::StandingRequest>,
    ) -> Result<Response<v1::StandingResponse>, Status> {
        self.admit(&request)?;
        let consensus = self.server.consensus();
        let last_contact = consensus.last_contact();
        Ok(Response::new(v1::StandingResponse {
            has_data: consensus.has_data(),
            term: consensus.term(),
            last_index: consensus.last_index(),
            applied_index: consensus.applied_index(),
            last_contact_ms: last_contact.and_then(|ago| u64::try_from(ago.as_millis()).ok()),
        }))
    }

    async fn renew_session(
        &self,
        request: Request<v1::RenewSessionRequest>,
    ) -> Result<Response<v1::RenewSessionResponse>, Status> {
        self.admit(&request)?;
        let renewed = self.server.renew_here(&request.into_inner().id).await;
        let renewed = renewed.map_err(|e| status(&e))?;
        Ok(Response::new(v1::RenewSessionResponse { renewed }))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveRequest>,
    ) -> Result<Response<v1::RemoveResponse>, Status> {
        self.admit(&request)?;
        let server = uuid(&request.into_inner().server)?;
        self.server.consensus().remove(&server).await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::RemoveResponse {}))
    }
}

fn uuid(bytes: &[u8]) -> Result<String, Status> {
    let id = Uuid::from_slice(bytes);
    id.map(|id| id.to_string()).map_err(|_| Status::invalid_argument("server ID is not a UUID"))
}

fn voter(server: v1::Server) -> Result<Voter, Status> {
    let address = server.address.parse();
    Ok(Voter {
        node_id: uuid(&server.id)?,
        node_name: server.name,
        address: address.map_err(|_| Status::invalid_argument("server address"))?,
        voter: true,
    })
}

/// Maps an error to a status. FAILED_PRECONDITION: nothing was changed, retry at the leader;
/// ABORTED: the outcome is unknown.
fn status(error: &ConsensusError) -> Status {
    match error {
        ConsensusError::NoLeader | ConsensusError::Refused(_) => {
            Status::failed_precondition(error.to_string())
        }
        ConsensusError::LeadershipLost => Status::aborted(error.to_string()),
        ConsensusError::ShuttingDown => Status::unavailable(error.to_string()),
    }
}
