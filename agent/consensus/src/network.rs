//! Requests to peers: the engine's requests as calls of `lictor.server.v1.Raft`.
//!
//! A peer's address is looked up by node ID on every call: the newest of gossip and its last vote
//! request wins; the Raft membership is the fallback. Servers may return under other addresses.
//!
//! INVARIANT: every call names the server that it is for, because another one may use its address
//! by now: one that has lost its data and got a new ID must not acknowledge in the name of the old
//! one. A call that times out drops its connection, so that the next call opens a new one.

mod append;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::HeaderValue;
use lictor_api::server::{PROTOCOL_VERSION, v1, v1::raft_client::RaftClient};
use lictor_core::planted::{Bug, is_planted};
use lictor_transport::{
    connections::{Connection, Connections},
    servers::Servers,
};
use openraft::{
    RaftNetworkFactory, RaftNetworkV2, alias,
    base::BoxFuture,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tokio::{task, time::timeout};

use append::Responses;

use super::{
    snapshot::Source,
    types::{ServerEndpoint, ServerId, ServerNode, TypeConfig, Vote},
    wire,
};

/// The largest message between servers: a batch of entries of half a MiB each.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// Bytes of a snapshot in one message.
const SNAPSHOT_PART_BYTES: usize = 256 << 10;

/// Finds the addresses of peers and connects to them.
#[derive(Clone)]
pub struct PeerDirectory {
    /// Connections, shared with all other calls to servers.
    pub connections: Arc<Connections>,
    /// Addresses of the servers that gossip and vote requests report.
    pub servers: Arc<Servers>,
    /// The servers' datacenter.
    pub datacenter: String,
}

impl PeerDirectory {
    /// Returns the peers of a server of `datacenter` that knows no other, in plain text.
    pub fn none(datacenter: &str) -> Self {
        Self {
            connections: Arc::new(Connections::new(Arc::default())),
            servers: Arc::default(),
            datacenter: datacenter.to_owned(),
        }
    }
}

/// The highest commit index that this server has sent to followers as a leader.
///
/// INVARIANT: it is raised before the message is sent. A follower applies up to it and may serve
/// the result before the leader has applied it itself, so nothing older may be read after that.
#[derive(Debug, Clone, Default)]
pub(super) struct AdvertisedCommit(Arc<AtomicU64>);

impl AdvertisedCommit {
    pub(super) fn index(&self) -> u64 {
        if is_planted(Bug::FollowerAhead) { 0 } else { self.0.load(Ordering::SeqCst) }
    }

    /// Returns a request in its wire form and raises the index to the request's.
    fn encode(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
    ) -> Result<v1::AppendRequest, NetworkError<TypeConfig>> {
        if let Some(committed) = &request.leader_commit {
            self.0.fetch_max(committed.index, Ordering::SeqCst);
        }
        wire::append_request(request).map_err(|error| NetworkError::new(&error))
    }
}

/// Creates the client of each peer for the engine.
pub(super) struct PeerNetwork {
    pub(super) peers: PeerDirectory,
    pub(super) this: ServerEndpoint,
    pub(super) advertised: AdvertisedCommit,
}

/// The client of one peer.
pub(super) struct Peer {
    peers: PeerDirectory,
    this: ServerEndpoint,
    advertised: AdvertisedCommit,
    id: ServerId,
    node: ServerNode,
}

type Client = RaftClient<Connection>;
type RpcResult<T> = Result<T, RPCError<TypeConfig>>;

impl RaftNetworkFactory<TypeConfig> for PeerNetwork {
    type Network = Peer;

    async fn new_client(&mut self, target: ServerId, node: &ServerNode) -> Peer {
        Peer {
            peers: self.peers.clone(),
            this: self.this,
            advertised: self.advertised.clone(),
            id: target,
            node: node.clone(),
        }
    }
}

impl Peer {
    fn address(&self) -> SocketAddr {
        self.peers.servers.address_of(&self.id.to_string()).unwrap_or(self.node.address)
    }

    /// Connects to the peer's current address. Nothing was sent when this fails.
    async fn client(&self) -> Result<(SocketAddr, Client), Unreachable<TypeConfig>> {
        let address = self.address();
        let connection = self.peers.connections.connect(address, &self.peers.datacenter).await;
        let connection = connection.map_err(|error| Unreachable::new(&error))?;
        let id = HeaderValue::try_from(self.id.to_string()).expect("a UUID is ASCII");
        let client = RaftClient::new(connection.addressed_to(id))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok((address, client))
    }

    /// Waits for the response to a call, at most for `limit`.
    async fn response<T>(
        &self,
        address: SocketAddr,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, NetworkError<TypeConfig>> {
        let error = match timeout(limit, call).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => io::Error::other(status),
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "no response in time"),
        };
        self.peers.connections.forget(address);
        Err(NetworkError::new(&error))
    }

    async fn request_vote(
        &self,
        request: &VoteRequest<TypeConfig>,
        option: &RPCOption,
        pre: bool,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        let (address, mut client) = self.client().await?;
        let message = wire::vote_request(request, &self.this);
        let call =
            async { if pre { client.pre_vote(message).await } else { client.vote(message).await } };
        let response = self.response(address, option.soft_ttl(), call).await?;
        wire::to_vote_response(response).map_err(|error| NetworkError::new(&error).into())
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: alias::SnapshotOf<TypeConfig, Source>,
        option: &RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (address, mut client) = self.client().await?;
        let source = snapshot.snapshot;
        let bytes = task::spawn_blocking(move || source.read())
            .await
            .map_err(|error| NetworkError::new(&error))?
            .map_err(|error| NetworkError::new(&error))?;
        let head = v1::SnapshotHead {
            protocol_version: PROTOCOL_VERSION,
            vote: Some(wire::vote(&vote)),
            length: bytes.len() as u64,
        };
        let head = v1::SnapshotPart { head: Some(head), bytes: Bytes::new() };
        let parts = stream::iter(std::iter::once(head).chain(parts(bytes)));
        let call = client.install_snapshot(parts);
        let response = self.response(address, option.soft_ttl(), call).await?;
        let vote = wire::to_vote(response.vote).map_err(|error| NetworkError::new(&error))?;
        Ok(SnapshotResponse { vote })
    }
}

