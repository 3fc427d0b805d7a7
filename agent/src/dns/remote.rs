//! Queries that servers answer: those about other datacenters, and on a client agent all that no
//! view is there for.
//!
//! A client agent answers questions about nodes and services from views, which it follows from the
//! first question on; what is rare (SOA, NS, PTR) it forwards whole.

use std::sync::Arc;

use bytes::Bytes;
use hickory_proto::{
    op::Message,
    rr::{DNSClass, RecordType},
};
use lictor_core::state::{State, WatchSet, view::View};
use lictor_store::Store;
use rand::{SeedableRng, rngs::SmallRng};

use super::{
    Zone,
    answer::Answer,
    clock::unix_seconds,
    direct,
    general::{self, Environment, Outcome},
    name::{Scope, Subject},
    query::{self, Packet, Query},
    recursor,
    truncate::{self, Transport},
};
use crate::{
    forward::{ForwardError, Forwarder},
    views::Views,
};

/// How a DNS worker reaches servers.
#[derive(Clone)]
pub enum Remote {
    /// This agent is a server; others answer for other datacenters.
    Server(Arc<Forwarder>),
    /// This agent is a client.
    Client(Arc<Views>),
}

/// What cannot be answered at once.
pub(super) enum Work {
    /// What a query came to.
    Outcome(Box<Message>, Outcome),
    /// A query on a client agent that has no state for it yet.
    OpenView {
        /// The views that the agent follows.
        views: Arc<Views>,
        /// The query as it was received.
        packet: Bytes,
        /// The query.
        request: Box<Message>,
    },
}

impl Work {
    /// Returns the answer's bytes, if there is one.
    pub(super) async fn carry_out(
        self,
        transport: Transport,
        zone: &Zone,
        remote: Option<&Remote>,
    ) -> Option<Vec<u8>> {
        match self {
            Self::Outcome(request, outcome) => {
                resolve(&request, outcome, transport, zone, remote).await
            }
            Self::OpenView { views, packet, request } => {
                open_view(views, packet, request, transport, zone).await
            }
        }
    }

    /// Returns the answer when too much other work waits: SERVFAIL.
    pub(super) fn refuse(self, zone: &Zone) -> Option<Vec<u8>> {
        let (Self::Outcome(request, _) | Self::OpenView { request, .. }) = self;
        failure(&request, zone)
    }
}

/// What a client agent answers a query from.
pub(super) enum AnswerSource {
    /// A view.
    View(View),
    /// Nothing of the catalog.
    Nothing,
    /// A server's answer.
    Server,
    /// The servers, which know the way to the datacenter that is asked about.
    OtherDatacenter,
    /// A server, which knows whether the catalog has the address; if not, recursors may know a
    /// name.
    Reverse,
}

impl AnswerSource {
    /// Returns the source for a query whose name asks for `scope`.
    pub(super) fn of(query: &Query<'_>, scope: &Scope<'_>, zone: &Zone) -> Self {
        if !matches!(query.class(), DNSClass::IN | DNSClass::ANY) {
            return Self::Nothing;
        }
        let question = match scope {
            Scope::Outside => return Self::Nothing,
            Scope::Reverse(_) => return Self::Reverse,
            Scope::Inside(question) => question,
        };
        if matches!(query.qtype(), RecordType::SOA | RecordType::NS) {
            return Self::Server;
        }
        if question.other_datacenter(zone).is_some() {
            return Self::OtherDatacenter;
        }
        match &question.subject {
            Subject::Node(name) => Self::View(View::node(&name.as_ref().into())),
            Subject::Service { name, .. } => Self::View(View::service(&(*name).into())),
            Subject::Connect(name) => Self::View(View::connect(&(*name).into())),
            _ => Self::Nothing,
        }
    }

    /// Returns the state to answer from; `None`: a view is not followed yet, or a server answers.
    pub(super) fn state(&self, views: &Views) -> Option<Arc<State>> {
        match self {
            Self::View(view) => views.get(view),
            Self::Nothing => Some(Arc::default()),
            Self::Server | Self::OtherDatacenter | Self::Reverse => None,
        }
    }

    /// Returns the state as [`AnswerSource::state`] does, and waits for a view.
    async fn wait(&self, views: &Arc<Views>) -> Option<Arc<State>> {
        match self {
            Self::View(view) => views.wait(view).await,
            other => other.state(views),
        }
    }
}

impl Remote {
    fn forwarder(&self) -> &Forwarder {
        match self {
            Self::Server(forwarder) => forwarder,
            Self::Client(views) => views.forwarder(),
        }
    }
}

/// Answers a query that no view is there for: opens its view and waits for it, or has a server
/// answer.
async fn open_view(
    views: Arc<Views>,
    packet: Bytes,
    request: Box<Message>,
    transport: Transport,
    zone: &Zone,
) -> Option<Vec<u8>> {
    let query = Query::Message(request);
    let scope = query.scope(zone);
    let source = AnswerSource::of(&query, &scope, zone);
    let Some(state) = source.wait(&views).await else {
        let request = query.into_message();
        return ask_server(&views, packet, &request, &source, transport, zone).await;
    };
    let mut out = Vec::new();
    let outcome = {
        let mut rng = SmallRng::from_rng(&mut rand::rng());
        let environment = Environment { state: &state, zone, transport, now: unix_seconds() };
        direct::answer(&query, &scope, &environment, &mut rng, &mut out)
    };
    match outcome {
        Ok(Outcome::Send) | Err(_) => Some(out),
        Ok(outcome) => {
            let (request, remote) = (query.into_message(), Remote::Client(views));
            resolve(&request, outcome, transport, zone, Some(&remote)).await
        }
    }
}

