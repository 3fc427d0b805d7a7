//! `GET /v1/agent/ready`: whether this agent can serve its clients. lictor's own, for probes; it
//! needs no token and says nothing but what is missing.
//!
//! A server that does not vote yet, or has not heard the leader since it was started, is not ready:
//! whoever takes servers away one after the other (rolling updates, drained machines) waits for this
//! answer, and may count on a vote after it. Who leads is in its log and says nothing about that.

use std::time::Duration;

use http::StatusCode;

use super::{Context, HttpError, Request, Response};

/// How recently a follower must have heard the leader: many heartbeats, so that a busy machine does not
/// count as cut off.
const CONTACT: Duration = Duration::from_secs(5);

/// 200 `ready`, or 503 with what is missing.
pub(super) async fn ready(cx: Context, _: Request) -> Result<Response, HttpError> {
    let Some(server) = cx.agent.server() else {
        let knows = !cx.agent.forwarder.servers().known().is_empty();
        return Ok(match knows {
            true => Response::text(StatusCode::OK, "ready"),
            false => Response::text(StatusCode::SERVICE_UNAVAILABLE, "no known servers"),
        });
    };
    let votes = || {
        let peers = server.consensus().peers();
        peers.iter().any(|peer| peer.voter && peer.node_id == cx.agent.node_id)
    };
    let hears = || server.consensus().last_contact().is_some_and(|ago| ago < CONTACT);
    let missing = if !server.known_leader() {
        Some("no cluster leader")
    } else if !votes() {
        Some("not a voter yet")
    } else if !hears() {
        Some("no contact with the cluster leader")
    } else if cx.agent.config.load().connect.enabled && server.store().snapshot().ca.is_none() {
        Some("no mesh roots")
    } else {
        None
    };
    Ok(match missing {
        None => Response::text(StatusCode::OK, "ready"),
        Some(missing) => Response::text(StatusCode::SERVICE_UNAVAILABLE, missing),
    })
}