/// Splits a snapshot into messages that share its memory.
fn parts(bytes: Bytes) -> impl Iterator<Item = v1::SnapshotPart> {
    (0..bytes.len()).step_by(SNAPSHOT_PART_BYTES).map(move |begin| {
        let end = (begin + SNAPSHOT_PART_BYTES).min(bytes.len());
        v1::SnapshotPart { head: None, bytes: bytes.slice(begin..end) }
    })
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Source;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<TypeConfig>> {
        let (address, mut client) = self.client().await?;
        let message = self.advertised.encode(&request)?;
        let call = async {
            let requests = stream::once(async { message });
            let mut responses = client.append(requests).await?.into_inner();
            let response = responses.message().await?;
            response
                .map(tonic::Response::new)
                .ok_or_else(|| tonic::Status::unavailable("the peer ended the stream"))
        };
        let response = self.response(address, option.soft_ttl(), call).await?;
        let result = wire::to_append_result(response).map_err(|error| NetworkError::new(&error))?;
        Ok(result.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, RpcResult<Responses<'s>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        Box::pin(async move { Ok(append::stream(self, input, option.soft_ttl())) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        self.request_vote(&request, &option, false).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        self.request_vote(&request, &option, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: alias::SnapshotOf<TypeConfig, Source>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot, &option) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<TypeConfig>> {
        let (address, mut client) = self.client().await?;
        let call = client.transfer_leader(wire::transfer_request(&request));
        let response = self.response(address, option.soft_ttl(), call).await?;
        if response.refusal.is_empty() {
            return Ok(Ok(()));
        }
        Err(NetworkError::from_string(response.refusal).into())
    }
}
