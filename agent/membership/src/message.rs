//! Small messages to everybody: user events, and queries with their answers.
//!
//! User events travel as queries that nobody answers. The engine's own user events keep every
//! event in a slot of 512 without comparing times when a slot is used again: slots grow for ever,
//! go into every exchange of state, and an event can be taken for an older one. Queries are
//! remembered by time and a random number in slots that are emptied.
//!
//! INVARIANT: nothing here waits for a reader. Events go into a bounded ring that slow readers fall
//! out of; of the queries of others at most [`ANSWERING`] are being answered.

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
    engine::{Delegate, MAX_QUERY, Transport},
};

/// Events that a slow reader may be behind.
const RING: usize = 1024;
/// Queries of others that are answered at the same time.
const ANSWERING: usize = 32;
/// What sets events apart from queries; the rest of the name is the event's.
const EVENT: &str = "event:";
/// What sets our queries apart from the engine's.
const QUERY: &str = "query:";
/// The largest name and payload of an event together, as in Consul.
const MAX_EVENT: usize = 512;

/// Something that was told to everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEvent {
    /// What readers pick it by.
    pub name: String,
    /// Up to 512 bytes together with the name. Equal payloads are told apart by whoever needs it.
    pub payload: Bytes,
    /// Lamport time: larger than that of every event that was seen before it was fired.
    pub time: u64,
}

/// A question to everybody.
#[derive(Debug, Clone)]
pub struct Query {
    /// What it is answered by; see [`Pool::answer`].
    pub name: &'static str,
    /// About 900 bytes.
    pub payload: Bytes,
    /// How long answers are waited for; by default as long as gossip needs to reach everybody.
    pub timeout: Option<Duration>,
    /// Over how many other members answers are sent as well.
    pub relay_factor: u8,
}

/// One member's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The member.
    pub from: String,
    /// What it says.
    pub payload: Bytes,
}

/// Answers as they come, until the query's time is over.
pub struct Answers {
    response: serf::QueryResponse<SmolStr, SocketAddr>,
    deadline: Instant,
}

// === impl Answers ===

impl Answers {
    /// The next answer; `None` when the query's time is over.
    pub async fn next(&mut self) -> Option<Answer> {
        let answers = self.response.response_rx();
        let answer = tokio::time::timeout_at(self.deadline, answers.recv()).await.ok()?.ok()?;
        Some(Answer { from: answer.from().id().to_string(), payload: answer.payload().clone() })
    }
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// More than Consul allows.
    #[error("user event exceeds configured limit of {MAX_EVENT} bytes before encoding")]
    TooLarge,
    /// The pool was left or stopped.
    #[error("this agent has left the pool")]
    Stopped,
    /// Anything else.
    #[error("sending to the pool: {0}")]
    Engine(String),
}

type Handler = Arc<dyn Fn(Bytes) -> BoxFuture<'static, Option<Bytes>> + Send + Sync>;
type Received = serf::event::QueryEvent<Transport, Delegate>;

pub(super) struct Messages {
    events: broadcast::Sender<UserEvent>,
    handlers: Mutex<HashMap<&'static str, Handler>>,
    answering: Arc<Semaphore>,
    /// Queries are sent one after the other: the engine finds answers by Lamport time alone.
    sending: tokio::sync::Mutex<()>,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            events: broadcast::Sender::new(RING),
            handlers: Mutex::default(),
            answering: Arc::new(Semaphore::new(ANSWERING)),
            sending: tokio::sync::Mutex::default(),
        }
    }
}

impl Pool {
    /// Tells everybody, this agent included.
    ///
    /// # Errors
    /// [`SendError`]; nobody was told.
    pub async fn fire(&self, name: &str, payload: Bytes) -> Result<(), SendError> {
        if name.len() + payload.len() > MAX_EVENT {
            return Err(SendError::TooLarge);
        }
        // Nobody answers: the engine need not remember who might.
        let brief = Some(Duration::from_secs(1));
        self.send(format!("{EVENT}{name}"), payload, brief, 0).await.map(drop)
    }

    /// What is told from now on. A reader that falls behind is told how much it missed.
    pub fn events(&self) -> broadcast::Receiver<UserEvent> {
        self.0.messages.events.subscribe()
    }

    /// Asks everybody, this agent included.
    ///
    /// # Errors
    /// [`SendError`]; nobody was asked.
    pub async fn query(&self, query: Query) -> Result<Answers, SendError> {
        let Query { name, payload, timeout, relay_factor } = query;
        self.send(format!("{QUERY}{name}"), payload, timeout, relay_factor).await
    }

    /// How queries of a name are answered; `None` is no answer.
    pub fn answer(
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
    ) -> Result<Answers, SendError> {
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
        let response = sent.map_err(|error| SendError::Engine(error.to_string()))?;
        Ok(Answers { response, deadline: Instant::now() + time })
    }

    fn receive(&self, query: Received) {
        let messages = &self.0.messages;
        if let Some(name) = query.name().strip_prefix(EVENT) {
            let event = UserEvent {
                name: name.to_owned(),
                payload: query.payload().clone(),
                time: query.lamport_time().into(),
            };
            if messages.events.send(event).is_err() {
                tracing::trace!("nobody reads user events");
            }
            return;
        }
        let Some(name) = query.name().strip_prefix(QUERY) else { return };
        let handlers = messages.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handler) = handlers.get(name).cloned() else { return };
        drop(handlers);
        let Ok(permit) = messages.answering.clone().try_acquire_owned() else {
            tracing::warn!(from = %query.from().id(), "a query is not answered because too many are being answered");
            return;
        };
        self.0.tasks.spawn(async move {
            let answer = handler(query.payload().clone()).await;
            if let Some(answer) = answer.filter(|answer| answer.len() < MAX_QUERY)
                && let Err(error) = query.respond(answer).await
            {
                tracing::debug!(%error, "a query could not be answered");
            }
            drop(permit);
        });
    }
}

/// Takes the engine's events off its hands. Never waits and never touches the table of members,
/// which the engine may hold while it sends.
pub(super) async fn drain(pool: Pool, events: EventSubscriber<Transport, Delegate>) {
    loop {
        tokio::select! {
            () = pool.0.stop.cancelled() => return,
            event = events.recv() => match event {
                Ok(Event::Member(_)) => pool.0.look.notify_one(),
                Ok(Event::Query(query)) => pool.receive(query),
                Ok(Event::User(_)) => {}
                Err(_) => return,
            },
        }
    }
}
