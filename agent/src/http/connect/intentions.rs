//! `/v1/connect/intentions*`: the flat view of `service-intentions` entries.
//!
//! A write changes one source of one destination; entry and precedence are the state machine's
//! business. COMPAT: POST, and reading, changing and deleting by ID, are Consul's older endpoints.

use std::{collections::BTreeMap, sync::Arc};

use lictor_api::{
    query::{Consistency, QueryMeta},
    types::{
        config_entry::SERVICE_INTENTIONS,
        intention::{Intention, ServiceIntentions, SourceIntention},
    },
    wire::{self, DecodeError},
};
use lictor_core::{
    acl::Access,
    connect::intention,
    fsm::{Command, IntentionCommand},
    state::{State, Topic},
};
use serde_json::json;

use super::super::{Context, HttpError, Request, Response};

/// `GET /v1/connect/intentions`.
pub(in crate::http) async fn list(cx: Context, request: Request) -> Result<Response, HttpError> {
    let filter = request.filter::<Intention>()?;
    let (meta, all) = read(&cx, &request, intention::list).await?;
    Ok(Response::json(&filter.apply(all)?)?.with_meta(&meta))
}

/// `POST /v1/connect/intentions`: a new intention with an ID; an existing one is an error.
pub(in crate::http) async fn create(cx: Context, request: Request) -> Result<Response, HttpError> {
    let wanted = decode(&request)?;
    if !wanted.id.is_empty() {
        return Err(HttpError::IntentionIdGiven);
    }
    let state = current(&cx).await?;
    if let Some(old) = intention::exact(&state, &wanted.source_name, &wanted.destination_name) {
        return Err(HttpError::DuplicateIntention(intention::describe(&old)));
    }
    let id = uuid::Uuid::new_v4().to_string();
    upsert(&cx, Intention { id: id.clone(), ..wanted }).await?;
    Response::json(&json!({ "ID": id }))
}

/// `GET /v1/connect/intentions/exact?source=&destination=`.
pub(in crate::http) async fn exact(cx: Context, request: Request) -> Result<Response, HttpError> {
    let (source, destination) = pair(&request)?;
    cx.authorize(&Access::Intention { destination, write: false })?;
    let found = read(&cx, &request, |state| intention::exact(state, source, destination)).await?;
    one(found)
}

/// `PUT /v1/connect/intentions/exact?source=&destination=`: insert or replace.
pub(in crate::http) async fn put_exact(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let (source, destination) = pair(&request)?;
    let wanted = decode(&request)?;
    if !wanted.meta.is_empty() {
        return Err(HttpError::IntentionMeta);
    }
    upsert(
        &cx,
        Intention {
            source_name: source.to_owned(),
            destination_name: destination.to_owned(),
            ..wanted
        },
    )
    .await?;
    Response::json(&true)
}

/// `DELETE /v1/connect/intentions/exact?source=&destination=`.
pub(in crate::http) async fn delete_exact(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let (source, destination) = pair(&request)?;
    delete(&cx, source, destination).await?;
    Response::json(&true)
}

/// `GET /v1/connect/intentions/match?by=&name=`: by name, what can decide about it.
pub(in crate::http) async fn matching(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let matching = match required(&request, "by")? {
        "source" => intention::for_source,
        "destination" => intention::for_destination,
        _ => return Err(HttpError::InvalidMatchBy),
    };
    required(&request, "name")?;
    let mut names = BTreeMap::new();
    for name in request.params("name") {
        names.insert(name, service_name("name", name)?);
    }
    let (meta, found) = read(&cx, &request, |state| {
        let matches = names.iter().map(|(given, name)| (*given, matching(state, name)));
        matches.collect::<BTreeMap<&str, Vec<Intention>>>()
    })
    .await?;
    Ok(Response::json(&found)?.with_meta(&meta))
}

/// `GET /v1/connect/intentions/check?source=&destination=`.
pub(in crate::http) async fn check(cx: Context, request: Request) -> Result<Response, HttpError> {
    let (source, destination) = pair(&request)?;
    let default_allow = cx.agent.config.load().connect.default_allow;
    let (meta, allowed) = read(&cx, &request, |state| {
        intention::decide(state, source, destination, default_allow).allow
    })
    .await?;
    Ok(Response::json(&json!({ "Allowed": allowed }))?.with_meta(&meta))
}

/// `GET /v1/connect/intentions/:id`.
pub(in crate::http) async fn by_id(cx: Context, request: Request) -> Result<Response, HttpError> {
    let id = id(&request)?;
    one(read(&cx, &request, |state| intention::by_id(state, id)).await?)
}

/// `PUT /v1/connect/intentions/:id`: changes an intention, its source too.
pub(in crate::http) async fn put_by_id(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let id = id(&request)?;
    let wanted = decode(&request)?;
    let old = known(&cx, id).await?;
    if old.destination_name != wanted.destination_name {
        return Err(HttpError::IntentionDestination);
    }
    // The row that had the ID goes with the same command.
    upsert(&cx, Intention { id: id.to_owned(), ..wanted }).await?;
    Response::json(&json!({ "ID": id }))
}

