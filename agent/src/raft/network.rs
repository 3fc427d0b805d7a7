//! How servers reach each other: not yet.
//!
//! Agents do not join each other so far, so every peer is out of reach, which is what this adapter
//! says to each request. The voter that is alone never asks. The adapter between servers replaces
//! it here, with `stream_append` as one bidirectional stream and `pre_vote` as a request of its
//! own; an unreachable peer grants no vote and no pre-vote.

use std::{future::Future, io};

use openraft::{
    RaftNetworkFactory, RaftNetworkV2, alias,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
};

use super::{
    snapshot::Source,
    types::{ServerId, ServerNode, TypeConfig, Vote},
};

/// Makes the connection to a peer.
pub(super) struct Network;

/// The connection to one peer.
pub(super) struct Peer {
    name: String,
}

impl Peer {
    fn unreachable(&self) -> Unreachable<TypeConfig> {
        let reason = format!("servers cannot reach each other yet, asked for {:?}", self.name);
        Unreachable::new(&io::Error::other(reason))
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, _target: ServerId, node: &ServerNode) -> Peer {
        Peer { name: node.name.clone() }
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Source;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn pre_vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: alias::SnapshotOf<TypeConfig, Source>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(self.unreachable().into())
    }
}
