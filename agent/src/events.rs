//! User events: fired by gossip to the agents of this datacenter, and kept for readers.
//!
//! The receiving agent evaluates the filters against its own name and services. The last
//! [`MAX_EVENTS`] events that match are kept in memory, in the order of arrival.
//!
//! INVARIANT: every event has its own UUID, so events with the same text stay distinct and one that
//! arrives twice is kept once.
//!
//! Source: Consul "Event HTTP API".

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use lictor_api::types::event::UserEvent;
use lictor_membership::Pool;
use regex::Regex;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast::error::RecvError, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{local::LocalState, telemetry::metrics};

/// The most events that are kept.
const MAX_EVENTS: usize = 256;
/// Version of the wire format.
const VERSION: u32 = 1;

/// Why an event was not fired. The texts are Consul's.
#[derive(Debug, thiserror::Error)]
pub enum FireError {
    /// The event has no name.
    #[error("Missing name")]
    MissingName,
    /// A tag filter needs a service filter.
    #[error("Cannot provide tag filter without service filter")]
    TagWithoutService,
    /// A filter is not a regular expression.
    #[error("Invalid {0} filter: {1}")]
    Filter(&'static str, String),
    /// The pool rejected it.
    #[error(transparent)]
    Send(#[from] lictor_membership::SendError),
}

/// An event on the wire, with short keys: the whole event must fit in 512 bytes.
#[derive(Serialize, Deserialize)]
struct Message {
    i: Uuid,
    #[serde(default, skip_serializing_if = "Bytes::is_empty")]
    p: Bytes,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    n: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    s: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    t: String,
    v: u32,
}

/// The events that match this agent, oldest first.
#[derive(Debug, Default)]
pub struct Events {
    kept: watch::Sender<Arc<VecDeque<UserEvent>>>,
}

// === impl Events ===

impl Events {
    /// Returns the events of a name, or all, with the index of the last one.
    pub fn list(&self, name: Option<&str>) -> (u64, Vec<UserEvent>) {
        select(&self.kept.borrow(), name)
    }

    /// Waits until the index differs from `index`, then returns as [`Events::list`]. Has no
    /// timeout.
    pub async fn list_unlike(&self, index: u64, name: Option<&str>) -> (u64, Vec<UserEvent>) {
        let mut kept = self.kept.subscribe();
        match kept.wait_for(|kept| select(kept, name).0 != index).await {
            Ok(kept) => select(&kept, name),
            Err(_) => self.list(name),
        }
    }

    /// Receives the pool's events until `until` is cancelled.
    pub async fn run(&self, pool: Pool, local: Arc<LocalState>, until: CancellationToken) {
        let mut events = pool.events();
        loop {
            let event = tokio::select! {
                () = until.cancelled() => return,
                event = events.recv() => event,
            };
            match event {
                Ok(event) => self.receive(&event, &local),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "user events came faster than they were read");
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn receive(&self, event: &lictor_membership::UserEvent, local: &LocalState) {
        let message: Message = match rmp_serde::from_slice(&event.payload) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(%error, name = event.name, "a user event cannot be read");
                return;
            }
        };
        if !matches_agent(&message, local) {
            return;
        }
        tracing::debug!(target: "agent", event_name = event.name, event_id = %message.i, "new event");
        self.keep(UserEvent {
            id: message.i.to_string(),
            name: event.name.clone(),
            payload: message.p,
            node_filter: message.n,
            service_filter: message.s,
            tag_filter: message.t,
            version: message.v,
            lamport_time: event.time,
        });
    }

    fn keep(&self, event: UserEvent) {
        self.kept.send_if_modified(|kept| {
            if kept.iter().any(|other| other.id == event.id) {
                return false;
            }
            let kept = Arc::make_mut(kept);
            if kept.len() == MAX_EVENTS {
                kept.pop_front();
            }
            kept.push_back(event);
            metrics::SERF_EVENTS.increment();
            true
        });
    }
}

/// Fires an event to the agents of the datacenter. Returns it with its ID.
///
/// # Errors
/// [`FireError`]; nothing was sent.
pub async fn fire(pool: &Pool, mut event: UserEvent) -> Result<UserEvent, FireError> {
    if event.name.is_empty() {
        return Err(FireError::MissingName);
    }
    if event.service_filter.is_empty() && !event.tag_filter.is_empty() {
        return Err(FireError::TagWithoutService);
    }
    for (kind, filter) in [
        ("node", &event.node_filter),
        ("service", &event.service_filter),
        ("tag", &event.tag_filter),
    ] {
        Regex::new(filter).map_err(|error| FireError::Filter(kind, error.to_string()))?;
    }
    let id = Uuid::new_v4();
    event.id = id.to_string();
    event.version = VERSION;
    let message = Message {
        i: id,
        p: event.payload.clone(),
        n: event.node_filter.clone(),
        s: event.service_filter.clone(),
        t: event.tag_filter.clone(),
        v: VERSION,
    };
    let bytes = rmp_serde::to_vec_named(&message)
        .expect("strings, bytes and a number are always encoded into memory");
    pool.fire(&event.name, bytes.into()).await?;
    Ok(event)
}

/// Returns whether an event's filters match this agent. An invalid regular expression matches
/// nothing.
fn matches_agent(message: &Message, local: &LocalState) -> bool {
    let matches = |filter: &str, text: &str| {
        filter.is_empty() || Regex::new(filter).is_ok_and(|filter| filter.is_match(text))
    };
    if !matches(&message.n, &local.node().name) {
        return false;
    }
    message.s.is_empty()
        || local.snapshot().services().any(|known| {
            matches(&message.s, &known.service.service)
                && (message.t.is_empty()
                    || known.service.tags.iter().any(|tag| matches(&message.t, tag)))
        })
}

/// Returns the events of a name with their index. COMPAT: the index is derived from the last
/// event's UUID: not monotonic, only distinct. Without events it is 1, so that readers block.
fn select(kept: &VecDeque<UserEvent>, name: Option<&str>) -> (u64, Vec<UserEvent>) {
    let chosen: Vec<UserEvent> =
        kept.iter().filter(|event| name.is_none_or(|name| event.name == name)).cloned().collect();
    let index = chosen.last().and_then(|event| Uuid::parse_str(&event.id).ok()).map_or(1, |id| {
        let (high, low) = id.as_u64_pair();
        high ^ low
    });
    (index, chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize, name: &str) -> UserEvent {
        UserEvent {
            id: Uuid::from_u128(number as u128 + 1).to_string(),
            name: name.into(),
            ..UserEvent::default()
        }
    }

    #[test]
    fn the_last_256_are_kept_and_each_once() {
        let events = Events::default();
        assert_eq!(events.list(None), (1, Vec::new()));
        for number in 0..5000 {
            events.keep(event(number, "deploy"));
            events.keep(event(number, "deploy"));
            assert_eq!(events.list(None).1.len(), (number + 1).min(256), "never more");
        }
        let (index, kept) = events.list(None);
        assert_eq!((kept.len(), index), (256, 5000));
        assert_eq!(kept[0].id, event(4744, "").id);
        assert!(events.kept.borrow().capacity() <= 512, "nor more room than for them");
    }

    #[tokio::test]
    async fn a_reader_waits_for_another_index_of_its_name() {
        let events = Events::default();
        events.keep(event(0, "deploy"));
        let (index, _) = events.list(Some("deploy"));
        let waiting = events.list_unlike(index, Some("deploy"));
        let telling = async {
            events.keep(event(1, "other"));
            events.keep(event(2, "deploy"));
        };
        let ((index, kept), ()) = tokio::join!(waiting, telling);
        assert_eq!((index, kept.len()), (3, 2));
    }

    #[test]
    fn a_message_takes_few_bytes_beside_its_payload() {
        let message = Message {
            i: Uuid::new_v4(),
            p: Bytes::from_static(b"payload"),
            n: String::new(),
            s: String::new(),
            t: String::new(),
            v: VERSION,
        };
        let bytes = rmp_serde::to_vec_named(&message).unwrap();
        assert!(bytes.len() < 40, "{} bytes", bytes.len());
        assert_eq!(rmp_serde::from_slice::<Message>(&bytes).unwrap().p, message.p);
    }
}
