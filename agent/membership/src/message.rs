//! Small messages to all members: user events, and queries with their responses.
//!
//! User events travel as queries that no member answers. The engine's own user events keep every
//! event in a slot of 512 without comparing times when a slot is used again: slots grow for ever,
//! go into every exchange of state, and an event can be taken for an older one. Queries are
//! remembered by time and a random number in slots that are emptied.
//!
//! INVARIANT: nothing here waits for a reader. Events go into a bounded ring buffer that slow
//! readers fall out of; at most [`MAX_CONCURRENT_ANSWERS`] queries of other members are answered at
//! a time.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serf::{
    event::{Event, EventSubscriber},
    types::SmolStr,
};
use tokio::{
    sync::{Semaphore, broadcast},
    time::Instant,
};

use super::{
    Pool,
    engine::{Delegate, MAX_QUERY_BYTES, Transport},
    error::EngineError,
};

/// Events that a slow reader may be behind.
const MAX_BUFFERED_EVENTS: usize = 1024;
/// Queries of other members that are answered at the same time.
const MAX_CONCURRENT_ANSWERS: usize = 32;
/// Marks a query as an event; the rest of the query's name is the event's.
const EVENT_PREFIX: &str = "event:";
/// Marks our queries; the engine's own have names without it.
const QUERY_PREFIX: &str = "query:";
/// The largest name and payload of an event together, as in Consul.
const MAX_EVENT_BYTES: usize = 512;
/// How long the engine remembers an event as a query: no member answers it.
const EVENT_TIMEOUT: Duration = Duration::from_secs(1);

/// A user event as every member receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEvent {
    /// Name that readers select events by.
    pub name: String,
    /// At most 512 bytes together with the name. Distinguishing equal payloads is up to the sender.
    pub payload: Bytes,
    /// Lamport time: larger than that of every event that the sender had received before.
    pub time: u64,
}

/// A question to all members.
#[derive(Debug, Clone)]
pub struct Query {
    /// Selects the handler; see [`Pool::handle_query`].
    pub name: &'static str,
    /// At most about 900 bytes: the query with its envelope has at most 1024.
    pub payload: Bytes,
    /// How long responses are collected; by default as long as gossip takes to reach all members.
    pub timeout: Option<Duration>,
    /// How many other members relay each response as well.
    pub relay_factor: u8,
}

/// One member's response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryResponse {
    /// Name of the member.
    pub from: String,
    /// Bytes that the member's handler returned.
    pub payload: Bytes,
}

/// Responses in the order of arrival, until the query times out.
pub struct QueryResponses {
    response: serf::QueryResponse<SmolStr, SocketAddr>,
    deadline: Instant,
}

// === impl QueryResponses ===

impl QueryResponses {
    /// Waits for the next response; returns `None` when the query has timed out.
    pub async fn next(&mut self) -> Option<QueryResponse> {
        let responses = self.response.response_rx();
        let response = tokio::time::timeout_at(self.deadline, responses.recv()).await.ok()?.ok()?;
        let from = response.from().id().to_string();
        Some(QueryResponse { from, payload: response.payload().clone() })
    }
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The event's name and payload are too large; a smaller event can be sent.
    #[error("user event exceeds configured limit of {MAX_EVENT_BYTES} bytes before encoding")]
    TooLarge,
    /// The pool was left or stopped; sending again fails as well.
    #[error("this agent has left the pool")]
    Stopped,
    /// The engine refused the query: with its envelope it is larger than 1024 bytes, or it could
    /// not be encoded. Sending the same again fails as well. The text contains the engine's,
    /// because HTTP responses carry this text alone.
    #[error("sending to the pool: {0}")]
    Engine(EngineError),
}

type Handler = Arc<dyn Fn(Bytes) -> BoxFuture<'static, Option<Bytes>> + Send + Sync>;
type Received = serf::event::QueryEvent<Transport, Delegate>;

pub(super) struct Messages {
    events: broadcast::Sender<UserEvent>,
    handlers: Mutex<HashMap<&'static str, Handler>>,
    answering: Arc<Semaphore>,
    /// Queries are sent one after the other: the engine assigns responses by Lamport time alone.
    sending: tokio::sync::Mutex<()>,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            events: broadcast::Sender::new(MAX_BUFFERED_EVENTS),
            handlers: Mutex::default(),
            answering: Arc::new(Semaphore::new(MAX_CONCURRENT_ANSWERS)),
            sending: tokio::sync::Mutex::default(),
        }
    }
}

