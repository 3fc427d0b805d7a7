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

/// Header that says what holds without a token; sent with every answer.
const DEFAULT_ACL_POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");
/// How often a request is forwarded: by a client agent to a server, and by that to a server of
/// another datacenter. One more, and agents disagree about which datacenter is whose.
const MAX_HOPS: u8 = 2;
/// Header that says that this agent shows addresses of the WAN where they are to be used.
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
    // The agent that forwarded the request says so for itself.
    response.headers.remove(TRANSLATE_ADDRESSES);
    if translates {
        response = response.with_header(TRANSLATE_ADDRESSES, "true");
    }
    response
        .with(DEFAULT_ACL_POLICY, HeaderValue::from_static("allow"))
        .finish(indented, pretty, gzip)
}

/// Turns errors and panics of a handler into responses: a defect is one request's, not the agent's
/// end.
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
    // Requests that other agents forwarded are counted there.
    let times = (!request.peer.is_forwarded()).then(|| route.times(action));
    let result = run(agent, route, action.handler, request).await;
    if let Some(times) = times {
        times.observe_since(started);
    }
    result
}

/// Answers a request, or has a server answer it.
async fn run(
    agent: &Arc<Agent>,
    route: &'static Route,
    handler: Handler,
    request: Request,
) -> Result<Response, HttpError> {
    request.check_parameters()?;
    if let Some(datacenter) = target_datacenter(agent, route, &request) {
        let ask = |request| forward(agent, route, datacenter, request);
        return Box::pin(cached::answer(agent, route, handler, request, ask)).await;
    }
    let context = Context::identify(agent, &request).await;
    let is_cached = cached::is_asked(route, &request);
    let response = handler(context, request).await?;
    Ok(if is_cached { cached::from_cache(response) } else { response })
}

/// Forwards a request to a server of `datacenter`.
///
/// # Errors
/// [`HttpError::NoDatacenter`] for a request that was forwarded [`MAX_HOPS`] times already.
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
    let own = &agent.local.node().name;
    request.fill_in_agent(own);
    if route.fills_in_node && !request.peer.is_forwarded() {
        session::fill_in_node(&mut request, own);
    }
    let response = agent.forwarder.http(&datacenter, &request, config.queries.max_wait).await?;
    // The agent that the client asked translates; agents between it and the server do not.
    let is_far = request.datacenter().is_some_and(|asked| asked != config.datacenter);
    let translates = config.translate_wan_addrs && is_far && !request.peer.is_forwarded();
    let translates = translates && route.has_addresses;
    Ok(if translates { translate::with_wan_addresses(response) } else { response })
}

/// Returns the datacenter whose servers answer the request, if this agent does not. What an agent of
/// its own datacenter forwarded to this server stays here.
fn target_datacenter(agent: &Agent, route: &Route, request: &Request) -> Option<String> {
    if route.is_about_agent {
        return None;
    }
    let own = &agent.config.load().datacenter;
    let asked = request.datacenter().unwrap_or(own);
    match agent.server() {
        Some(_) if asked == own => None,
        // A client agent's servers know the way to other datacenters.
        Some(_) => Some(asked.to_owned()),
        None => Some(own.clone()),
    }
}
