//! `/v1/session/`: sessions (Consul "Session HTTP API").
//!
//! COMPAT: what Consul's servers refuse (TTL, behavior, missing node or check) is 500; only a path
//! without its last part is 400.

use std::{sync::Arc, time::Duration};

use lictor_api::contract::SERF_CHECK_ID;
use lictor_api::{
    CheckId, GoDuration, NodeName,
    types::session::{
        DEFAULT_LOCK_DELAY, MAX_TTL, ServiceCheck, Session, SessionBehavior, lock_delay,
    },
    wire,
};
use lictor_core::{
    acl::Access,
    fsm::{Command, SessionCommand},
    state::{Topic, catalog::fold},
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::json;

use super::{Context, HttpError, Request, Response};

/// Body of `PUT /v1/session/create`; everything has a default.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CreateSession {
    name: String,
    node: NodeName,
    #[serde(deserialize_with = "present_delay")]
    lock_delay: Option<Duration>,
    behavior: String,
    #[serde(rename = "TTL")]
    ttl: String,
    #[serde(deserialize_with = "present")]
    node_checks: Option<Vec<CheckId>>,
    service_checks: Vec<ServiceCheck>,
    /// COMPAT: what `NodeChecks` was called before Consul 1.7.
    #[serde(deserialize_with = "present")]
    checks: Option<Vec<CheckId>>,
    /// The servers choose it; accepted because clients send back what they have read.
    #[serde(rename = "ID")]
    _id: IgnoredAny,
    #[serde(rename = "CreateIndex")]
    _create_index: IgnoredAny,
    #[serde(rename = "ModifyIndex")]
    _modify_index: IgnoredAny,
}

/// A list that is there, be it `null`, is not the default.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<CheckId>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

fn present_delay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    lock_delay::deserialize(deserializer).map(Some)
}

impl CreateSession {
    /// The session, for a node that has this name unless the body names one. No TTL is shorter than
    /// `shortest`.
    fn session(self, own_node: &NodeName, shortest: Duration) -> Result<Session, HttpError> {
        if !self.ttl.is_empty() {
            let ttl = self
                .ttl
                .parse::<GoDuration>()
                .map_err(|reason| HttpError::UnreadableTtl { ttl: self.ttl.clone(), reason })?;
            if !ttl.is_zero() && !(shortest..=MAX_TTL).contains(&ttl.0) {
                return Err(HttpError::InvalidTtl { ttl: ttl.0, shortest });
            }
        }
        let behavior = match self.behavior.as_str() {
            "" | "release" => SessionBehavior::Release,
            "delete" => SessionBehavior::Delete,
            _ => return Err(HttpError::InvalidBehavior(self.behavior)),
        };
        let checks = self.node_checks.or(self.checks);
        Ok(Session {
            id: uuid::Uuid::new_v4().to_string(),
            name: self.name,
            node: if self.node.is_empty() { own_node.clone() } else { self.node },
            lock_delay: self.lock_delay.unwrap_or(DEFAULT_LOCK_DELAY),
            behavior,
            ttl: self.ttl,
            node_checks: checks.unwrap_or_else(|| vec![SERF_CHECK_ID.into()]),
            service_checks: self.service_checks,
            ..Session::default()
        })
    }
}

/// Fills in this agent's node name when the body names none; otherwise the server we forward to would
/// use its own. An invalid body is forwarded unchanged for the server to reject.
pub(super) fn fill_in_node(request: &mut Request, node: &NodeName) {
    let mut body = match &request.body[..] {
        [] => serde_json::Value::Object(serde_json::Map::new()),
        text => serde_json::from_slice(text).unwrap_or_default(),
    };
    let Some(members) = body.as_object_mut() else { return };
    let is_named = members.iter().any(|(key, value)| {
        wire::same_key(key, "Node") && value.as_str().is_some_and(|name| !name.is_empty())
    });
    if !is_named {
        members.retain(|key, _| !wire::same_key(key, "Node"));
        members.insert("Node".to_owned(), node.to_string().into());
        request.body = body.to_string().into();
    }
}

