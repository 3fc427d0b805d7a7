//! `?cached`: responses served from the agent cache, with `X-Cache` and `Age` (Consul "Agent caching").
//!
//! A client agent answers instances of a service from the view that it follows of it, blocking
//! queries included; the first question about a service opens the view and is a MISS. The age of a
//! view is zero while it is followed, and else the time since its stream broke; a stream that broke
//! without a word is noticed after ten seconds. A server has all of the state: its answer is as
//! fresh as a default read, a HIT of age zero.
//!
//! `Cache-Control`: `max-age` bounds the age, `must-revalidate` asks a server in any case,
//! `stale-if-error` says how old an answer may be when no server can be asked.

use std::{sync::Arc, time::Duration};

use http::{Method, header::CACHE_CONTROL};
use lictor_api::query::{Consistency, QueryMeta, QueryOptions};
use lictor_core::state::{State, WatchSet, view::View};
use lictor_runtime::backoff::extended;
use tokio::time::timeout;

use super::{
    Context, HttpError, Request, Response,
    routes::{Handler, Route},
};
use crate::{agent::Agent, views::Cached};

/// What a client accepts of a cache.
#[derive(Debug, Default, PartialEq, Eq)]
struct Policy {
    /// No answer but a server's.
    revalidate: bool,
    max_age: Option<Duration>,
    stale_if_error: Duration,
}

impl Policy {
    /// Reads `Cache-Control`; what cannot be read does not count (RFC 9111 section 4.2.1).
    fn read(request: &Request) -> Self {
        let mut policy = Self::default();
        let header = request.header(CACHE_CONTROL).unwrap_or_default();
        for directive in header.split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = value.trim().trim_matches('"').parse().ok().map(Duration::from_secs);
            match (name.trim().to_ascii_lowercase().as_str(), seconds) {
                ("must-revalidate", _) => policy.revalidate = true,
                ("max-age", Some(age)) => policy.max_age = Some(age),
                ("stale-if-error", Some(age)) => policy.stale_if_error = age,
                _ => {}
            }
        }
        // COMPAT: Go's client cannot say anything else to get around the cache.
        policy.revalidate |= policy.max_age == Some(Duration::ZERO);
        policy
    }

    fn accepts(&self, age: Duration) -> bool {
        !self.revalidate && self.max_age.is_none_or(|limit| age <= limit)
    }
}

/// Returns whether a request asks for the cache.
pub(super) fn is_requested(route: &Route, request: &Request) -> bool {
    request.has("cached") && request.method() == Method::GET && route.is_cached
}

/// The view that a request can be answered from, on an agent that follows views. Distances are
/// known to servers only.
fn view(route: &Route, request: &Request) -> Option<View> {
    let needs_server = ["consistent", "near"].iter().any(|parameter| request.has(parameter));
    if needs_server || !is_requested(route, request) || request.tail().is_empty() {
        return None;
    }
    let name = request.tail().into();
    if route.is_of_service {
        return Some(View::service(&name));
    }
    route.is_of_connect.then(|| View::connect(&name))
}

/// Marks a server's own response: it is always current.
pub(super) fn from_cache(response: Response) -> Response {
    response.with_header("x-cache", "HIT").with_header("age", "0")
}

/// Returns the response of a client agent from its views, or that of `forward_to_server` where the
/// views do not have it or the request does not want them.
pub(super) async fn answer<F>(
    agent: &Arc<Agent>,
    route: &'static Route,
    handler: Handler,
    request: Request,
    forward_to_server: impl FnOnce(Request) -> F,
) -> Result<Response, HttpError>
where
    F: Future<Output = Result<Response, HttpError>>,
{
    let own = agent.config.load().datacenter.clone();
    let is_here = request.datacenter().is_none_or(|asked| asked == own);
    let view = view(route, &request).filter(|_| is_here);
    let (Some(views), Some(view)) = (&agent.views, view) else {
        return forward_to_server(request).await;
    };
    let policy = Policy::read(&request);
    let Some(cached) = views.cached(&view).await else {
        return Ok(forward_to_server(request).await?.with_header("x-cache", "MISS"));
    };
    if !policy.accepts(cached.age) {
        let fresh = forward_to_server(request.clone()).await;
        match fresh {
            Err(_) if !policy.revalidate && cached.age <= policy.stale_if_error => {}
            fresh => return Ok(fresh?.with_header("x-cache", "MISS")),
        }
    }
    let (hit, age) = (cached.hit, cached.age);
    let mut context = Context::identify(agent, &request).await;
    context.view = Some(cached);
    let response = handler(context, request).await?;
    let response = response.with_header("x-consul-query-backend", "streaming");
    Ok(match hit {
        true => {
            response.with_header("x-cache", "HIT").with_header("age", &age.as_secs().to_string())
        }
        false => response.with_header("x-cache", "MISS"),
    })
}

impl Cached {
    /// Answers a read, after blocking if the client gave an index, as a server does.
    pub(super) async fn query<T>(
        &self,
        options: &QueryOptions,
        read: impl Fn(&State, &mut WatchSet) -> T,
    ) -> (QueryMeta, T) {
        let (index, answer) = match (options.index, options.wait) {
            (0, _) => self.store.read(read),
            (index, wait) => {
                let changed = self.store.read_after(index, &read);
                match timeout(extended(wait.unwrap_or_default()), changed).await {
                    Ok(changed) => changed,
                    Err(_) => self.store.read(read),
                }
            }
        };
        let meta = QueryMeta {
            index,
            last_contact_ms: u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX),
            known_leader: self.age.is_zero(),
            consistency: Consistency::Stale,
        };
        (meta, answer)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::http::Peer;

    fn policy(header: &str) -> Policy {
        let head = http::Request::get("/").header(CACHE_CONTROL, header).body(()).unwrap();
        Policy::read(&Request::new(head.into_parts().0, Bytes::new(), Peer::Unix).unwrap())
    }

    #[test]
    fn a_client_says_how_old_an_answer_may_be() {
        let seconds = Duration::from_secs;
        assert!(policy("").accepts(seconds(1_000_000)));
        let bounded = policy("max-age=30, stale-if-error=90");
        assert!(bounded.accepts(seconds(30)) && !bounded.accepts(seconds(31)));
        assert_eq!(bounded.stale_if_error, seconds(90));
        assert!(!policy("Must-Revalidate").accepts(Duration::ZERO));
        assert!(!policy("max-age=0").accepts(Duration::ZERO));
        assert_eq!(policy("max-age=soon, no-transform"), Policy::default());
    }
}
