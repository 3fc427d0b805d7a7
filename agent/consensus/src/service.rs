//! `lictor.server.v1.Raft`: calls of peers, handed to the engine.
//!
//! INVARIANT: only servers of this datacenter may call, identified by their certificate where there
//! is TLS, and only with calls that name this server: see `network`.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt, TryStreamExt};
use lictor_api::server::{v1, v1::raft_server};
use lictor_transport::{connections::ADDRESSEE, listener::Caller};
use openraft::{
    Snapshot,
    async_runtime::watch::WatchReceiver,
    errors::Fatal,
    raft::{StreamAppendResult, VoteRequest},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    network::{MAX_MESSAGE_BYTES, PeerDirectory},
    snapshot::{self, Source},
    standing::{Contact, Engine},
    types::TypeConfig,
    wire,
};

/// The largest snapshot that is accepted; it is held in memory.
const MAX_SNAPSHOT_BYTES: u64 = 4 << 30;

/// The service.
pub(super) struct Service {
    pub(super) engine: Engine,
    pub(super) contact: Arc<Contact>,
    pub(super) peers: PeerDirectory,
    /// This server's ID.
    pub(super) id: String,
}

impl Service {
    pub(super) fn into_server(self) -> raft_server::RaftServer<Self> {
        raft_server::RaftServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Refuses callers that are not servers of this datacenter, and calls for another server.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        Caller::of(request)?.require_server(&self.peers.datacenter)?;
        let addressee = request.metadata().get(ADDRESSEE).and_then(|id| id.to_str().ok());
        match addressee {
            Some(id) if id == self.id => Ok(()),
            other => Err(Status::failed_precondition(format!(
                "server {} was called as {}",
                self.id,
                other.unwrap_or_default()
            ))),
        }
    }

    /// Decodes a vote request, and records the candidate's address: it may have moved.
    fn vote_request(&self, message: v1::VoteRequest) -> Result<VoteRequest<TypeConfig>, Status> {
        let (address, started) = (message.address.parse(), message.started);
        let request = wire::to_vote_request(message).map_err(malformed)?;
        let candidate = request.vote.leader_id.voted_for;
        let server = self.engine.server_metrics().borrow_watched().clone();
        if let Ok(address) = address
            && server.membership_config.get_node(&candidate).is_some()
        {
            self.peers.servers.record_address(&candidate.to_string(), address, started);
        }
        Ok(request)
    }
}

#[tonic::async_trait]
impl raft_server::Raft for Service {
    type AppendStream = Pin<Box<dyn Stream<Item = Result<v1::AppendResponse, Status>> + Send>>;

    async fn append(
        &self,
        request: Request<Streaming<v1::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        self.admit(&request)?;
        // A stream that breaks or cannot be decoded ends; the leader opens a new one.
        let requests = request.into_inner().map(|message| {
            let request = message.map_err(|status| status.to_string())?;
            wire::to_append_request(request).map_err(|error| error.to_string())
        });
        let requests = requests.scan((), |(), request| {
            if let Err(error) = &request {
                tracing::debug!(%error, "append stream ended");
            }
            std::future::ready(request.ok())
        });
        let results = self.engine.stream_append(requests);
        let contact = self.contact.clone();
        let respond = move |result: Result<StreamAppendResult<TypeConfig>, Fatal<TypeConfig>>| {
            if let Ok(Ok(_)) = result {
                contact.touch();
            }
            result.map(|result| wire::append_response(&result)).map_err(fatal)
        };
        Ok(Response::new(Box::pin(results.map(respond))))
    }

    async fn vote(
        &self,
        request: Request<v1::VoteRequest>,
    ) -> Result<Response<v1::VoteResponse>, Status> {
        self.admit(&request)?;
        let request = self.vote_request(request.into_inner())?;
        let response = self.engine.vote(request).await.map_err(fatal)?;
        Ok(Response::new(wire::vote_response(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<v1::VoteRequest>,
    ) -> Result<Response<v1::VoteResponse>, Status> {
        self.admit(&request)?;
        let request = self.vote_request(request.into_inner())?;
        let response = self.engine.pre_vote(request).await.map_err(fatal)?;
        Ok(Response::new(wire::vote_response(&response)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotPart>>,
    ) -> Result<Response<v1::SnapshotResponse>, Status> {
        self.admit(&request)?;
        let mut parts = request.into_inner();
        let head = parts.message().await?.and_then(|part| part.head);
        let head = head.ok_or_else(|| Status::invalid_argument("snapshot without a head"))?;
        let vote = wire::to_vote(head.vote).map_err(malformed)?;
        let bytes = receive(parts, head.length).await?;
        let source = Source::Memory(bytes.into());
        let meta = snapshot::meta(&source).map_err(malformed)?;
        let snapshot = Snapshot { meta, snapshot: source };
        let response = self.engine.install_full_snapshot(vote, snapshot).await.map_err(fatal)?;
        Ok(Response::new(v1::SnapshotResponse { vote: Some(wire::vote(&response.vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        self.admit(&request)?;
        let request = wire::to_transfer_request(request.into_inner()).map_err(malformed)?;
        let accepted = self.engine.handle_transfer_leader(request).await.map_err(fatal)?;
        let refusal = accepted.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(v1::TransferLeaderResponse { refusal, vote: None }))
    }
}

/// Receives a snapshot of exactly the length that its head announces.
async fn receive(parts: Streaming<v1::SnapshotPart>, length: u64) -> Result<Vec<u8>, Status> {
    if length > MAX_SNAPSHOT_BYTES {
        return Err(Status::resource_exhausted(format!("snapshot of {length} bytes")));
    }
    let expected = usize::try_from(length).map_err(|_| Status::internal("no room"))?;
    let bytes = parts
        .try_fold(Vec::new(), |mut bytes, part| {
            bytes.extend_from_slice(&part.bytes);
            let fits = bytes.len() <= expected;
            let longer = || Status::invalid_argument("snapshot is longer than its head says");
            std::future::ready(if fits { Ok(bytes) } else { Err(longer()) })
        })
        .await?;
    if bytes.len() != expected {
        return Err(Status::invalid_argument("snapshot was cut short"));
    }
    Ok(bytes)
}

fn malformed(error: impl std::error::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn fatal(error: impl std::error::Error) -> Status {
    Status::unavailable(error.to_string())
}
