//! `/v1/snapshot`: everything the servers agree on, as one file (Consul "Snapshot HTTP API").
//!
//! Both directions need permission to change the cluster's operation: the file holds the
//! certificate authority's key. A restore's body has a bound of its own
//! ([`crate::archive::MAX_ARCHIVE_BYTES`]) and is received only from those who may restore, one at
//! a time.

use http::StatusCode;
use lictor_core::acl::Access;

use super::{Context, HttpError, Request, Response};

/// What both directions ask for.
pub(super) const ACCESS: Access<'_> = Access::Operator { write: true };

/// `GET /v1/snapshot`: the archive; `?stale` takes this server's state as it is.
pub(super) async fn save(cx: Context, request: Request) -> Result<Response, HttpError> {
    cx.authorize(&ACCESS)?;
    let (meta, archive) = cx.server()?.save(request.options()?.consistency).await?;
    let response = Response { body: archive.into(), ..Response::empty(StatusCode::OK) };
    Ok(response.with_header("content-type", "application/x-gzip").with_meta(&meta))
}

/// `PUT /v1/snapshot`: puts an archive in force on all servers.
pub(super) async fn restore(cx: Context, request: Request) -> Result<Response, HttpError> {
    cx.authorize(&ACCESS)?;
    cx.server()?.restore(request.body).await?;
    Ok(Response::empty(StatusCode::OK))
}
