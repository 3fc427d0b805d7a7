//! What every thread and task that answers DNS shares, and the one way from a packet to a reply.
//!
//! INVARIANT: a packet is decoded once. Its [`Query`] and the scope of its name decide which state
//! answers it, and the same two are answered from that state.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use lictor_core::state::State;
use lictor_runtime::Tasks;
use lictor_store::Store;
use rand::Rng;
use tokio::sync::Semaphore;

use super::{
    Zone,
    clock::unix_seconds,
    direct,
    general::{Environment, Outcome},
    name::Scope,
    query::{self, Packet, Query},
    remote::{AnswerSource, Remote, Work},
    truncate::{self, Transport},
};
use crate::{telemetry::metrics, views::Views};

/// What answers are made from.
#[derive(Clone)]
pub struct Backend {
    /// The published state.
    pub store: Arc<Store>,
    /// The names and settings in force; swapped by a reload.
    pub zone: Arc<ArcSwap<Zone>>,
    /// How servers are reached; `None`: only this agent's state answers.
    pub remote: Option<Remote>,
}

/// Where the state is that answers a query.
enum Ready {
    /// Here.
    State(Arc<State>),
    /// Nowhere yet: a view has to be opened first, or a server asked.
    Later(Arc<Views>),
}

impl Backend {
    /// Returns the state that answers a query, or what it has to be fetched through.
    fn state(&self, query: &Query<'_>, scope: &Scope<'_>, zone: &Zone) -> Ready {
        let Some(Remote::Client(views)) = &self.remote else {
            return Ready::State(self.store.snapshot());
        };
        match AnswerSource::of(query, scope, zone).state(views) {
            Some(state) => Ready::State(state),
            None => Ready::Later(views.clone()),
        }
    }
}

/// What every worker shares.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) backend: Backend,
    pub(super) recursions: Arc<Semaphore>,
    pub(super) tasks: Tasks,
}

/// What a packet gets.
pub(super) enum Reply {
    /// No answer.
    Nothing,
    /// The answer in the buffer.
    Send,
    /// The answer that this work gives.
    Later(Work),
}

/// Answers the packets that one socket received together: under one zone, at one time.
pub(super) struct Answerer<'w> {
    backend: &'w Backend,
    zone: &'w Zone,
    transport: Transport,
    /// Unix seconds.
    now: u32,
    /// When the packet under way was begun: where the one before it ended, so that the clock is read
    /// once a packet.
    begun: Instant,
}

impl Worker {
    /// Returns what answers the packets received now.
    pub(super) fn answerer<'w>(&'w self, zone: &'w Zone, transport: Transport) -> Answerer<'w> {
        let (now, begun) = (unix_seconds(), Instant::now());
        Answerer { backend: &self.backend, zone, transport, now, begun }
    }
}

impl Answerer<'_> {
    /// Answers one packet. An answer replaces what was in `out`.
    pub(super) fn reply(&mut self, packet: &[u8], rng: &mut impl Rng, out: &mut Vec<u8>) -> Reply {
        let query = match query::decode(packet) {
            Packet::Query(query) => query,
            Packet::Ignored => return Reply::Nothing,
            Packet::Refused(request, code) => {
                return match truncate::encode_error(&request, code, out) {
                    Ok(()) => Reply::Send,
                    Err(error) => {
                        tracing::debug!(id = request.id, %error, "dns error cannot be encoded");
                        Reply::Nothing
                    }
                };
            }
        };
        let scope = query.scope(self.zone);
        let state = match self.backend.state(&query, &scope, self.zone) {
            Ready::State(state) => state,
            Ready::Later(views) => {
                let (packet, request) = (packet.to_vec(), query.into_message());
                return Reply::Later(Work::OpenView { views, packet: packet.into(), request });
            }
        };
        let Self { zone, transport, now, .. } = *self;
        let environment = Environment { state: &state, zone, transport, now };
        let outcome = direct::answer(&query, &scope, &environment, rng, out);
        match scope {
            Scope::Inside(_) => self.begun = metrics::DNS_DOMAIN_QUERY.observe_since(self.begun),
            Scope::Reverse(_) => self.begun = metrics::DNS_PTR_QUERY.observe_since(self.begun),
            Scope::Outside => {}
        }
        match outcome {
            Ok(Outcome::Send) => Reply::Send,
            Ok(outcome) => Reply::Later(Work::Outcome(query.into_message(), outcome)),
            Err(error) => {
                tracing::debug!(%error, "dns answer cannot be encoded");
                Reply::Send
            }
        }
    }
}
