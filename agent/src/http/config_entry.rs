//! `/v1/config`: config entries (Consul "Config HTTP API"). Only `service-intentions` can be
//! written; of any other kind there is nothing to read or delete.

use std::sync::Arc;

use lictor_api::{
    types::config_entry::{ConfigEntry, SERVICE_INTENTIONS},
    wire::{self, DecodeError},
};
use lictor_core::{
    acl::Access,
    connect::intention,
    fsm::{Command, ConfigEntryCommand},
    state::Topic,
};
use serde_json::Value;

use super::{Context, HttpError, Request, Response};

/// `PUT /v1/config`: writes an entry; `?cas`. Answers whether it was written.
pub(super) async fn put(cx: Context, request: Request) -> Result<Response, HttpError> {
    let entry = decode(&request.body)?;
    let ConfigEntry::ServiceIntentions(intentions) = &entry;
    intention::validate(intentions).map_err(HttpError::InvalidEntry)?;
    cx.authorize(&Access::Intention { destination: &intentions.name, write: true })?;
    let expected = request.number("cas")?;
    let command = ConfigEntryCommand::Upsert { entry, expected };
    Response::json(&cx.propose(Command::ConfigEntry(Box::new(command))).await?)
}

/// Reads an entry; `Kind` says which it is.
fn decode(body: &[u8]) -> Result<ConfigEntry, HttpError> {
    let syntax = |e: serde_json::Error| HttpError::Decode(DecodeError::Syntax(e.to_string()));
    let mut document: Value = serde_json::from_slice(body).map_err(syntax)?;
    let Some(members) = document.as_object_mut() else { return Err(HttpError::MissingKind) };
    let key = members.keys().find(|key| wire::same_key(key, "Kind")).cloned();
    let kind = key.and_then(|key| members.shift_remove(&key)).ok_or(HttpError::MissingKind)?;
    match kind.as_str() {
        Some(SERVICE_INTENTIONS) => {
            let entry = wire::from_value(document).map_err(HttpError::Decode)?;
            Ok(ConfigEntry::ServiceIntentions(entry))
        }
        Some(other) => Err(HttpError::UnsupportedKind(other.to_owned())),
        None => Err(HttpError::MissingKind),
    }
}

/// `GET /v1/config/:kind/:name`, or all entries of a kind with `GET /v1/config/:kind`.
pub(super) async fn get(cx: Context, request: Request) -> Result<Response, HttpError> {
    let (kind, name) = request.tail().split_once('/').unwrap_or((request.tail(), ""));
    if kind.is_empty() {
        return Err(HttpError::MissingKindAndName);
    }
    if !name.is_empty() {
        cx.authorize(&Access::Intention { destination: name, write: false })?;
    }
    let topic = Topic::ConfigKind(Arc::from(kind));
    if name.is_empty() {
        let (meta, entries) = cx
            .read(&request, |state, topics| -> Vec<Arc<ConfigEntry>> {
                topics.add(topic.clone());
                state.config_entries.list(kind).cloned().collect()
            })
            .await?;
        return Ok(Response::json(&entries)?.with_meta(&meta));
    }
    let (meta, entry) = cx
        .read(&request, |state, topics| {
            topics.add(topic.clone());
            state.config_entries.get(kind, name).cloned()
        })
        .await?;
    let response = match entry {
        Some(entry) => Response::json(&entry)?,
        None => HttpError::NoEntry { kind: kind.into(), name: name.into() }.into_response(),
    };
    Ok(response.with_meta(&meta))
}

/// `DELETE /v1/config/:kind/:name`: answers `{}`, or with `?cas` whether it was deleted.
pub(super) async fn delete(cx: Context, request: Request) -> Result<Response, HttpError> {
    let (kind, name) = match request.tail().split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => (kind, name),
        _ => return Err(HttpError::MissingKindOrName),
    };
    cx.authorize(&Access::Intention { destination: name, write: true })?;
    let expected = request.number("cas")?;
    let (kind, name) = (kind.to_owned(), name.to_owned());
    let command = ConfigEntryCommand::Delete { kind, name, expected };
    let deleted = cx.propose(Command::ConfigEntry(Box::new(command))).await?;
    if expected.is_some() {
        return Response::json(&deleted);
    }
    Response::json(&serde_json::Map::new())
}
