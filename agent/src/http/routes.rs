//! The table of endpoints, and how a path finds its row.
//!
//! A row whose path ends in `/` answers everything below it, as in Go's ServeMux; the handler gets
//! the rest of the path with [`super::Request::tail`]. The longest row wins. To add an endpoint,
//! write `async fn name(cx: Context, request: Request) -> Result<Response, HttpError>` in its
//! family's file and add a row where the order of paths wants it: rows are searched by halves. What
//! holds of an endpoint as a whole is a property of its row: `[is_about_agent, is_cached]`.

use std::{borrow::Cow, future::Future, pin::Pin, sync::OnceLock};

use http::Method;
use lictor_runtime::metrics::Sample;

use super::{
    Context, HttpError, Request, Response, agent, catalog, config_entry, connect, coordinate,
    event, health, keyring, kv, metrics, operator, ready, session, snapshot, status, txn,
};
use crate::telemetry::metrics::API_HTTP;

/// What a handler returns.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<Response, HttpError>> + Send>>;
/// Answers a request of one method on one path.
pub type Handler = fn(Context, Request) -> HandlerFuture;

/// One method of an endpoint.
#[derive(Debug)]
pub struct Action {
    /// The method.
    pub method: Method,
    /// Answers its requests.
    pub handler: Handler,
    /// How long that takes; there once a request was answered.
    times: &'static OnceLock<&'static Sample>,
}

/// One endpoint.
#[derive(Debug)]
pub struct Route {
    /// The path; everything below it when it ends in `/`.
    pub path: &'static str,
    /// Accepted methods, in the order of the `Allow` header.
    pub methods: &'static [Action],
    /// It is about the very agent that is asked, so that no other can answer.
    pub is_about_agent: bool,
    /// Consul keeps its responses in the agent's cache when asked to (`?cached`).
    pub is_cached: bool,
    /// The view of a service's instances answers it.
    pub is_of_service: bool,
    /// The view of a service's mesh endpoints answers it.
    pub is_of_connect: bool,
    /// A body that names no node means the node of the agent that was asked.
    pub fills_in_node: bool,
    /// Its rows have addresses, which `translate_wan_addrs` replaces.
    pub has_addresses: bool,
    /// A body that is put may be an archive.
    pub takes_archive: bool,
}

impl Route {
    /// A row without properties.
    const PLAIN: Self = Self {
        path: "",
        methods: &[],
        is_about_agent: false,
        is_cached: false,
        is_of_service: false,
        is_of_connect: false,
        fills_in_node: false,
        has_addresses: false,
        takes_archive: false,
    };

    /// What is done for a method.
    pub fn action(&self, method: &Method) -> Option<&'static Action> {
        self.methods.iter().find(|action| action.method == *method)
    }

    /// Returns the sample of how long the requests of one of its methods take.
    pub(super) fn times(&self, action: &Action) -> &'static Sample {
        action.times.get_or_init(|| {
            // COMPAT: Consul's form of a path, with a part for what follows it.
            let path = self.path.trim_start_matches('/').replace('/', ".");
            let rest = if path.ends_with('.') { "_" } else { "" };
            API_HTTP.with(&[action.method.as_str(), &format!("{path}{rest}")])
        })
    }

    /// The `Allow` header.
    pub fn allow(&self) -> String {
        let mut allow = "OPTIONS".to_owned();
        for action in self.methods {
            allow.push(',');
            allow.push_str(action.method.as_str());
        }
        allow
    }
}

macro_rules! routes {
    ($($path:literal $([$($property:ident),+])? { $($method:ident $handler:path),+ $(,)? })*) => {
        &[$(Route {
            path: $path,
            methods: &[$(Action {
                method: Method::$method,
                handler: |cx, request| Box::pin($handler(cx, request)),
                times: {
                    static TIMES: OnceLock<&Sample> = OnceLock::new();
                    &TIMES
                },
            }),+],
            $($($property: true,)+)?
            ..Route::PLAIN
        }),*]
    };
}

