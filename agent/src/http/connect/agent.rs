//! `/v1/agent/connect/*`: what proxies and connect-native applications ask their agent.

use lictor_api::{
    ServiceName, SpiffeId,
    query::QueryMeta,
    types::connect::{AuthorizeRequest, AuthorizeResponse},
};
use lictor_core::{acl::Access, connect::intention};

use super::super::{Context, HttpError, Request, Response};

/// `GET /v1/agent/connect/ca/leaf/:service`: certificate and key, blocking by `?index`.
pub(in crate::http) async fn leaf(cx: Context, request: Request) -> Result<Response, HttpError> {
    let service = request.tail();
    if service.is_empty() {
        return Err(HttpError::MissingServiceName);
    }
    cx.authorize(&Access::Leaf { service })?;
    let options = request.options()?;
    let (authority, _) = super::authority(&cx).await?;
    let wait = cx.wait(options.wait);
    let leaf = authority.leaf(service, options.index, wait).await?;
    let meta = QueryMeta {
        index: leaf.modify_index,
        known_leader: cx.server()?.known_leader(),
        ..QueryMeta::default()
    };
    Ok(Response::json(&leaf)?.with_meta(&meta))
}

/// `POST /v1/agent/connect/authorize`: whether the holder of a certificate may connect to a
/// service.
pub(in crate::http) async fn authorize(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let asked: AuthorizeRequest = request.decode()?;
    if asked.target.is_empty() {
        return Err(HttpError::MissingTarget);
    }
    let target = ServiceName::from(asked.target.as_str());
    cx.authorize(&Access::Service { name: &target, write: true, of_pod: false })?;
    let (_, ca) = super::authority(&cx).await?;
    let id: SpiffeId =
        asked.client_cert_uri.parse().map_err(|_| HttpError::InvalidClientCertUri)?;
    let Some(source) = id.service_name() else { return Err(HttpError::InvalidClientCertUri) };
    if !id.trust_domain().eq_ignore_ascii_case(&ca.trust_domain()) {
        let reason = format!("Identity from an external trust domain: {}", id.trust_domain());
        return Response::json(&AuthorizeResponse { authorized: false, reason });
    }
    let default_allow = cx.agent.config.load().connect.default_allow;
    let state = cx.server()?.store().snapshot();
    let decision = intention::decide(&state, source, &asked.target, default_allow);
    Response::json(&AuthorizeResponse { authorized: decision.allow, reason: decision.reason })
}
