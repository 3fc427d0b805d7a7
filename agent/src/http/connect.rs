//! `/v1/connect/*` and `/v1/agent/connect/*`: certificates and intentions (Consul "Connect HTTP
//! API", "Intentions HTTP API").

pub(super) mod agent;
pub(super) mod ca;
pub(super) mod intentions;

use std::sync::Arc;

use lictor_core::state::CertificateAuthority;

use super::{Context, HttpError};
use crate::ca::Authority;

/// The authority, if the mesh is on; waits until the first leader has made it.
async fn authority(cx: &Context) -> Result<(&Authority, Arc<CertificateAuthority>), HttpError> {
    if !cx.agent.config.load().connect.enabled {
        return Err(HttpError::ConnectDisabled);
    }
    let authority = cx.agent.authority().ok_or(HttpError::NoServers)?;
    Ok((authority, authority.current().await?))
}