impl Pool {
    /// Sends a user event to all members, this agent included.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    pub async fn fire(&self, name: &str, payload: Bytes) -> Result<(), SendError> {
        if name.len() + payload.len() > MAX_EVENT_BYTES {
            return Err(SendError::TooLarge);
        }
        let timeout = Some(EVENT_TIMEOUT);
        self.send(format!("{EVENT_PREFIX}{name}"), payload, timeout, 0).await.map(drop)
    }

    /// Returns a receiver of the user events from now on. A reader that falls more than
    /// [`MAX_BUFFERED_EVENTS`] behind gets the number of events that it missed.
    pub fn events(&self) -> broadcast::Receiver<UserEvent> {
        self.0.messages.events.subscribe()
    }

    /// Sends a query to all members, this agent included.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    pub async fn query(&self, query: Query) -> Result<QueryResponses, SendError> {
        let Query { name, payload, timeout, relay_factor } = query;
        self.send(format!("{QUERY_PREFIX}{name}"), payload, timeout, relay_factor).await
    }

    /// Answers queries of this name with what `handler` returns; `None` sends no response.
    pub fn handle_query(
        &self,
        name: &'static str,
        handler: impl Fn(Bytes) -> BoxFuture<'static, Option<Bytes>> + Send + Sync + 'static,
    ) {
        let handlers = &self.0.messages.handlers;
        handlers.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(handler));
    }

    async fn send(
        &self,
        name: String,
        payload: Bytes,
        timeout: Option<Duration>,
        relay_factor: u8,
    ) -> Result<QueryResponses, SendError> {
        if self.0.stop.is_cancelled() || self.0.engine.state() != serf::SerfState::Alive {
            return Err(SendError::Stopped);
        }
        let mut parameters = self.0.engine.default_query_param().await;
        if let Some(timeout) = timeout {
            parameters = parameters.with_timeout(timeout);
        }
        let parameters = parameters.with_relay_factor(relay_factor);
        let time = parameters.timeout();
        let _turn = self.0.messages.sending.lock().await;
        let sent = self.0.engine.query(name, payload, Some(parameters)).await;
        let response = sent.map_err(|error| SendError::Engine(EngineError::new(&error)))?;
        Ok(QueryResponses { response, deadline: Instant::now() + time })
    }

    fn receive(&self, query: Received) {
        let messages = &self.0.messages;
        if let Some(name) = query.name().strip_prefix(EVENT_PREFIX) {
            let event = UserEvent {
                name: name.to_owned(),
                payload: query.payload().clone(),
                time: query.lamport_time().into(),
            };
            if messages.events.send(event).is_err() {
                tracing::trace!("no reader of user events");
            }
            return;
        }
        let Some(name) = query.name().strip_prefix(QUERY_PREFIX) else { return };
        let handlers = messages.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handler) = handlers.get(name).cloned() else { return };
        drop(handlers);
        let Ok(permit) = messages.answering.clone().try_acquire_owned() else {
            tracing::warn!(from = %query.from().id(), "query dropped: too many are being answered");
            return;
        };
        self.0.tasks.spawn_transient("gossip.query", async move {
            if let Some(response) = handler(query.payload().clone()).await {
                respond(&query, response).await;
            }
            drop(permit);
        });
    }
}

/// Sends a handler's response. One that is too large is not sent; the querying member times out.
async fn respond(query: &Received, response: Bytes) {
    let (from, name) = (query.from().id(), query.name());
    if response.len() >= MAX_QUERY_BYTES {
        let (bytes, max) = (response.len(), MAX_QUERY_BYTES);
        tracing::warn!(%from, %name, bytes, max, "query response dropped: too large");
    } else if let Err(error) = query.respond(response).await {
        tracing::debug!(%error, %from, %name, "query response not sent");
    }
}

/// Drains the engine's events. Never waits and never reads the table of members, which the engine
/// may hold while it sends.
pub(super) async fn drain(pool: Pool, events: EventSubscriber<Transport, Delegate>) {
    loop {
        tokio::select! {
            () = pool.0.stop.cancelled() => return,
            event = events.recv() => match event {
                Ok(Event::Member(_)) => pool.0.refresh.notify_one(),
                Ok(Event::Query(query)) => pool.receive(query),
                Ok(Event::User(_)) => {}
                Err(_) => return,
            },
        }
    }
}
