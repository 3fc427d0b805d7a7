//! From a request to its handler: the route, the datacenter, the cache, and what every response
//! carries.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{
    Context, HttpError, Request, Response, cached,
    routes::{self, Found, Handler, Route},
    session, translate,
};
use crate::{agent::Agent, telemetry::metrics};

/// Header with the default ACL policy, on every response.
const DEFAULT_ACL_POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");
/// How often a request is forwarded: by a client agent to a server, and by that to a server of
/// another datacenter. A further hop means that agents disagree about a server's datacenter.
const MAX_HOPS: u8 = 2;
/// Header that is `true` if the agent translates addresses (`translate_wan_addrs`).
const TRANSLATE_ADDRESSES: &str = "x-consul-translate-addresses";

/// Returns the response to one request. Errors and panics of handlers become responses too.
pub async fn answer(agent: &Arc<Agent>, request: Request) -> Response {
    let (indented, translates) = {
        let config = agent.config.load();
        (config.pretty_json, config.translate_wan_addrs)
    };
    let pretty = request.has("pretty");
    let gzip = request.accepts_gzip();
    let mut response = Box::pin(guarded(dispatch(agent, request))).await;
    // The agent that received the request from the client sets it, not the server it forwarded to.
    response.headers.remove(TRANSLATE_ADDRESSES);
    if translates {
        response = response.with_header(TRANSLATE_ADDRESSES, "true");
    }
    response
        .with(DEFAULT_ACL_POLICY, HeaderValue::from_static("allow"))
        .finish(indented, pretty, gzip)
}

/// Turns errors and panics of a handler into responses: a panic fails one request, not the agent.
pub(super) async fn guarded(
    handling: impl Future<Output = Result<Response, HttpError>>,
) -> Response {
    let result = AssertUnwindSafe(handling).catch_unwind().await;
    result.unwrap_or(Err(HttpError::Panicked)).unwrap_or_else(HttpError::into_response)
}

async fn dispatch(agent: &Arc<Agent>, mut request: Request) -> Result<Response, HttpError> {
    match routes::find(request.path()) {
        Found::Route(route) => {
            request.strip(route.path)?;
            call(agent, route, request).await
        }
        Found::Moved(path) => Ok(Response::moved(&path, &request)),
        Found::Root if agent.config.load().ui_enabled => Ok(Response::moved("/ui/", &request)),
        Found::Root => Ok(Response::text(
            StatusCode::OK,
            "Consul Agent: UI disabled. To enable, set ui_config.enabled=true in the agent \
             configuration and restart.",
        )),
        Found::Nothing => Err(HttpError::UnknownPath { v1: request.path().contains("/v1/") }),
    }
}

async fn call(
    agent: &Arc<Agent>,
    route: &'static Route,
    request: Request,
) -> Result<Response, HttpError> {
    if request.method() == Method::OPTIONS {
        return Ok(Response::empty(StatusCode::OK).with_header("allow", &route.allow()));
    }
    let Some(action) = route.action(request.method()) else {
        return Err(HttpError::MethodNotAllowed {
            method: request.method().clone(),
            allow: route.allow(),
        });
    };
    let started = Instant::now();
    // A forwarded request is timed by the agent that received it from the client.
    let times = (!request.peer.is_forwarded()).then(|| route.times(action));
    let result = run(agent, route, action.handler, request).await;
    if let Some(times) = times {
        times.observe_since(started);
    }
    result
}

/// Runs the handler here, or forwards the request to a server.
async fn run(
    agent: &Arc<Agent>,
    route: &'static Route,
    handler: Handler,
    request: Request,
) -> Result<Response, HttpError> {
    request.check_parameters()?;
    if let Some(datacenter) = target_datacenter(agent, route, &request) {
        let forward_to_server = |request| forward(agent, route, datacenter, request);
        let response = cached::answer(agent, route, handler, request, forward_to_server);
        return Box::pin(response).await;
    }
    let context = Context::identify(agent, &request).await;
    let is_cached = cached::is_requested(route, &request);
    let response = handler(context, request).await?;
    Ok(if is_cached { cached::from_cache(response) } else { response })
}

/// Forwards a request to a server of `datacenter`.
///
/// # Errors
/// [`HttpError::NoDatacenter`] after [`MAX_HOPS`] hops, [`HttpError::RateLimited`] above
/// `limits.rpc_rate`, and [`HttpError::Forward`] otherwise.
async fn forward(
    agent: &Arc<Agent>,
    route: &Route,
    datacenter: String,
    mut request: Request,
) -> Result<Response, HttpError> {
    if request.hops() >= MAX_HOPS {
        return Err(HttpError::NoDatacenter);
    }
    request.add_hop();
    let config = agent.config.load_full();
    let limit = config.limits.rpc_rate.filter(|_| agent.server().is_none());
    if !agent.forwarder.admits(limit) {
        metrics::CLIENT_RPC_EXCEEDED.increment();
        return Err(HttpError::RateLimited);
    }
    let own_node = &agent.local.node().name;
    request.fill_in_agent(own_node);
    if route.fills_in_node && !request.peer.is_forwarded() {
        session::fill_in_node(&mut request, own_node);
    }
    let response = agent.forwarder.http(&datacenter, &request, config.queries.max_wait).await?;
    // Translated by the agent that received the request from the client, not by those after it.
    let is_remote = request.datacenter().is_some_and(|requested| requested != config.datacenter);
    let translates = config.translate_wan_addrs && is_remote && !request.peer.is_forwarded();
    let translates = translates && route.has_addresses;
    Ok(if translates { translate::with_wan_addresses(response) } else { response })
}

/// Returns the datacenter whose servers the request is forwarded to. `None` if it is handled here:
/// a request about the agent itself, and at a server one for its own datacenter.
fn target_datacenter(agent: &Agent, route: &Route, request: &Request) -> Option<String> {
    if route.is_about_agent {
        return None;
    }
    let own_datacenter = &agent.config.load().datacenter;
    let requested = request.datacenter().unwrap_or(own_datacenter);
    match agent.server() {
        Some(_) if requested == own_datacenter => None,
        Some(_) => Some(requested.to_owned()),
        // A client agent knows no servers of other datacenters; its own ones forward further.
        None => Some(own_datacenter.clone()),
    }
}
