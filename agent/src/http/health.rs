//! `/v1/health/`: checks, and instances with their checks (Consul "Health HTTP API").

use std::sync::Arc;

use lictor_api::{
    NodeName, ServiceName,
    contract::SERF_CHECK_ID,
    go::parse_bool,
    types::health::{CheckServiceNode, CheckStatus, HealthCheck},
};
use lictor_core::{
    acl::Access,
    state::{State, Topic, WatchSet, catalog::fold},
};

use super::{
    Context, HttpError, Request, Response,
    catalog::{InstanceQuery, has_meta},
    near::Near,
};
use crate::telemetry::metrics;

/// `GET /v1/health/node/:node`: the checks on a node.
pub(super) async fn node(cx: Context, request: Request) -> Result<Response, HttpError> {
    let name = NodeName::from(request.tail());
    if name.is_empty() {
        return Err(HttpError::MissingNodeName);
    }
    cx.authorize(&Access::Node { name: &name, write: false, synthetic: false })?;
    checks_where(cx, request, |state, topics| {
        topics.add(Topic::Node(fold(&name)));
        state.catalog.node_checks(&name).cloned().collect()
    })
    .await
}

/// `GET /v1/health/checks/:service`: the checks of a service's instances.
pub(super) async fn checks(cx: Context, request: Request) -> Result<Response, HttpError> {
    let name = ServiceName::from(request.tail());
    if name.is_empty() {
        return Err(HttpError::MissingServiceName);
    }
    cx.authorize(&Access::Service { name: &name, write: false, of_pod: false })?;
    let node_meta = request.node_meta();
    checks_where(cx, request, |state, topics| {
        topics.add(Topic::Service(fold(&name)));
        state
            .catalog
            .service_instances(&name)
            .filter(|instance| has_meta(instance.node, &node_meta))
            .flat_map(|instance| instance.checks())
            .filter(|check| !check.service_id.is_empty())
            .cloned()
            .collect()
    })
    .await
}

/// `GET /v1/health/state/:state`: all checks in a state, or `any`. Of a node that is not alive no
/// service counts as passing, as in DNS and with `?passing`.
pub(super) async fn state(cx: Context, request: Request) -> Result<Response, HttpError> {
    let wanted = request.tail().to_owned();
    if wanted.is_empty() {
        return Err(HttpError::MissingCheckState);
    }
    let node_meta = request.node_meta();
    checks_where(cx, request, |state, topics| {
        topics.add(Topic::Checks);
        if !node_meta.is_empty() {
            topics.add(Topic::Nodes);
        }
        let in_state =
            |check: &Arc<HealthCheck>| wanted == "any" || wanted == check.status.as_str();
        let on_node = |check: &Arc<HealthCheck>| {
            node_meta.is_empty()
                || state.catalog.node(&check.node).is_some_and(|node| has_meta(node, &node_meta))
        };
        // Nobody has seen such a check pass since its node went; Consul lists it all the same.
        let is_alive = |check: &Arc<HealthCheck>| {
            wanted != CheckStatus::Passing.as_str()
                || check.service_id.is_empty()
                || state.catalog.node_checks(&check.node).all(|other| {
                    &*other.check_id != SERF_CHECK_ID || other.status == CheckStatus::Passing
                })
        };
        let checks = state.catalog.checks();
        checks
            .filter(|check| in_state(check) && on_node(check) && is_alive(check))
            .cloned()
            .collect()
    })
    .await
}

async fn checks_where(
    cx: Context,
    request: Request,
    read: impl Fn(&State, &mut WatchSet) -> Vec<Arc<HealthCheck>>,
) -> Result<Response, HttpError> {
    let filter = request.filter::<HealthCheck>()?;
    let near = Near::new(&cx, &request);
    let (meta, checks) = cx
        .read_catalog(&request, |state, topics| {
            let mut checks = read(state, topics);
            near.sort(state, &mut checks, |check| &check.node);
            checks
        })
        .await?;
    Ok(Response::json(&filter.apply(checks)?)?.with_meta(&meta))
}

/// `GET /v1/health/service/:service`: instances with their checks; `?passing` only healthy ones.
pub(super) async fn service(cx: Context, request: Request) -> Result<Response, HttpError> {
    instances(cx, request, false).await
}

/// `GET /v1/health/connect/:service`: the service's mesh endpoints with their checks.
pub(super) async fn connect(cx: Context, request: Request) -> Result<Response, HttpError> {
    instances(cx, request, true).await
}

async fn instances(cx: Context, request: Request, mesh: bool) -> Result<Response, HttpError> {
    let queries =
        if mesh { &metrics::HEALTH_CONNECT_QUERY } else { &metrics::HEALTH_SERVICE_QUERY };
    queries.increment();
    let filter = request.filter::<CheckServiceNode>()?;
    let passing = match request.param("passing") {
        None => false,
        Some("") => true,
        Some(text) => parse_bool(text).ok_or(HttpError::InvalidPassing)?,
    };
    let query = InstanceQuery::new(&request, mesh)?;
    let near = Near::new(&cx, &request);
    cx.authorize(&Access::Service { name: &query.name, write: false, of_pod: false })?;
    let (meta, rows) = cx
        .read_catalog(&request, |state, topics| {
            let row = |instance: lictor_core::state::Instance<'_>| {
                let wanted = !passing || instance.status == CheckStatus::Passing;
                wanted.then(|| instance.to_check_service_node())
            };
            let mut rows: Vec<_> = query.select(state, topics, row).into_iter().flatten().collect();
            near.sort(state, &mut rows, |row| &row.node.name);
            rows
        })
        .await?;
    Ok(Response::json(&filter.apply(rows)?)?.with_meta(&meta))
}

/// `GET /v1/health/ingress/:service`: the ingress gateways of a service; there are none yet.
pub(super) async fn ingress(cx: Context, request: Request) -> Result<Response, HttpError> {
    let name = ServiceName::from(request.tail());
    if name.is_empty() {
        return Err(HttpError::MissingServiceName);
    }
    cx.authorize(&Access::Service { name: &name, write: false, of_pod: false })?;
    let none = |_: &State, topics: &mut WatchSet| {
        topics.add(Topic::Service(fold(&name)));
        Vec::<CheckServiceNode>::new()
    };
    let (meta, rows) = cx.read_catalog(&request, none).await?;
    Ok(Response::json(&rows)?.with_meta(&meta))
}
