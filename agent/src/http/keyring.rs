//! `/v1/operator/keyring`: gossip keys of all pools (Consul "Keyring Operator HTTP API").

use std::collections::BTreeMap;

use http::StatusCode;
use lictor_core::acl::Access;
use lictor_membership::{Key, KeyOperation, KeyReport, Pool, Profile};
use serde::{Deserialize, Serialize};

use super::{Context, HttpError, Request, Response};

/// The most other members that an answer may be sent over.
const MAX_RELAYS: u64 = 5;

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Change {
    key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: String,
    segment: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    messages: BTreeMap<String, String>,
    keys: BTreeMap<String, usize>,
    primary_keys: BTreeMap<String, usize>,
    num_nodes: usize,
}

/// `GET /v1/operator/keyring`; with `?local-only`, of this agent alone.
pub(super) async fn list(cx: Context, request: Request) -> Result<Response, HttpError> {
    let relays = begin(&cx, &request)?;
    let local = request.param("local-only").is_some_and(|only| matches!(only, "" | "true" | "1"));
    let datacenter = cx.agent.config.load().datacenter.clone();
    let mut rows = Vec::new();
    for pool in cx.agent.pools.all() {
        let report = match local {
            true => pool.local_keys(),
            false => pool.keys(KeyOperation::List, relays).await?,
        };
        complete(pool, &report)?;
        rows.push(Row {
            wan: pool.profile() == Profile::Wan,
            datacenter: datacenter.clone(),
            segment: String::new(),
            messages: report.errors,
            keys: report.keys,
            primary_keys: report.primary_keys,
            num_nodes: report.nodes,
        });
    }
    Response::json(&rows)
}

/// `POST /v1/operator/keyring`: installs a key.
pub(super) async fn install(cx: Context, request: Request) -> Result<Response, HttpError> {
    change(cx, request, KeyOperation::Install).await
}

/// `PUT /v1/operator/keyring`: encrypts with a key.
pub(super) async fn select(cx: Context, request: Request) -> Result<Response, HttpError> {
    change(cx, request, KeyOperation::Use).await
}

/// `DELETE /v1/operator/keyring`: removes a key.
pub(super) async fn remove(cx: Context, request: Request) -> Result<Response, HttpError> {
    change(cx, request, KeyOperation::Remove).await
}

async fn change(
    cx: Context,
    request: Request,
    operation: fn(Key) -> KeyOperation,
) -> Result<Response, HttpError> {
    let relays = begin(&cx, &request)?;
    let change: Change = request.decode()?;
    let key = Key::parse(&change.key).map_err(HttpError::Key)?;
    for pool in cx.agent.pools.all() {
        let report = pool.keys(operation(key), relays).await?;
        complete(pool, &report)?;
    }
    Ok(Response::empty(StatusCode::OK))
}

/// Keys are secrets: reading them takes as much as changing them.
fn begin(cx: &Context, request: &Request) -> Result<u8, HttpError> {
    cx.authorize(&Access::Operator { write: true })?;
    if cx.agent.pools.lan.is_none() {
        return Err(HttpError::NoGossip);
    }
    let relays = request.number("relay-factor")?.unwrap_or(0);
    u8::try_from(relays).ok().filter(|_| relays <= MAX_RELAYS).ok_or(HttpError::RelayFactor(relays))
}

/// A key operation is done when everybody has done it.
fn complete(pool: &Pool, report: &KeyReport) -> Result<(), HttpError> {
    if report.errors.is_empty() && report.answered >= report.nodes {
        return Ok(());
    }
    Err(HttpError::Keyring {
        pool: pool.profile().name(),
        failed: report.errors.len(),
        answered: report.answered,
        nodes: report.nodes,
        errors: report
            .errors
            .iter()
            .map(|(node, error)| format!("{node}: {error}"))
            .collect::<Vec<_>>()
            .join("; "),
    })
}
