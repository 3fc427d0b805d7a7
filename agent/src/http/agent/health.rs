//! `/v1/agent/health/service/`: the health of an own instance, as a status code for load
//! balancers: 200 passing, 429 warning, 503 critical or in maintenance, 404 unknown.

use std::sync::Arc;

use http::StatusCode;
use lictor_api::types::{
    agent::AgentService,
    health::{CheckStatus, HealthCheck},
};
use serde::Serialize;

use super::services::access;
use crate::{
    http::{Context, HttpError, Request, Response},
    local::{LocalCheck, LocalService, Table, state::MAINTENANCE},
};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    aggregated_status: &'static str,
    service: AgentService,
    checks: Vec<HealthCheck>,
}

/// `GET /v1/agent/health/service/id/:id`: returns the health of one own instance.
pub(in crate::http) async fn by_id(cx: Context, request: Request) -> Result<Response, HttpError> {
    let id = request.tail();
    if id.is_empty() {
        return Err(HttpError::MissingServiceId);
    }
    let table = cx.agent.local.snapshot();
    let Some(local) = table.service(id) else {
        return Ok(not_found(format!("ServiceId {id} not found")));
    };
    cx.authorize(&access(&local.service, false))?;
    let row = row(&cx, &table, local);
    respond(&request, row.aggregated_status, &row)
}

/// `GET /v1/agent/health/service/name/:name`: returns the worst health of all own instances of a
/// service.
pub(in crate::http) async fn by_name(cx: Context, request: Request) -> Result<Response, HttpError> {
    let name = request.tail();
    if name.is_empty() {
        return Err(HttpError::MissingServiceName);
    }
    let table = cx.agent.local.snapshot();
    let mut rows = Vec::new();
    for local in table.services().filter(|local| *local.service.service == *name) {
        cx.authorize(&access(&local.service, false))?;
        rows.push(row(&cx, &table, local));
    }
    match rows.iter().map(|row| row.aggregated_status).max_by_key(|status| code(status)) {
        Some(worst) => respond(&request, worst, &rows),
        None => Ok(not_found(format!("ServiceName {name} Not Found"))),
    }
}

fn row(cx: &Context, table: &Table, local: &LocalService) -> Row {
    let id = &local.service.id;
    let counts = |check: &&Arc<LocalCheck>| {
        check.check.service_id.is_empty() || check.check.service_id == *id
    };
    let checks: Vec<HealthCheck> =
        table.checks().filter(counts).map(|check| check.check.clone()).collect();
    let worst = checks.iter().map(|check| check.status).max().unwrap_or(CheckStatus::Passing);
    let in_maintenance = checks.iter().any(|check| check.check_type == MAINTENANCE);
    Row {
        aggregated_status: if in_maintenance { MAINTENANCE } else { worst.as_str() },
        service: AgentService::new(&local.service, &cx.agent.config.load().datacenter),
        checks,
    }
}

fn code(status: &str) -> StatusCode {
    match status {
        "passing" => StatusCode::OK,
        "warning" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn respond(
    request: &Request,
    status: &str,
    rows: &(impl Serialize + ?Sized),
) -> Result<Response, HttpError> {
    let response = match request.param("format") {
        Some("text") => Response::text(code(status), status),
        _ => Response::json(rows)?.with_status(code(status)),
    };
    Ok(response.with_header("x-consul-reason", status))
}

fn not_found(reason: String) -> Response {
    let response = Response::text(StatusCode::NOT_FOUND, &*reason);
    response.with_header("x-consul-reason", &reason)
}
