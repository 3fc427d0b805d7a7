//! `/v1/operator`: Raft's members and autopilot (Consul "Operator HTTP API").
//!
//! What only the leader knows or can do is answered by it: another server passes the request on to
//! it, once, and marks it so that two servers that disagree about who leads do not play ball. The
//! gate was asked before: the leader believes that of a server, as it does for writes. While
//! nobody is known to lead a request waits, as any other does.

pub(super) mod autopilot;
pub(super) mod raft;

use http::StatusCode;
use lictor_consensus::ConsensusError;

use super::{Context, HttpError, Request, Response, TO_LEADER};

/// The leader's answer, if this server is not the leader.
async fn by_leader(cx: &Context, request: &Request) -> Result<Option<Response>, HttpError> {
    let server = cx.server()?;
    if request.header(TO_LEADER).is_some() {
        let is_leader = server.current_leader().is_ok_and(|leader| leader.is_self);
        return Ok((!is_leader).then(|| Response::empty(StatusCode::MISDIRECTED_REQUEST)));
    }
    let mut passed_on = request.clone();
    passed_on.mark(TO_LEADER);
    let attempt = async || {
        let leader = server.current_leader()?;
        if leader.is_self {
            return Ok(Ok(None));
        }
        match cx.agent.forwarder.http_at(leader.address, &passed_on).await {
            // It does not lead any longer, or not yet: this server will hear who does.
            Ok(answer) if answer.status == StatusCode::MISDIRECTED_REQUEST => {
                Err(ConsensusError::NoLeader)
            }
            answer => Ok(answer.map(Some)),
        }
    };
    Ok(server.hold(attempt).await??)
}
