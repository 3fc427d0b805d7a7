//! `/v1/agent/service(s)`: the agent's own services.

use std::collections::BTreeMap;

use lictor_api::{
    GoDuration, ServiceId,
    contract::META_POD_UID,
    go::parse_bool,
    types::{
        agent::{AgentService, ServiceDefinition},
        catalog::NodeService,
    },
};
use lictor_core::acl::Access;
use tokio::time::{Instant, timeout_at};

use super::{change, maintenance_reason};
use crate::{
    http::{Context, HttpError, Request, Response},
    local::{RegistrationError, Source},
};

/// `GET /v1/agent/services`: returns all own services, by ID.
pub(in crate::http) async fn list(cx: Context, request: Request) -> Result<Response, HttpError> {
    let filter = request.filter::<AgentService>()?;
    let datacenter = cx.agent.config.load().datacenter.clone();
    let mut rows = BTreeMap::new();
    for local in cx.agent.local.snapshot().services() {
        let row = AgentService::new(&local.service, &datacenter);
        if filter.passes(&row)? {
            rows.insert(row.id.clone(), row);
        }
    }
    Response::json(&rows)
}

/// `GET /v1/agent/service/:id`: returns one service; blocks while its content has the given
/// `?hash`.
pub(in crate::http) async fn get(cx: Context, request: Request) -> Result<Response, HttpError> {
    let id = id_in_path(&request)?;
    let known = request.param("hash").unwrap_or_default();
    let wait = match request.param("wait").filter(|text| !text.is_empty()) {
        Some(text) => Some(text.parse::<GoDuration>().map_err(|_| HttpError::InvalidWait)?.0),
        None => None,
    };
    let deadline = Instant::now() + cx.wait(wait);
    let datacenter = cx.agent.config.load().datacenter.clone();
    let mut changes = cx.agent.local.changes();
    loop {
        changes.mark_unchanged();
        let table = cx.agent.local.snapshot();
        let local = table.service(&id).ok_or_else(|| HttpError::UnknownServiceId(id.clone()))?;
        cx.authorize(&access(&local.service, false))?;
        let mut row = AgentService::new(&local.service, &datacenter);
        row.content_hash = content_hash(&row)?;
        let same = row.content_hash == known;
        if !same || !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            return Ok(Response::json(&row)?.with_header("x-consul-contenthash", &row.content_hash));
        }
    }
}

/// `PUT /v1/agent/service/register`: registers a service with its checks and sidecar.
pub(in crate::http) async fn register(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let definition: ServiceDefinition = request.decode()?;
    let of_pod = definition.meta.contains_key(META_POD_UID);
    cx.authorize(&Access::Service { name: &definition.name, write: true, of_pod })?;
    // COMPAT: the parameter alone is enough; only a false value turns it off.
    let replace = request.param("replace-existing-checks");
    let replace = replace.is_some_and(|value| parse_bool(value) != Some(false));
    change(&cx, move |local| local.register_service(definition, Source::Http, replace)).await
}

/// `PUT /v1/agent/service/deregister/:id`: removes an instance with its checks and sidecar.
pub(in crate::http) async fn deregister(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let id = own_service(&cx, &request)?;
    change(&cx, move |local| local.deregister_service(&id)).await
}

/// `PUT /v1/agent/service/maintenance/:id`: takes an instance out of service or back.
pub(in crate::http) async fn maintenance(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let reason = maintenance_reason(&request)?;
    let id = own_service(&cx, &request)?;
    change(&cx, move |local| local.set_maintenance(Some(&id), reason.as_deref())).await
}

/// Returns the ID in the path if the instance is registered and the caller may change it.
fn own_service(cx: &Context, request: &Request) -> Result<ServiceId, HttpError> {
    let id = id_in_path(request)?;
    let table = cx.agent.local.snapshot();
    let local = table.service(&id).ok_or_else(|| RegistrationError::UnknownService(id.clone()))?;
    cx.authorize(&access(&local.service, true))?;
    Ok(id)
}

fn id_in_path(request: &Request) -> Result<ServiceId, HttpError> {
    let id = ServiceId::from(request.tail());
    if id.is_empty() { Err(HttpError::MissingServiceId) } else { Ok(id) }
}

/// Returns the access that reading or changing an instance requires.
pub(super) fn access(service: &NodeService, write: bool) -> Access<'_> {
    Access::Service {
        name: &service.service,
        write,
        of_pod: service.meta.contains_key(META_POD_UID),
    }
}

/// Returns an opaque text that changes with the response.
fn content_hash(row: &AgentService) -> Result<String, HttpError> {
    let json = serde_json::to_vec(row).map_err(HttpError::Encode)?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &json);
    Ok(digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