/// `PUT /v1/session/create`: makes a session and answers its ID.
pub(super) async fn create(cx: Context, request: Request) -> Result<Response, HttpError> {
    let create: CreateSession =
        if request.body.is_empty() { CreateSession::default() } else { request.decode()? };
    let shortest = cx.agent.config.load().session_ttl_min;
    let session = create.session(&cx.agent.local.node().name, shortest)?;
    cx.authorize(&Access::Session { node: &session.node, write: true })?;
    let id = session.id.clone();
    cx.propose(Command::Session(Box::new(SessionCommand::Create(session)))).await?;
    Response::json(&json!({ "ID": id }))
}

/// `PUT /v1/session/destroy/:id`: ends a session, whether or not there is one.
pub(super) async fn destroy(cx: Context, request: Request) -> Result<Response, HttpError> {
    let id = session_id(&request)?;
    if let Some(session) = cx.server()?.store().snapshot().sessions.get(id) {
        cx.authorize(&Access::Session { node: &session.node, write: true })?;
    }
    let command = SessionCommand::Destroy { id: id.to_owned() };
    Response::json(&cx.propose(Command::Session(Box::new(command))).await?)
}

/// `PUT /v1/session/renew/:id`: starts a session's TTL again and answers the session.
pub(super) async fn renew(cx: Context, request: Request) -> Result<Response, HttpError> {
    let id = session_id(&request)?;
    if let Some(session) = cx.server()?.store().snapshot().sessions.get(id) {
        cx.authorize(&Access::Session { node: &session.node, write: true })?;
    }
    let session = cx.server()?.renew_session(id).await?;
    Response::json(&[session.ok_or_else(|| HttpError::NoSession(id.to_owned()))?])
}

/// `GET /v1/session/info/:id`: a list of the one session, or of none.
pub(super) async fn info(cx: Context, request: Request) -> Result<Response, HttpError> {
    let id = session_id(&request)?;
    let topic = Topic::Session(Arc::from(id));
    let (meta, sessions) = cx
        .read(&request, |state, topics| -> Vec<Arc<Session>> {
            topics.add(topic.clone());
            state.sessions.get(id).cloned().into_iter().collect()
        })
        .await?;
    answer(&cx, &meta, sessions)
}

/// `GET /v1/session/node/:node`: the sessions of a node.
pub(super) async fn node(cx: Context, request: Request) -> Result<Response, HttpError> {
    let node = request.tail();
    if node.is_empty() {
        return Err(HttpError::MissingNodeName);
    }
    let topic = Topic::NodeSessions(fold(&NodeName::from(node)));
    let (meta, sessions) = cx
        .read(&request, |state, topics| -> Vec<Arc<Session>> {
            topics.add(topic.clone());
            state.sessions.of_node(node).cloned().collect()
        })
        .await?;
    answer(&cx, &meta, sessions)
}

/// `GET /v1/session/list`: all sessions.
pub(super) async fn list(cx: Context, request: Request) -> Result<Response, HttpError> {
    let (meta, sessions) = cx
        .read(&request, |state, topics| -> Vec<Arc<Session>> {
            topics.add(Topic::Sessions);
            state.sessions.list().cloned().collect()
        })
        .await?;
    answer(&cx, &meta, sessions)
}

/// The sessions that the caller may see.
fn answer(
    cx: &Context,
    meta: &lictor_api::query::QueryMeta,
    mut sessions: Vec<Arc<Session>>,
) -> Result<Response, HttpError> {
    sessions.retain(|session| {
        cx.authorize(&Access::Session { node: &session.node, write: false }).is_ok()
    });
    Ok(Response::json(&sessions)?.with_meta(meta))
}

fn session_id(request: &Request) -> Result<&str, HttpError> {
    match request.tail() {
        "" => Err(HttpError::MissingSession),
        id => Ok(id),
    }
}
