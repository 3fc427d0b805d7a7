//! `/v1/connect/ca/*`: roots and settings of the authority.

use std::collections::BTreeMap;

use http::StatusCode;
use lictor_api::{
    query::QueryMeta,
    types::connect::{BuiltinCaConfig, CaConfiguration, CaRootList},
    wire,
};
use lictor_core::{
    acl::Access,
    state::{CertificateAuthority, Topic},
};
use serde_json::Value;

use super::super::{Context, HttpError, Request, Response};
use crate::ca::CaError;

/// The name of the built-in authority.
const PROVIDER: &str = "consul";
/// Settings of Consul's built-in provider that this authority does not have, with the values that
/// say what it does anyway.
const FIXED: [(&str, &[&str], &str); 4] = [
    ("PrivateKeyType", &["", "ec"], "keys are always \"ec\""),
    ("PrivateKeyBits", &["", "0", "256"], "keys always have 256 bits"),
    ("CSRMaxConcurrent", &["", "0"], "use CSRMaxPerSecond"),
    ("RotationPeriod", &["", "0", "0s"], "roots are rotated on request"),
];

/// `GET /v1/connect/ca/roots`; `?pem=true` answers the certificates alone.
pub(in crate::http) async fn roots(cx: Context, request: Request) -> Result<Response, HttpError> {
    super::authority(&cx).await?;
    if matches!(request.param("pem"), Some("" | "true" | "1")) {
        let (meta, pem) = read(&cx, &request, CertificateAuthority::bundle_pem).await?;
        let response = Response::text(StatusCode::OK, pem);
        return Ok(response
            .with_header("content-type", "application/pem-certificate-chain")
            .with_meta(&meta));
    }
    let (meta, list): (_, CaRootList) =
        read(&cx, &request, CertificateAuthority::root_list).await?;
    Ok(Response::json(&list)?.with_meta(&meta))
}

async fn read<T: Default>(
    cx: &Context,
    request: &Request,
    show: impl Fn(&lictor_core::state::CertificateAuthority) -> T,
) -> Result<(QueryMeta, T), HttpError> {
    cx.read(request, |state, topics| {
        topics.add(Topic::Roots);
        state.ca.as_deref().map(&show).unwrap_or_default()
    })
    .await
}

/// `GET /v1/connect/ca/configuration`.
pub(in crate::http) async fn configuration(cx: Context, _: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Operator { write: false })?;
    let (_, ca) = super::authority(&cx).await?;
    let state = Some(ca.config.test_state.clone()).filter(|state| !state.is_empty());
    let shown = BuiltinCaConfig { test_state: BTreeMap::new(), ..ca.config.clone() };
    let config = serde_json::to_value(shown).map_err(HttpError::Encode)?;
    let config = config.as_object().cloned().unwrap_or_default();
    Response::json(&CaConfiguration {
        provider: PROVIDER.to_owned(),
        config: config.into_iter().collect(),
        state,
        force_without_cross_signing: false,
        create_index: ca.create_index,
        modify_index: ca.config_index,
    })
}

/// `PUT /v1/connect/ca/configuration`: new settings; with `PrivateKey`, a new root.
pub(in crate::http) async fn configure(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    cx.authorize(&Access::Operator { write: true })?;
    let wanted: CaConfiguration = request.decode()?;
    let (authority, old) = super::authority(&cx).await?;
    if !matches!(wanted.provider.as_str(), "" | PROVIDER) {
        let text = format!("unknown CA provider {:?}, expected \"{PROVIDER}\"", wanted.provider);
        return Err(CaError::Config(text).into());
    }
    let mut settings = serde_json::Map::new();
    let (mut key, mut root) = (None, None);
    for (name, value) in wanted.config {
        let is = |known: &str| wire::same_key(&name, known);
        if is("PrivateKey") {
            key = text(value);
        } else if is("RootCert") {
            root = text(value);
        } else if let Some(fixed) = FIXED.iter().find(|(known, ..)| is(known)) {
            check_fixed(fixed, &value)?;
        } else if !is("SkipValidate") {
            settings.insert(name, value);
        }
    }
    let config: BuiltinCaConfig =
        wire::from_value(Value::Object(settings)).map_err(HttpError::Decode)?;
    if !config.cluster_id.is_empty() && config.cluster_id != old.cluster_id {
        return Err(CaError::Config("ClusterID cannot be changed".to_owned()).into());
    }
    let config = BuiltinCaConfig { cluster_id: old.config.cluster_id.clone(), ..config };
    let force = wanted.force_without_cross_signing;
    authority.configure(config, key.as_deref(), root.as_deref(), force).await?;
    Ok(Response::empty(StatusCode::OK))
}

/// Refuses another value of a setting than the one that is in force.
fn check_fixed(
    (name, accepted, why): &(&str, &[&str], &str),
    value: &Value,
) -> Result<(), CaError> {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if accepted.contains(&text.as_str()) {
        return Ok(());
    }
    Err(CaError::Config(format!("{name} cannot be {text:?}: {why}")))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}
