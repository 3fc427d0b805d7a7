//! `/v1/kv/`: keys and values (Consul "KV Store HTTP API").
//!
//! The key is everything after the prefix, percent-decoded, slashes and spaces included. A value is
//! the body byte for byte, whatever its content type.

use std::sync::Arc;

use http::StatusCode;
use lictor_api::types::kv::KvPair;
use lictor_core::{
    acl::Access,
    fsm::{Command, KvCommand},
    state::Topic,
};

use super::{Context, HttpError, Request, Response};

/// `GET /v1/kv/:key`: one key, `?recurse` all keys that begin with it, `?keys` their names only,
/// `?raw` the bare value.
pub(super) async fn get(cx: Context, request: Request) -> Result<Response, HttpError> {
    if request.has("keys") {
        return keys(cx, request).await;
    }
    let (key, recurse) = (request.tail(), request.has("recurse"));
    if key.is_empty() && !recurse {
        return Err(HttpError::MissingKey);
    }
    cx.authorize(&Access::Key { key, write: false })?;
    let name: Arc<str> = Arc::from(key);
    let (meta, pairs) = cx
        .read(&request, |state, topics| -> Vec<Arc<KvPair>> {
            if recurse {
                topics.add(Topic::KvPrefix(name.clone()));
                state.kv.list(key).cloned().collect()
            } else {
                topics.add(Topic::KvKey(name.clone()));
                state.kv.get(key).cloned().into_iter().collect()
            }
        })
        .await?;
    let response = match pairs.first() {
        None => Response::empty(StatusCode::NOT_FOUND),
        Some(pair) if request.has("raw") && !recurse => raw(pair),
        Some(_) => Response::json(&pairs)?,
    };
    Ok(response.with_meta(&meta))
}

/// The bare value, which no browser should take for a page of ours.
fn raw(pair: &KvPair) -> Response {
    Response { body: pair.value.clone(), ..Response::empty(StatusCode::OK) }
        .with_header("content-type", "text/plain")
        .with_header("x-content-type-options", "nosniff")
        .with_header("content-security-policy", "sandbox")
}

/// The names of all keys under a prefix, cut after the first `separator` that follows it.
async fn keys(cx: Context, request: Request) -> Result<Response, HttpError> {
    let prefix = request.tail();
    // COMPAT: Consul accepts its own old misspelling.
    let separator = request.param("separator").or_else(|| request.param("seperator"));
    let separator = separator.filter(|separator| !separator.is_empty());
    cx.authorize(&Access::Key { key: prefix, write: false })?;
    let topic = Topic::KvPrefix(Arc::from(prefix));
    let (meta, keys) = cx
        .read(&request, |state, topics| {
            topics.add(topic.clone());
            let mut keys: Vec<String> = state
                .kv
                .list(prefix)
                .map(|pair| cut(&pair.key, prefix.len(), separator).to_owned())
                .collect();
            keys.dedup();
            keys
        })
        .await?;
    let response = if keys.is_empty() && !prefix.is_empty() {
        Response::empty(StatusCode::NOT_FOUND)
    } else {
        Response::json(&keys)?
    };
    Ok(response.with_meta(&meta))
}

fn cut<'a>(key: &'a str, prefix: usize, separator: Option<&str>) -> &'a str {
    separator
        .and_then(|separator| Some(prefix + key[prefix..].find(separator)? + separator.len()))
        .map_or(key, |end| &key[..end])
}

/// `PUT /v1/kv/:key`: writes a key; `?flags`, `?cas`, `?acquire` and `?release` with a session.
/// Answers whether it was written.
pub(super) async fn put(cx: Context, request: Request) -> Result<Response, HttpError> {
    let key = request.tail();
    if key.is_empty() {
        return Err(HttpError::MissingKey);
    }
    refuse_conflicts(&request, &["cas", "acquire", "release"])?;
    let limit = cx.agent.config.load().limits.kv_max_value_bytes;
    if request.body.len() > limit {
        return Err(HttpError::BodyTooLarge { bytes: request.body.len() as u64, limit });
    }
    cx.authorize(&Access::Key { key, write: true })?;
    let flags = request.number("flags")?.unwrap_or(0);
    let (key, value) = (key.to_owned(), request.body.clone());
    let session = |name| request.param(name).map(str::to_owned);
    let command = match (request.number("cas")?, session("acquire"), session("release")) {
        (Some(expected), ..) => KvCommand::CheckAndSet { key, flags, value, expected },
        (_, Some(session), _) => KvCommand::Lock { key, flags, value, session },
        (.., Some(session)) => KvCommand::Unlock { key, flags, value, session },
        _ => KvCommand::Set { key, flags, value },
    };
    Response::json(&cx.propose(Command::Kv(command)).await?)
}

/// `DELETE /v1/kv/:key`: deletes a key, with `?recurse` all keys that begin with it, with `?cas`
/// only if unchanged. Answers whether it was deleted.
pub(super) async fn delete(cx: Context, request: Request) -> Result<Response, HttpError> {
    refuse_conflicts(&request, &["recurse", "cas"])?;
    let (key, recurse) = (request.tail(), request.has("recurse"));
    if key.is_empty() && !recurse {
        return Err(HttpError::MissingKey);
    }
    cx.authorize(&Access::Key { key, write: true })?;
    let key = key.to_owned();
    let command = match request.number("cas")? {
        _ if recurse => KvCommand::DeleteTree { prefix: key },
        Some(expected) => KvCommand::CheckAndDelete { key, expected },
        None => KvCommand::Delete { key },
    };
    Response::json(&cx.propose(Command::Kv(command)).await?)
}

/// At most one of `names` may be given.
fn refuse_conflicts(request: &Request, names: &[&str]) -> Result<(), HttpError> {
    if names.iter().filter(|name| request.has(name)).count() > 1 {
        return Err(HttpError::ConflictingFlags(request.encoded_query()));
    }
    Ok(())
}