/// Forwards a query to a server of this datacenter and returns its answer, or that of the recursors
/// to a question about an address that the catalog does not have.
async fn ask_server(
    views: &Views,
    packet: Bytes,
    request: &Message,
    source: &AnswerSource,
    transport: Transport,
    zone: &Zone,
) -> Option<Vec<u8>> {
    let tcp = transport == Transport::Tcp;
    let wan = zone.wan && matches!(source, AnswerSource::OtherDatacenter);
    match views.forwarder().dns(views.datacenter(), packet, tcp, wan).await {
        Ok(answer)
            if matches!(source, AnswerSource::Reverse)
                && zone.recurses()
                && is_no_such_name(&answer) =>
        {
            recursor::resolve(request, Outcome::Forward, transport, zone).await
        }
        Ok(answer) => Some(answer.into()),
        Err(error) => {
            tracing::debug!(%error, "no server answers a dns query");
            failure(request, zone)
        }
    }
}

/// Whether an answer says NXDOMAIN (RFC 1035 section 4.1.1).
fn is_no_such_name(answer: &[u8]) -> bool {
    const NXDOMAIN: u8 = 3;
    answer.get(3).is_some_and(|flags| flags & 0x0f == NXDOMAIN)
}

/// Does what `outcome` asks of recursors and other datacenters; returns the answer's bytes, if there
/// is one.
async fn resolve(
    request: &Message,
    outcome: Outcome,
    transport: Transport,
    zone: &Zone,
    remote: Option<&Remote>,
) -> Option<Vec<u8>> {
    let (datacenter, otherwise) = match outcome {
        Outcome::OtherDatacenter { datacenter, otherwise } => (datacenter, otherwise),
        outcome => return recursor::resolve(request, outcome, transport, zone).await,
    };
    let Some(remote) = remote else { return no_path(request, *otherwise, transport, zone) };
    let packet = request.to_vec().ok()?;
    let tcp = transport == Transport::Tcp;
    let answer = remote.forwarder().dns(&datacenter, packet.into(), tcp, zone.wan).await;
    answer_of_datacenter(answer, request, *otherwise, transport, zone)
}

/// A query that another agent forwards to this server.
#[derive(Debug, Clone)]
pub struct ForwardedQuery {
    /// The packet.
    pub packet: Bytes,
    /// How the client is connected to the other agent.
    pub transport: Transport,
    /// Whether addresses of the WAN are wanted.
    pub wan: bool,
}

/// Answers a query that another agent forwards, which may be about another datacenter; `None` if
/// the packet is not a query. Names outside the domain are left to the other agent's recursors.
pub async fn answer_for(
    forwarded: ForwardedQuery,
    store: &Store,
    zone: &Zone,
    forwarder: &Forwarder,
) -> Option<Vec<u8>> {
    let ForwardedQuery { packet, transport, wan } = forwarded;
    let zone = &zone.without_recursors();
    let mut out = Vec::new();
    let query = match query::decode(&packet) {
        Packet::Query(query) => query,
        Packet::Ignored => return None,
        Packet::Refused(request, code) => {
            truncate::encode_error(&request, code, &mut out).ok()?;
            return Some(out);
        }
    };
    let outcome = {
        let scope = query.scope(zone);
        let mut state = store.snapshot();
        if wan && let AnswerSource::View(view) = AnswerSource::of(&query, &scope, zone) {
            state = Arc::new(state.view(&view, &mut WatchSet::default()).over_wan());
        }
        let mut rng = SmallRng::from_rng(&mut rand::rng());
        let environment = Environment { state: &state, zone, transport, now: unix_seconds() };
        direct::answer(&query, &scope, &environment, &mut rng, &mut out)
    };
    match outcome {
        Ok(Outcome::Send) | Err(_) => Some(out),
        Ok(Outcome::OtherDatacenter { datacenter, otherwise }) => {
            let request = query.into_message();
            let tcp = transport == Transport::Tcp;
            let answer = forwarder.dns(&datacenter, packet, tcp, wan).await;
            answer_of_datacenter(answer, &request, *otherwise, transport, zone)
        }
        Ok(Outcome::Forward | Outcome::Resolve(_)) => None,
    }
}

/// Returns the answer of another datacenter's servers, or what says why there is none: `otherwise`
/// if no server knows such a datacenter, else SERVFAIL.
fn answer_of_datacenter(
    answer: Result<Bytes, ForwardError>,
    request: &Message,
    otherwise: Answer,
    transport: Transport,
    zone: &Zone,
) -> Option<Vec<u8>> {
    match answer {
        Ok(answer) => Some(answer.into()),
        Err(ForwardError::NoPath(_)) => no_path(request, otherwise, transport, zone),
        Err(error) => {
            tracing::debug!(%error, "no server of the other datacenter answers a dns query");
            failure(request, zone)
        }
    }
}

/// Returns the answer when there is no such datacenter: no such name.
fn no_path(
    request: &Message,
    answer: Answer,
    transport: Transport,
    zone: &Zone,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    general::finish(request, answer, Vec::new(), transport, zone, &mut out).ok().map(|()| out)
}

fn failure(request: &Message, zone: &Zone) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    general::server_failure(request, zone, &mut out).ok().map(|()| out)
}
