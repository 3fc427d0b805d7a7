//! Converts the engine's messages to `lictor.server.v1` and back. The encoding is ours and not the
//! engine's, so that servers of neighboring versions understand each other.
//!
//! Entries travel as the records that the log keeps, each under its own checksum.

use bytes::Bytes;
use lictor_api::server::{PROTOCOL_VERSION, v1};
use openraft::{
    raft::{
        AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest,
        VoteRequest, VoteResponse,
    },
    vote::{RaftLeaderId, leader_id_std::CommittedLeaderId},
};
use prost::Message;
use uuid::Uuid;

use super::{
    record::{self, RecordError},
    types::{Entry, LogId, ServerEndpoint, ServerId, TypeConfig, Vote},
};

/// Why a message from a peer is refused. The peer is at fault; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The message lacks a required part.
    #[error("message without {0}")]
    Missing(&'static str),
    /// The server ID is not a UUID.
    #[error("server ID of {0} bytes instead of 16")]
    ServerId(usize),
    /// A log entry is damaged, or encoded by a newer version.
    #[error("entry {index}: {source}")]
    Entry {
        /// Raft index of the entry.
        index: u64,
        /// Why the entry cannot be decoded.
        source: RecordError,
    },
    /// An entry cannot be encoded.
    #[error("encoding an entry")]
    Encode(#[from] rmp_serde::encode::Error),
}

pub(super) fn server_id(id: &ServerId) -> Bytes {
    Bytes::copy_from_slice(id.0.as_bytes())
}

pub(super) fn to_server_id(bytes: &[u8]) -> Result<ServerId, WireError> {
    Uuid::from_slice(bytes).map(ServerId).map_err(|_| WireError::ServerId(bytes.len()))
}

pub(super) fn vote(vote: &Vote) -> v1::Vote {
    v1::Vote {
        term: vote.leader_id.term(),
        server: server_id(&vote.leader_id.voted_for),
        committed: vote.committed,
    }
}

pub(super) fn to_vote(vote: Option<v1::Vote>) -> Result<Vote, WireError> {
    let vote = vote.ok_or(WireError::Missing("vote"))?;
    let server = to_server_id(&vote.server)?;
    Ok(if vote.committed {
        Vote::new_committed(vote.term, server)
    } else {
        Vote::new(vote.term, server)
    })
}

pub(super) fn log_id(id: &LogId) -> v1::LogId {
    v1::LogId { term: id.leader_id.term, index: id.index }
}

pub(super) fn to_log_id(id: v1::LogId) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(id.term), index: id.index }
}

pub(super) fn append_request(
    request: &AppendEntriesRequest<TypeConfig>,
) -> Result<v1::AppendRequest, WireError> {
    let first_index = request.entries.first().map_or(0, |entry| entry.log_id.index);
    let entries = request.entries.iter().map(record::encode).map(|entry| entry.map(Bytes::from));
    Ok(v1::AppendRequest {
        protocol_version: PROTOCOL_VERSION,
        vote: Some(vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id),
        first_index,
        entries: entries.collect::<Result<_, _>>()?,
        committed: request.leader_commit.as_ref().map(log_id),
    })
}

pub(super) fn to_append_request(
    request: v1::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    // The entries end first: a sender may name the last index there is.
    let entries = request
        .entries
        .iter()
        .zip(request.first_index..=u64::MAX)
        .map(|(bytes, index)| {
            record::decode(index, bytes).map_err(|source| WireError::Entry { index, source })
        })
        .collect::<Result<Vec<Entry>, _>>()?;
    Ok(AppendEntriesRequest {
        vote: to_vote(request.vote)?,
        prev_log_id: request.previous.map(to_log_id),
        entries,
        leader_commit: request.committed.map(to_log_id),
    })
}

pub(super) fn append_response(result: &StreamAppendResult<TypeConfig>) -> v1::AppendResponse {
    use v1::append_response::Outcome;
    let outcome = match result {
        Ok(last) => Outcome::Flushed(v1::Flushed { last: last.as_ref().map(log_id) }),
        Err(StreamAppendError::Conflict(at)) => Outcome::Conflict(log_id(at)),
        Err(StreamAppendError::HigherVote(higher)) => Outcome::HigherVote(vote(higher)),
    };
    v1::AppendResponse { outcome: Some(outcome) }
}

pub(super) fn to_append_result(
    response: v1::AppendResponse,
) -> Result<StreamAppendResult<TypeConfig>, WireError> {
    use v1::append_response::Outcome;
    Ok(match response.outcome.ok_or(WireError::Missing("outcome"))? {
        Outcome::Flushed(flushed) => Ok(flushed.last.map(to_log_id)),
        Outcome::Conflict(at) => Err(StreamAppendError::Conflict(to_log_id(at))),
        Outcome::HigherVote(higher) => Err(StreamAppendError::HigherVote(to_vote(Some(higher))?)),
    })
}

pub(super) fn vote_request(
    request: &VoteRequest<TypeConfig>,
    candidate: &ServerEndpoint,
) -> v1::VoteRequest {
    v1::VoteRequest {
        protocol_version: PROTOCOL_VERSION,
        vote: Some(vote(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id),
        leadership_transfer: request.leadership_transfer,
        address: candidate.address.to_string(),
        started: candidate.started,
    }
}

pub(super) fn to_vote_request(
    request: v1::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, WireError> {
    let last = request.last.map(to_log_id);
    let mut decoded = VoteRequest::new(to_vote(request.vote)?, last);
    decoded.leadership_transfer = request.leadership_transfer;
    Ok(decoded)
}

pub(super) fn vote_response(response: &VoteResponse<TypeConfig>) -> v1::VoteResponse {
    v1::VoteResponse {
        vote: Some(vote(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id),
    }
}

pub(super) fn to_vote_response(
    response: v1::VoteResponse,
) -> Result<VoteResponse<TypeConfig>, WireError> {
    let last = response.last.map(to_log_id);
    Ok(VoteResponse::new(to_vote(response.vote)?, last, response.granted))
}

pub(super) fn transfer_request(
    request: &TransferLeaderRequest<TypeConfig>,
) -> v1::TransferLeaderRequest {
    v1::TransferLeaderRequest {
        protocol_version: PROTOCOL_VERSION,
        from: Some(vote(request.from_leader())),
        to: server_id(request.to_node_id()),
        last: request.last_log_id().map(log_id),
    }
}

pub(super) fn to_transfer_request(
    request: v1::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, WireError> {
    let last = request.last.map(to_log_id);
    Ok(TransferLeaderRequest::new(to_vote(request.from)?, to_server_id(&request.to)?, last))
}

/// Returns `frame` as each kind of message that servers send each other, sent again as it was
/// understood; `None` for what it is not. The door for `tests/fuzz`: what is understood must
/// survive the way unchanged.
#[doc(hidden)]
pub fn sent_again(frame: &[u8]) -> [Option<Vec<u8>>; 4] {
    fn again<M: Message + Default>(
        frame: &[u8],
        through: impl FnOnce(M) -> Result<M, WireError>,
    ) -> Option<Vec<u8>> {
        Some(through(M::decode(frame).ok()?).ok()?.encode_to_vec())
    }
    [
        again(frame, |request| append_request(&to_append_request(request)?)),
        again(frame, |response| Ok(append_response(&to_append_result(response)?))),
        again(frame, |response| Ok(vote_response(&to_vote_response(response)?))),
        again(frame, |request| Ok(transfer_request(&to_transfer_request(request)?))),
    ]
}
