//! `/v1/agent/check(s)`: the agent's own checks, and clients' reports on TTL checks.

use std::collections::BTreeMap;

use lictor_api::{
    CheckId,
    types::{
        agent::CheckDefinition,
        health::{CheckStatus, HealthCheck},
    },
};
use serde::Deserialize;

use super::{authorize_node, change, services::access};
use crate::{
    http::{Context, HttpError, Request, Response},
    local::{RegistrationError, Source},
};

/// `GET /v1/agent/checks`: returns all own checks, by ID.
pub(in crate::http) async fn list(cx: Context, request: Request) -> Result<Response, HttpError> {
    let filter = request.filter::<HealthCheck>()?;
    let table = cx.agent.local.snapshot();
    let mut rows = BTreeMap::new();
    for local in table.checks() {
        if filter.passes(&local.check)? {
            rows.insert(local.check.check_id.clone(), &local.check);
        }
    }
    Response::json(&rows)
}

/// `PUT /v1/agent/check/register`: registers a check of the node or of an instance.
pub(in crate::http) async fn register(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let definition: CheckDefinition = request.decode()?;
    authorize_owner(&cx, &definition.service_id)?;
    change(&cx, move |local| local.register_check(definition, Source::Http)).await
}

/// `PUT /v1/agent/check/deregister/:id`: removes a check.
pub(in crate::http) async fn deregister(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let id = own_check(&cx, &request)?;
    change(&cx, move |local| local.deregister_check(&id)).await
}

/// `PUT /v1/agent/check/pass/:id`: reports a TTL check as passing.
pub(in crate::http) async fn pass(cx: Context, request: Request) -> Result<Response, HttpError> {
    report_note(&cx, &request, CheckStatus::Passing)
}

/// `PUT /v1/agent/check/warn/:id`: reports a TTL check as warning.
pub(in crate::http) async fn warn(cx: Context, request: Request) -> Result<Response, HttpError> {
    report_note(&cx, &request, CheckStatus::Warning)
}

/// `PUT /v1/agent/check/fail/:id`: reports a TTL check as critical.
pub(in crate::http) async fn fail(cx: Context, request: Request) -> Result<Response, HttpError> {
    report_note(&cx, &request, CheckStatus::Critical)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Update {
    status: String,
    output: String,
}

/// `PUT /v1/agent/check/update/:id`: reports a TTL check with `{Status, Output}`.
pub(in crate::http) async fn update(cx: Context, request: Request) -> Result<Response, HttpError> {
    let update: Update = request.decode()?;
    let status = update.status.parse().map_err(|_| HttpError::InvalidCheckStatus(update.status))?;
    report(&cx, &request, status, &update.output)
}

fn report_note(
    cx: &Context,
    request: &Request,
    status: CheckStatus,
) -> Result<Response, HttpError> {
    report(cx, request, status, request.param("note").unwrap_or_default())
}

fn report(
    cx: &Context,
    request: &Request,
    status: CheckStatus,
    output: &str,
) -> Result<Response, HttpError> {
    let id = own_check(cx, request)?;
    cx.agent.local.update_ttl(&id, status, output)?;
    Ok(Response::empty(http::StatusCode::OK))
}

/// Returns the ID in the path if the check is registered and the caller may change it.
fn own_check(cx: &Context, request: &Request) -> Result<CheckId, HttpError> {
    let id = CheckId::from(request.tail());
    if id.is_empty() {
        return Err(HttpError::MissingCheckId);
    }
    let table = cx.agent.local.snapshot();
    let local = table.check(&id).ok_or_else(|| RegistrationError::UnknownCheck(id.clone()))?;
    authorize_owner(cx, &local.check.service_id)?;
    Ok(id)
}

/// Authorizes a change of the check's owner: its instance, or the node.
fn authorize_owner(cx: &Context, service: &str) -> Result<(), HttpError> {
    match cx.agent.local.snapshot().service(service) {
        Some(local) => cx.authorize(&access(&local.service, true)),
        None => authorize_node(cx),
    }
}
