//! `/v1/operator/raft/*`: who takes part in consensus.

use http::StatusCode;
use lictor_api::types::operator::{RaftConfiguration, RaftServer};
use lictor_consensus::Peer;
use lictor_core::acl::Access;
use serde_json::json;

use super::{Context, HttpError, Request, Response, by_leader};
use crate::server::ServerError;

/// `GET /v1/operator/raft/configuration`.
pub(in crate::http) async fn configuration(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    cx.authorize(&Access::Operator { write: false })?;
    let is_stale = request.has("stale");
    if !is_stale && let Some(response) = by_leader(&cx, &request).await? {
        return Ok(response);
    }
    let consensus = cx.server()?.consensus();
    let leader = consensus.leader().borrow().clone();
    let (progress, stats) = (consensus.progress(), consensus.stats());
    let server = |peer: Peer| {
        let is_self = peer.node_id == cx.agent.node_id;
        let known = progress.iter().find(|known| known.node_id == peer.node_id);
        let last_index =
            if is_self { Some(consensus.last_index()) } else { known.and_then(|it| it.matched) };
        RaftServer {
            leader: leader.as_ref().is_some_and(|leader| leader.node_id == peer.node_id),
            id: peer.node_id,
            node: peer.node_name,
            address: peer.address.to_string(),
            protocol_version: "3".to_owned(),
            voter: peer.voter,
            last_index: last_index.unwrap_or(0),
        }
    };
    let index = stats.get("latest_configuration_index").and_then(|index| index.parse().ok());
    Response::json(&RaftConfiguration {
        servers: consensus.peers().into_iter().map(server).collect(),
        index: index.unwrap_or(0),
    })
}

/// `DELETE /v1/operator/raft/peer?id=` or `?address=`.
pub(in crate::http) async fn remove(cx: Context, request: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Operator { write: true })?;
    let given = |name| request.param(name).filter(|value| !value.is_empty());
    let (id, address) = (given("id"), given("address"));
    match (id, address) {
        (None, None) => return Err(HttpError::MissingPeer),
        (Some(_), Some(_)) => return Err(HttpError::ConflictingPeer),
        _ => {}
    }
    if let Some(response) = by_leader(&cx, &request).await? {
        return Ok(response);
    }
    let consensus = cx.server()?.consensus();
    let peers = consensus.peers();
    let peer = peers.into_iter().find(|peer| match (id, address) {
        (Some(id), _) => peer.node_id == id,
        (_, address) => address == Some(peer.address.to_string().as_str()),
    });
    let Some(peer) = peer else {
        let (name, value) = id.map_or(("address", address), |id| ("id", Some(id)));
        return Err(HttpError::UnknownPeer { name, value: value.unwrap_or_default().to_owned() });
    };
    consensus.remove(&peer.node_id).await.map_err(ServerError::from)?;
    tracing::warn!(
        node_id = peer.node_id,
        node = peer.node_name,
        "raft peer removed by an operator"
    );
    Ok(Response::empty(StatusCode::OK))
}

/// `POST /v1/operator/raft/transfer-leader?id=`.
pub(in crate::http) async fn transfer(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    cx.authorize(&Access::Operator { write: true })?;
    if let Some(response) = by_leader(&cx, &request).await? {
        return Ok(response);
    }
    let id = request.param("id").filter(|id| !id.is_empty());
    let consensus = cx.server()?.consensus();
    if let Some(id) = id
        && !consensus.peers().iter().any(|peer| peer.voter && peer.node_id == id)
    {
        return Err(HttpError::UnknownPeer { name: "id", value: id.to_owned() });
    }
    // Who leads already need not hand over.
    if id != Some(cx.agent.node_id.as_str()) {
        consensus.transfer_leader(id).await.map_err(ServerError::from)?;
    }
    Response::json(&json!({ "Success": true }))
}
