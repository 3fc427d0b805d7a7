//! How a server asks its peers: the engine's requests as calls of `lictor.server.v1.Raft`.
//!
//! A peer is found by its ID where it said last that it is, to gossip or when it asked for a vote,
//! and only without that under the address that the membership remembers: servers may come back under
//! other addresses. Every call names the server that it is for, because another one may live at its
//! address by now: one that has lost its data and got a new ID must not acknowledge in the name of the
//! old one. A call that is not answered in time takes its connection with it, so that the next one
//! begins on a fresh one.

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

use append::Answers;

use super::{
    snapshot::Source,
    types::{ServerId, ServerNode, TypeConfig, Vote},
    wire,
};

/// The largest message between servers: a batch of entries of half a MiB each.
pub(super) const MAX_MESSAGE: usize = 64 << 20;
/// Bytes of a snapshot in one message.
const SNAPSHOT_PART: usize = 256 << 10;

/// How peers are found and reached.
#[derive(Clone)]
pub struct Peers {
    /// Connections, shared with everything else that is said to servers.
    pub connections: Arc<Connections>,
    /// What gossip knows.
    pub servers: Arc<Servers>,
    /// The servers' datacenter.
    pub datacenter: String,
}

impl Peers {
    /// Returns the peers of a server of `datacenter` that knows no other, in plain text.
    pub fn none(datacenter: &str) -> Self {
        Self {
            connections: Arc::new(Connections::new(Arc::default())),
            servers: Arc::default(),
            datacenter: datacenter.to_owned(),
        }
    }
}

/// Where a server is served, and since when in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Presence {
    pub(super) address: SocketAddr,
    pub(super) started: u64,
}

/// The highest commit index that this server has told others while it led.
///
/// INVARIANT: it is raised before the message is sent. A follower applies what it was told and may
/// show it before the leader has applied it itself, so nothing older may be read after that.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<AtomicU64>);

impl Told {
    pub(super) fn index(&self) -> u64 {
        if is_planted(Bug::FollowerAhead) { 0 } else { self.0.load(Ordering::SeqCst) }
    }

    /// A request in the form that is sent.
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

/// Makes the adapter to one peer.
pub(super) struct Network {
    pub(super) peers: Peers,
    pub(super) this: Presence,
    pub(super) told: Told,
}

/// One peer.
pub(super) struct Peer {
    peers: Peers,
    this: Presence,
    told: Told,
    id: ServerId,
    node: ServerNode,
}

type Client = RaftClient<Connection>;
type RpcResult<T> = Result<T, RPCError<TypeConfig>>;

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: ServerId, node: &ServerNode) -> Peer {
        Peer {
            peers: self.peers.clone(),
            this: self.this,
            told: self.told.clone(),
            id: target,
            node: node.clone(),
        }
    }
}

impl Peer {
    fn address(&self) -> SocketAddr {
        self.peers.servers.address_of(&self.id.to_string()).unwrap_or(self.node.address)
    }

    /// A connection; nothing was sent when this fails.
    async fn client(&self) -> Result<(SocketAddr, Client), Unreachable<TypeConfig>> {
        let address = self.address();
        let connection = self.peers.connections.connect(address, &self.peers.datacenter).await;
        let connection = connection.map_err(|error| Unreachable::new(&error))?;
        let id = HeaderValue::try_from(self.id.to_string()).expect("a UUID is ASCII");
        let client = RaftClient::new(connection.addressed_to(id))
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        Ok((address, client))
    }

    /// Waits for an answer, at most for `limit`.
    async fn answer<T>(
        &self,
        address: SocketAddr,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, NetworkError<TypeConfig>> {
        let error = match timeout(limit, call).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => io::Error::other(status),
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        };
        self.peers.connections.forget(address);
        Err(NetworkError::new(&error))
    }

    async fn ask_vote(
        &self,
        request: &VoteRequest<TypeConfig>,
        option: &RPCOption,
        pre: bool,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        let (address, mut client) = self.client().await?;
        let message = wire::vote_request(request, &self.this);
        let call =
            async { if pre { client.pre_vote(message).await } else { client.vote(message).await } };
        let response = self.answer(address, option.soft_ttl(), call).await?;
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
        let response = self.answer(address, option.soft_ttl(), call).await?;
        let vote = wire::to_vote(response.vote).map_err(|error| NetworkError::new(&error))?;
        Ok(SnapshotResponse { vote })
    }
}

/// A snapshot's bytes in pieces; each shares the memory of all.
fn parts(bytes: Bytes) -> impl Iterator<Item = v1::SnapshotPart> {
    (0..bytes.len()).step_by(SNAPSHOT_PART).map(move |begin| {
        let end = (begin + SNAPSHOT_PART).min(bytes.len());
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
        let message = self.told.encode(&request)?;
        let call = async {
            let mut answers = client.append(stream::once(async { message })).await?.into_inner();
            let answer = answers.message().await?;
            answer
                .map(tonic::Response::new)
                .ok_or_else(|| tonic::Status::unavailable("the peer ended the stream"))
        };
        let response = self.answer(address, option.soft_ttl(), call).await?;
        let result = wire::to_append_result(response).map_err(|error| NetworkError::new(&error))?;
        Ok(result.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, RpcResult<Answers<'s>>>
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
        self.ask_vote(&request, &option, false).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        self.ask_vote(&request, &option, true).await
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
        let response = self.answer(address, option.soft_ttl(), call).await?;
        if response.refusal.is_empty() {
            return Ok(Ok(()));
        }
        Err(NetworkError::from_string(response.refusal).into())
    }
}