/// `DELETE /v1/connect/intentions/:id`.
pub(in crate::http) async fn delete_by_id(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    let old = known(&cx, id(&request)?).await?;
    delete(&cx, &old.source_name, &old.destination_name).await?;
    Response::json(&true)
}

async fn read<T>(
    cx: &Context,
    request: &Request,
    find: impl Fn(&State) -> T,
) -> Result<(QueryMeta, T), HttpError> {
    cx.read(request, |state, topics| {
        topics.add(Topic::ConfigKind(SERVICE_INTENTIONS.into()));
        find(state)
    })
    .await
}

/// Responds with an intention or 404, both with the headers of the read.
fn one((meta, found): (QueryMeta, Option<Intention>)) -> Result<Response, HttpError> {
    let response = match found {
        Some(intention) => Response::json(&intention)?,
        None => HttpError::NoIntention.into_response(),
    };
    Ok(response.with_meta(&meta))
}

/// Reads an intention, its names without the default partition and namespace. COMPAT: the Go client
/// sends back what Consul's answers say about themselves.
fn decode(request: &Request) -> Result<Intention, HttpError> {
    const IGNORED: [&str; 3] = ["CreatedAt", "Hash", "UpdatedAt"];
    let mut body: serde_json::Value = serde_json::from_slice(&request.body)
        .map_err(|error| HttpError::Decode(DecodeError::Syntax(error.to_string())))?;
    if let Some(members) = body.as_object_mut() {
        members.retain(|key, _| !IGNORED.iter().any(|ignored| wire::same_key(key, ignored)));
    }
    let given: Intention = wire::from_value(body).map_err(HttpError::Decode)?;
    let name = |parameter, text: &str| service_name(parameter, text).map(str::to_owned);
    Ok(Intention {
        source_name: name("source", &given.source_name)?,
        destination_name: name("destination", &given.destination_name)?,
        ..given
    })
}

/// Validates and writes one intention.
async fn upsert(cx: &Context, wanted: Intention) -> Result<(), HttpError> {
    let source = SourceIntention {
        name: wanted.source_name,
        action: wanted.action,
        permissions: wanted.permissions,
        precedence: 0,
        source_type: wanted.source_type,
        description: wanted.description,
        legacy_id: wanted.id,
        legacy_meta: wanted.meta,
    };
    let destination = wanted.destination_name;
    let entry = ServiceIntentions {
        name: destination.clone(),
        sources: vec![source.clone()],
        ..ServiceIntentions::default()
    };
    intention::validate(&entry).map_err(HttpError::InvalidIntention)?;
    cx.authorize(&Access::Intention { destination: &destination, write: true })?;
    let command = IntentionCommand::Upsert { destination, source };
    cx.propose(Command::Intention(Box::new(command))).await?;
    Ok(())
}

async fn delete(cx: &Context, source: &str, destination: &str) -> Result<(), HttpError> {
    cx.authorize(&Access::Intention { destination, write: true })?;
    let command =
        IntentionCommand::Delete { destination: destination.to_owned(), source: source.to_owned() };
    match cx.propose(Command::Intention(Box::new(command))).await? {
        true => Ok(()),
        false => Err(HttpError::NoIntention),
    }
}

async fn known(cx: &Context, id: &str) -> Result<Intention, HttpError> {
    intention::by_id(&*current(cx).await?, id).ok_or(HttpError::NoIntention)
}

/// Returns a state as new as any response that a client has seen: what a write is decided by.
async fn current(cx: &Context) -> Result<Arc<State>, HttpError> {
    let server = cx.server()?;
    server.barrier(Consistency::Default).await?;
    Ok(server.store().snapshot())
}

fn id(request: &Request) -> Result<&str, HttpError> {
    let id = request.tail();
    if uuid::Uuid::parse_str(id).is_err() {
        return Err(HttpError::IntentionId);
    }
    Ok(id)
}

fn pair(request: &Request) -> Result<(&str, &str), HttpError> {
    let name = |parameter| service_name(parameter, required(request, parameter)?);
    Ok((name("source")?, name("destination")?))
}

fn required<'a>(request: &'a Request, parameter: &'static str) -> Result<&'a str, HttpError> {
    request
        .param(parameter)
        .filter(|value| !value.is_empty())
        .ok_or(HttpError::MissingParameter(parameter))
}

/// Reads `name`, `namespace/name` or `partition/namespace/name`, of which only `default` exists.
fn service_name<'a>(parameter: &'static str, text: &'a str) -> Result<&'a str, HttpError> {
    match text.split('/').collect::<Vec<_>>()[..] {
        [name] | ["default", name] | ["default", "default", name] => Ok(name),
        _ => Err(HttpError::IntentionName { parameter, value: text.to_owned() }),
    }
}