/// Every endpoint, in the order of the paths, so that a request's is found by halving. A path that ends
/// with a slash is all that is below it.
#[rustfmt::skip]
pub static ROUTES: &[Route] = routes! {
    "/v1/agent/check/deregister/" [is_about_agent] { PUT agent::checks::deregister }
    "/v1/agent/check/fail/" [is_about_agent] { PUT agent::checks::fail }
    "/v1/agent/check/pass/" [is_about_agent] { PUT agent::checks::pass }
    "/v1/agent/check/register" [is_about_agent] { PUT agent::checks::register }
    "/v1/agent/check/update/" [is_about_agent] { PUT agent::checks::update }
    "/v1/agent/check/warn/" [is_about_agent] { PUT agent::checks::warn }
    "/v1/agent/checks" [is_about_agent] { GET agent::checks::list }
    "/v1/agent/connect/authorize" { POST connect::agent::authorize }
    "/v1/agent/connect/ca/leaf/" { GET connect::agent::leaf }
    "/v1/agent/connect/ca/roots" { GET connect::ca::roots }
    "/v1/agent/force-leave/" [is_about_agent] { PUT agent::members::force_leave }
    "/v1/agent/health/service/id/" [is_about_agent] { GET agent::by_id }
    "/v1/agent/health/service/name/" [is_about_agent] { GET agent::by_name }
    "/v1/agent/join/" [is_about_agent] { PUT agent::members::join }
    "/v1/agent/leave" [is_about_agent] { PUT agent::leave }
    "/v1/agent/maintenance" [is_about_agent] { PUT agent::maintenance }
    "/v1/agent/members" [is_about_agent] { GET agent::members::list }
    "/v1/agent/metrics" [is_about_agent] { GET metrics::show }
    "/v1/agent/ready" [is_about_agent] { GET ready::ready }
    "/v1/agent/reload" [is_about_agent] { PUT agent::reload }
    "/v1/agent/self" [is_about_agent] { GET agent::own::describe }
    "/v1/agent/service/" [is_about_agent] { GET agent::services::get }
    "/v1/agent/service/deregister/" [is_about_agent] { PUT agent::services::deregister }
    "/v1/agent/service/maintenance/" [is_about_agent] { PUT agent::services::maintenance }
    "/v1/agent/service/register" [is_about_agent] { PUT agent::services::register }
    "/v1/agent/services" [is_about_agent] { GET agent::services::list }
    "/v1/agent/version" [is_about_agent] { GET agent::own::version }
    "/v1/catalog/connect/" [is_cached, is_of_connect, has_addresses] { GET catalog::connect }
    "/v1/catalog/datacenters" [is_cached, has_addresses] { GET catalog::datacenters }
    "/v1/catalog/deregister" [has_addresses] { PUT catalog::deregister }
    "/v1/catalog/node-services/" [is_cached, has_addresses] { GET catalog::node_services }
    "/v1/catalog/node/" [has_addresses] { GET catalog::node }
    "/v1/catalog/nodes" [has_addresses] { GET catalog::nodes }
    "/v1/catalog/register" [has_addresses] { PUT catalog::register }
    "/v1/catalog/service/" [is_cached, is_of_service, has_addresses] { GET catalog::service }
    "/v1/catalog/services" [is_cached, has_addresses] { GET catalog::services }
    "/v1/config" { PUT config_entry::put }
    "/v1/config/" { GET config_entry::get, DELETE config_entry::delete }
    "/v1/connect/ca/configuration" { GET connect::ca::configuration, PUT connect::ca::configure }
    "/v1/connect/ca/roots" { GET connect::ca::roots }
    "/v1/connect/intentions" { GET connect::intentions::list, POST connect::intentions::create }
    "/v1/connect/intentions/" { GET connect::intentions::by_id, PUT connect::intentions::put_by_id, DELETE connect::intentions::delete_by_id }
    "/v1/connect/intentions/check" { GET connect::intentions::check }
    "/v1/connect/intentions/exact" { GET connect::intentions::exact, PUT connect::intentions::put_exact, DELETE connect::intentions::delete_exact }
    "/v1/connect/intentions/match" [is_cached] { GET connect::intentions::matching }
    "/v1/coordinate/datacenters" { GET coordinate::datacenters }
    "/v1/coordinate/node/" { GET coordinate::node }
    "/v1/coordinate/nodes" { GET coordinate::nodes }
    "/v1/coordinate/update" { PUT coordinate::update }
    "/v1/event/fire/" [is_about_agent] { PUT event::fire }
    "/v1/event/list" [is_about_agent] { GET event::list }
    "/v1/health/checks/" [has_addresses] { GET health::checks }
    "/v1/health/connect/" [is_cached, is_of_connect, has_addresses] { GET health::connect }
    "/v1/health/ingress/" [has_addresses] { GET health::ingress }
    "/v1/health/node/" [has_addresses] { GET health::node }
    "/v1/health/service/" [is_cached, is_of_service, has_addresses] { GET health::service }
    "/v1/health/state/" [has_addresses] { GET health::state }
    "/v1/kv/" { GET kv::get, PUT kv::put, DELETE kv::delete }
    "/v1/operator/autopilot/configuration" { GET operator::autopilot::configuration, PUT operator::autopilot::configure }
    "/v1/operator/autopilot/health" { GET operator::autopilot::health }
    "/v1/operator/autopilot/state" { GET operator::autopilot::state }
    "/v1/operator/keyring" { GET keyring::list, POST keyring::install, PUT keyring::select, DELETE keyring::remove }
    "/v1/operator/raft/configuration" { GET operator::raft::configuration }
    "/v1/operator/raft/peer" { DELETE operator::raft::remove }
    "/v1/operator/raft/transfer-leader" { POST operator::raft::transfer }
    "/v1/session/create" [fills_in_node] { PUT session::create }
    "/v1/session/destroy/" { PUT session::destroy }
    "/v1/session/info/" { GET session::info }
    "/v1/session/list" { GET session::list }
    "/v1/session/node/" { GET session::node }
    "/v1/session/renew/" { PUT session::renew }
    "/v1/snapshot" [takes_archive] { GET snapshot::save, PUT snapshot::restore }
    "/v1/status/leader" { GET status::leader }
    "/v1/status/peers" { GET status::peers }
    "/v1/txn" { PUT txn::run }
};

