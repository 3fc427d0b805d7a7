//! What agents and sidecars send to servers, and servers to each other.

use std::fmt::Debug;

use lictor_api::{mesh, server::v1};
use prost::Message;

/// Decodes each kind of frame; what is read is read again as it is written.
pub(crate) fn frames(input: &[u8]) {
    macro_rules! each {
        ($($frame:ty),* $(,)?) => { $(again::<$frame>(input);)* };
    }
    each!(
        v1::AppendRequest,
        v1::AppendResponse,
        v1::VoteRequest,
        v1::VoteResponse,
        v1::SnapshotPart,
        v1::SnapshotResponse,
        v1::TransferLeaderRequest,
        v1::TransferLeaderResponse,
        v1::ProposeRequest,
        v1::ProposeResponse,
        v1::ReadIndexRequest,
        v1::ReadIndexResponse,
        v1::FoundRequest,
        v1::StandingRequest,
        v1::StandingResponse,
        v1::RemoveRequest,
        v1::RenewSessionRequest,
        v1::RenewSessionResponse,
        v1::HttpRequest,
        v1::HttpResponse,
        v1::DnsRequest,
        v1::DnsResponse,
        v1::WatchRequest,
        v1::WatchResponse,
        v1::SignRequest,
        v1::SignResponse,
        mesh::v1::SignRequest,
        mesh::v1::SignResponse,
        mesh::v1::WatchRequest,
        mesh::v1::WatchResponse,
    );
    for (kind, sent) in lictor_consensus::sent_again(input).into_iter().enumerate() {
        let Some(sent) = sent else { continue };
        let again = &lictor_consensus::sent_again(&sent)[kind];
        assert_eq!(again.as_ref(), Some(&sent), "kind {kind}");
    }
}

fn again<M: Message + Default + PartialEq + Debug>(input: &[u8]) {
    let Ok(frame) = M::decode(input) else { return };
    let written = frame.encode_to_vec();
    assert_eq!(M::decode(&written[..]).as_ref(), Ok(&frame));
}
