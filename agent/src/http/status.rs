//! `/v1/status`: who leads and who votes (Consul "Status HTTP API"). Open to everybody.

use super::{Context, HttpError, Request, Response};

/// `GET /v1/status/leader`: the leader's server RPC address, empty without one.
pub(super) async fn leader(cx: Context, _: Request) -> Result<Response, HttpError> {
    let leader = cx.server()?.consensus().leader();
    let address = leader.borrow().as_ref().map(|leader| leader.address.to_string());
    Response::json(&address.unwrap_or_default())
}

/// `GET /v1/status/peers`: the server RPC addresses of all voters and learners.
pub(super) async fn peers(cx: Context, _: Request) -> Result<Response, HttpError> {
    let peers = cx.server()?.consensus().peers();
    Response::json(&peers.iter().map(|peer| peer.address.to_string()).collect::<Vec<_>>())
}