/// Where a path leads.
#[derive(Debug)]
pub enum Found {
    /// To an endpoint.
    Route(&'static Route),
    /// To the same path written properly.
    Moved(String),
    /// To `/`.
    Root,
    /// Nowhere.
    Nothing,
}

/// Looks up a path as it was sent (percent-encoded, without the query).
pub fn find(path: &str) -> Found {
    let clean = clean(path);
    if clean != path {
        return Found::Moved(clean.into_owned());
    }
    // The path itself, then what it is below of, the longest first.
    let ends = path.rmatch_indices('/').map(|(slash, _)| slash + 1);
    let mut prefixes = std::iter::once(path).chain(ends.map(|end| &path[..end]));
    if let Some(route) = prefixes.find_map(route) {
        return Found::Route(route);
    }
    let subtree = format!("{path}/");
    match path {
        "/" => Found::Root,
        _ if route(&subtree).is_some() => Found::Moved(subtree),
        _ => Found::Nothing,
    }
}

fn route(path: &str) -> Option<&'static Route> {
    let found = ROUTES.binary_search_by(|route| route.path.cmp(path));
    found.ok().and_then(|at| ROUTES.get(at))
}

/// The path without empty, `.` and `..` segments; a trailing slash stays. COMPAT: Go's `cleanPath`.
fn clean(path: &str) -> Cow<'_, str> {
    let is_clean = path.starts_with('/')
        && !path.contains("//")
        && !path.split('/').any(|segment| matches!(segment, "." | ".."));
    if is_clean {
        return Cow::Borrowed(path);
    }
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut clean = format!("/{}", segments.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        for (sent, cleaned) in [
            ("/v1/kv/a", "/v1/kv/a"),
            ("/v1//kv/a", "/v1/kv/a"),
            ("/v1/kv//a/", "/v1/kv/a/"),
            ("/v1/kv/a/../b", "/v1/kv/b"),
            ("/v1/kv/./b", "/v1/kv/b"),
            ("/../..", "/"),
            ("//", "/"),
            ("/v1/kv/a%2F%2Fb", "/v1/kv/a%2F%2Fb"),
            ("/v1/kv/..a", "/v1/kv/..a"),
        ] {
            assert_eq!(clean(sent), cleaned, "{sent}");
        }
    }

    #[test]
    fn rows_are_in_order_and_none_is_there_twice() {
        assert!(ROUTES.windows(2).all(|pair| pair[0].path < pair[1].path));
    }

    #[test]
    fn the_longest_row_answers() {
        let found = |path| match find(path) {
            Found::Route(route) => route.path,
            Found::Moved(_) => "moved",
            Found::Root => "root",
            Found::Nothing => "nothing",
        };
        assert_eq!(found("/v1/kv/a/b"), "/v1/kv/");
        assert_eq!(found("/v1/kv/"), "/v1/kv/");
        assert_eq!(found("/v1/kv"), "moved");
        assert_eq!(found("/v1/agent/checks"), "/v1/agent/checks");
        assert_eq!(found("/v1/agent/checks/a"), "nothing");
        assert_eq!(found("/v1/health/service/web"), "/v1/health/service/");
        assert_eq!((found("/"), found("/v1/")), ("root", "nothing"));
    }
}
