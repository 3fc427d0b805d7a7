//! `/v1/operator`: Raft's members and autopilot (Consul "Operator HTTP API").
//!
//! What only the leader knows or can do is answered by it: another server passes the request on to
//! it, once, and marks it so that two servers that disagree about who leads do not play ball.

pub(super) mod autopilot;
pub(super) mod raft;

use super::{Context, HttpError, Request, Response};
use crate::{raft::ConsensusError, server::ServerError};

/// Header of a request that was passed on to the leader.
const TO_LEADER: &str = "x-lictor-to-leader";

/// The leader's answer, if this server is not the leader.
async fn by_leader(cx: &Context, request: &Request) -> Result<Option<Response>, HttpError> {
    let leader = cx.server()?.current_leader().map_err(ServerError::from)?;
    if leader.is_self {
        return Ok(None);
    }
    if request.header(TO_LEADER).is_some() {
        return Err(ServerError::from(ConsensusError::NoLeader).into());
    }
    let mut request = request.clone();
    request.mark(TO_LEADER);
    Ok(Some(cx.agent.forwarder.http_at(leader.address, &request).await?))
}
