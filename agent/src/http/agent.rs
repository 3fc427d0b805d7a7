//! `/v1/agent/`: this agent, its own services and checks (Consul "Agent HTTP API").
//!
//! What changes local state waits for the disk, so it runs on the blocking pool.

pub(super) mod checks;
mod health;
pub(super) mod own;
pub(super) mod services;

pub(super) use health::{by_id, by_name};

use std::sync::Arc;

use http::StatusCode;

use super::{Context, HttpError, Request, Response};
use crate::{
    acl::Access,
    local::{LocalState, RegistrationError},
};

/// `PUT /v1/agent/reload`: reads the configuration again; answers when it is in force.
pub(super) async fn reload(cx: Context, _: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Agent { write: true })?;
    cx.agent.request_reload().await.map_err(HttpError::Reload)?;
    Ok(Response::empty(StatusCode::OK))
}

/// `PUT /v1/agent/leave`: stops the agent.
pub(super) async fn leave(cx: Context, _: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Agent { write: true })?;
    cx.agent.request_leave().await;
    Ok(Response::empty(StatusCode::OK))
}

/// `PUT /v1/agent/join/:address` and `/v1/agent/force-leave/:node`: agents do not join yet.
pub(super) async fn gossip(cx: Context, _: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Agent { write: true })?;
    Err(HttpError::NoGossip)
}

/// `PUT /v1/agent/maintenance`: takes the node out of service or back.
pub(super) async fn maintenance(cx: Context, request: Request) -> Result<Response, HttpError> {
    let reason = maintenance_reason(&request)?;
    authorize_node(&cx)?;
    change(&cx, move |local| local.set_maintenance(None, reason.as_deref())).await
}

/// `?enable` and `?reason`: `None` ends maintenance.
fn maintenance_reason(request: &Request) -> Result<Option<String>, HttpError> {
    let enable = request.param("enable").filter(|text| !text.is_empty());
    match enable.ok_or(HttpError::MissingEnable)? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => {
            Ok(Some(request.param("reason").unwrap_or_default().to_owned()))
        }
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(None),
        other => Err(HttpError::InvalidEnable(other.to_owned())),
    }
}

fn authorize_node(cx: &Context) -> Result<(), HttpError> {
    let node = cx.agent.local.node();
    cx.authorize(&Access::Node { name: &node.name, write: true, synthetic: false })
}

/// Changes local state; 200 without a body.
async fn change(
    cx: &Context,
    change: impl FnOnce(&LocalState) -> Result<(), RegistrationError> + Send + 'static,
) -> Result<Response, HttpError> {
    let local: Arc<LocalState> = cx.agent.local.clone();
    match tokio::task::spawn_blocking(move || change(&local)).await {
        Ok(result) => result?,
        Err(_) => return Err(HttpError::Panicked),
    }
    Ok(Response::empty(StatusCode::OK))
}
