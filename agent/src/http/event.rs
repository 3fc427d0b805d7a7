//! `/v1/event/`: user events (Consul "Event HTTP API").

use http::StatusCode;
use lictor_api::types::event::UserEvent;
use lictor_core::acl::Access;
use tokio::time::timeout;

use super::{Context, HttpError, Request, Response};
use crate::events;

/// `PUT /v1/event/fire/:name` with `?node`, `?service`, `?tag`; the body is the payload.
pub(super) async fn fire(cx: Context, request: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Agent { write: true })?;
    let pool = cx.agent.pools.lan.as_ref().ok_or(HttpError::NoGossip)?;
    let filter = |name: &str| request.param(name).unwrap_or_default().to_owned();
    let event = UserEvent {
        name: request.tail().to_owned(),
        payload: request.body.clone(),
        node_filter: filter("node"),
        service_filter: filter("service"),
        tag_filter: filter("tag"),
        ..UserEvent::default()
    };
    Response::json(&events::fire(pool, event).await?)
}

/// `GET /v1/event/list?name=`; blocks while the index is the one given. COMPAT: not a read of the
/// catalog, so there is no word about a leader.
pub(super) async fn list(cx: Context, request: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Agent { write: false })?;
    let options = request.options()?;
    let name = request.param("name").filter(|name| !name.is_empty());
    let known = &cx.agent.events;
    let wait = cx.wait(options.wait);
    let (index, events) = match options.index {
        0 => known.list(name),
        index => match timeout(wait, known.list_unlike(index, name)).await {
            Ok(changed) => changed,
            Err(_) => known.list(name),
        },
    };
    let response = Response::json(&events)?.with_status(StatusCode::OK);
    Ok(response.with_header("x-consul-index", &index.to_string()))
}
