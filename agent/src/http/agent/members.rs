//! `/v1/agent/members`, `join` and `force-leave`: this agent's pools.

use http::StatusCode;
use lictor_api::types::agent::Member as Row;
use lictor_core::acl::Access;
use lictor_membership::{Member, Pool, join::Target};

use crate::http::{Context, HttpError, Request, Response};

/// `GET /v1/agent/members`: returns the members of the LAN pool, or of the WAN pool with `?wan=1`.
pub(in crate::http) async fn list(cx: Context, request: Request) -> Result<Response, HttpError> {
    let filter = request.filter::<Row>()?;
    cx.authorize(&Access::Agent { write: false })?;
    let wan = is_wan(&request);
    let rows = match if wan { &cx.agent.pools.wan } else { &cx.agent.pools.lan } {
        Some(pool) => pool.members().iter().map(row).collect(),
        None if wan && !cx.agent.config.load().server => Vec::new(),
        None => vec![super::own::member(&cx.agent, &cx.agent.config.load(), wan)],
    };
    Response::json(&filter.apply(rows)?)
}

/// `PUT /v1/agent/join/:address`: joins a pool through the member at this address.
pub(in crate::http) async fn join(cx: Context, request: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Agent { write: true })?;
    let wan = is_wan(&request);
    let config = cx.agent.config.load_full();
    let port = if wan { config.serf_wan_port } else { config.serf_lan_port };
    let target = Target::parse(request.tail(), port).map_err(|e| HttpError::Join(e.to_string()))?;
    let resolver = &*cx.agent.pools.resolver;
    let addresses = target.resolve(resolver).await.map_err(HttpError::Join)?;
    let joined = pool(&cx, &request)?.join(&addresses).await;
    joined.map_err(|error| HttpError::Join(error.to_string()))?;
    Ok(Response::empty(StatusCode::OK))
}

/// `PUT /v1/agent/force-leave/:node`: marks a failed member as left; `?prune` removes it.
pub(in crate::http) async fn force_leave(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    cx.authorize(&Access::Agent { write: true })?;
    let name = request.tail();
    if !pool(&cx, &request)?.force_leave(name, request.has("prune")).await {
        return Err(HttpError::NoMember(name.to_owned()));
    }
    Ok(Response::empty(StatusCode::OK))
}

fn is_wan(request: &Request) -> bool {
    request.param("wan").is_some_and(|wan| !wan.is_empty())
}

fn pool<'a>(cx: &'a Context, request: &Request) -> Result<&'a Pool, HttpError> {
    let pools = &cx.agent.pools;
    let pool = if is_wan(request) { &pools.wan } else { &pools.lan };
    pool.as_ref().ok_or(HttpError::NoGossip)
}

/// Returns a member in the shape of the HTTP API. The protocol numbers are those of Consul's serf.
pub(in crate::http) fn row(member: &Member) -> Row {
    Row {
        name: member.name.clone(),
        addr: member.address.ip().to_string(),
        port: member.address.port(),
        tags: member.tags.clone(),
        status: member.status.number(),
        protocol_min: 1,
        protocol_max: 5,
        protocol_cur: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate_cur: 4,
    }
}
