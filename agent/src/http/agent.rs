//! `/v1/agent/`: this agent, its own services and checks (Consul "Agent HTTP API").
//!
//! Handlers that change local state wait for the disk, so they run on the blocking pool.

pub(super) mod checks;
mod health;
pub(super) mod members;
pub(super) mod own;
pub(super) mod services;

pub(super) use health::{by_id, by_name};

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use lictor_api::go::parse_bool;
use lictor_core::acl::Access;
use tokio::time::timeout;

use super::{Context, HttpError, Request, Response};
use crate::local::{LocalState, RegistrationError, anti_entropy};

/// `PUT /v1/agent/reload`: reads the configuration again; responds when it is in force.
pub(super) async fn reload(cx: Context, _: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Agent { write: true })?;
    cx.agent.request_reload().await.map_err(HttpError::Reload)?;
    Ok(Response::empty(StatusCode::OK))
}

/// `PUT /v1/agent/leave`: leaves the cluster and stops the agent; responds once the other members
/// have been notified.
pub(super) async fn leave(cx: Context, _: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Agent { write: true })?;
    cx.agent.request_leave().await;
    Ok(Response::empty(StatusCode::OK))
}

/// `PUT /v1/agent/maintenance`: takes the node out of service or back.
pub(super) async fn maintenance(cx: Context, request: Request) -> Result<Response, HttpError> {
    let reason = maintenance_reason(&request)?;
    authorize_node(&cx)?;
    change(&cx, move |local| local.set_maintenance(None, reason.as_deref())).await
}

/// Reads `?enable` and `?reason`; `None` ends maintenance.
fn maintenance_reason(request: &Request) -> Result<Option<String>, HttpError> {
    let enable = request.param("enable").filter(|text| !text.is_empty());
    let enable = enable.ok_or(HttpError::MissingEnable)?;
    let invalid = || HttpError::InvalidEnable(enable.to_owned());
    let is_on = parse_bool(enable).ok_or_else(invalid)?;
    Ok(is_on.then(|| request.param("reason").unwrap_or_default().to_owned()))
}

fn authorize_node(cx: &Context) -> Result<(), HttpError> {
    let node = cx.agent.local.node();
    cx.authorize(&Access::Node { name: &node.name, write: true, synthetic: false })
}

/// How long a registration waits for the catalog; it succeeds without a leader too.
const SYNC_TIMEOUT: Duration = Duration::from_secs(1);

/// Changes local state and responds 200 without a body once the catalog has followed. COMPAT:
/// clients read what they have just registered (HashiCorp's Go client tests among them).
async fn change(
    cx: &Context,
    change: impl FnOnce(&LocalState) -> Result<(), RegistrationError> + Send + 'static,
) -> Result<Response, HttpError> {
    let local: Arc<LocalState> = cx.agent.local.clone();
    match tokio::task::spawn_blocking(move || change(&local)).await {
        Ok(result) => result?,
        Err(_) => return Err(HttpError::Panicked),
    }
    let synced = anti_entropy::synced(&cx.agent.local, &cx.agent.store);
    if timeout(SYNC_TIMEOUT, synced).await.is_err() {
        tracing::debug!("the catalog has not followed a registration yet");
    }
    Ok(Response::empty(StatusCode::OK))
}
