//! Questions that servers answer: those about other datacenters, and on a client agent all that no
//! view is there for.
//!
//! A client agent answers questions about nodes and services from views, which it follows from the
//! first question on; what is rare (SOA, NS, PTR) it passes on whole.

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
    name::{self, Scope, Subject},
    packet::{self, Outcome},
    recursor,
    server::unix_seconds,
    truncate::Transport,
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
    /// What a packet came to.
    Outcome(Outcome),
    /// A packet on a client agent that follows no view of it yet.
    First(Arc<Views>, Vec<u8>),
}

impl Work {
    /// The answer's bytes, if there is one.
    pub(super) async fn carry_out(
        self,
        transport: Transport,
        zone: &Zone,
        remote: Option<&Remote>,
    ) -> Option<Vec<u8>> {
        match self {
            Self::Outcome(outcome) => resolve(outcome, transport, zone, remote).await,
            Self::First(views, packet) => first(&views, packet, transport, zone).await,
        }
    }

    /// The answer when too much else waits: SERVFAIL.
    pub(super) fn refuse(self, zone: &Zone) -> Option<Vec<u8>> {
        match self {
            Self::Outcome(outcome) => recursor::refuse(outcome, zone),
            Self::First(_, packet) => failure(&Message::from_vec(&packet).ok()?, zone),
        }
    }
}

/// What a client agent answers a packet from.
enum Place {
    /// A view.
    View(View),
    /// Nothing of the catalog is needed.
    Nowhere,
    /// A server answers it.
    Server,
    /// The servers know the way to the datacenter that it is about.
    Elsewhere,
    /// A server knows whether the address is somebody's here; of others, recursors may know a name.
    Reverse,
}

impl Remote {
    fn forwarder(&self) -> &Forwarder {
        match self {
            Self::Server(forwarder) => forwarder,
            Self::Client(views) => views.forwarder(),
        }
    }

    /// The state that answers a packet on a client agent; `None`: [`Work::First`].
    pub(super) fn state(views: &Views, packet: &[u8], zone: &Zone) -> Option<Arc<State>> {
        match place(packet, zone) {
            Place::View(view) => views.get(&view),
            Place::Nowhere => Some(Arc::default()),
            Place::Server | Place::Elsewhere | Place::Reverse => None,
        }
    }
}

fn place(packet: &[u8], zone: &Zone) -> Place {
    let Ok(request) = Message::from_vec(packet) else { return Place::Nowhere };
    let [query] = &request.queries[..] else { return Place::Nowhere };
    if !matches!(query.query_class(), DNSClass::IN | DNSClass::ANY) {
        return Place::Nowhere;
    }
    let qtype = query.query_type();
    match name::parse(zone, query.name(), qtype) {
        Scope::Outside => Place::Nowhere,
        Scope::Reverse(_) => Place::Reverse,
        Scope::Inside(_) if matches!(qtype, RecordType::SOA | RecordType::NS) => Place::Server,
        Scope::Inside(question)
            if question.datacenter.is_some_and(|dc| !dc.eq_ignore_ascii_case(&zone.datacenter)) =>
        {
            Place::Elsewhere
        }
        Scope::Inside(question) => match question.subject {
            Subject::Node(name) => Place::View(View::node(&name.as_ref().into())),
            Subject::Service { name, .. } => Place::View(View::service(&name.into())),
            Subject::Connect(name) => Place::View(View::connect(&name.into())),
            _ => Place::Nowhere,
        },
    }
}

/// Answers a packet that [`Remote::state`] had nothing for: opens its view and waits for it, or has
/// a server answer.
async fn first(
    views: &Arc<Views>,
    packet: Vec<u8>,
    transport: Transport,
    zone: &Zone,
) -> Option<Vec<u8>> {
    let place = place(&packet, zone);
    let state = match &place {
        Place::View(view) => views.wait(view).await,
        Place::Nowhere => Some(Arc::default()),
        Place::Server | Place::Elsewhere | Place::Reverse => None,
    };
    let Some(state) = state else {
        let (tcp, wan) =
            (transport == Transport::Tcp, zone.wan && matches!(place, Place::Elsewhere));
        let asked = Bytes::from(packet.clone());
        return match views.forwarder().dns(views.datacenter(), asked, tcp, wan).await {
            Ok(answer)
                if matches!(place, Place::Reverse) && zone.recurses() && is_no_name(&answer) =>
            {
                let request = Box::new(Message::from_vec(&packet).ok()?);
                recursor::resolve(Outcome::Forward(request), transport, zone).await
            }
            Ok(answer) => Some(answer.into()),
            Err(error) => {
                tracing::debug!(%error, "no server answers a dns question");
                let request = Message::from_vec(&packet).ok()?;
                failure(&request, zone)
            }
        };
    };
    let mut out = Vec::new();
    let mut rng = SmallRng::from_rng(&mut rand::rng());
    let outcome =
        packet::handle(&packet, transport, &state, zone, unix_seconds(), &mut rng, &mut out);
    match outcome {
        Ok(Outcome::Ignore) => None,
        Ok(Outcome::Send) | Err(_) => Some(out),
        Ok(outcome) => {
            resolve(outcome, transport, zone, Some(&Remote::Client(views.clone()))).await
        }
    }
}

/// Whether an answer says NXDOMAIN (RFC 1035, section 4.1.1).
fn is_no_name(answer: &[u8]) -> bool {
    const NXDOMAIN: u8 = 3;
    answer.get(3).is_some_and(|flags| flags & 0x0f == NXDOMAIN)
}

/// Does what `outcome` asks of recursors and other datacenters; the answer's bytes, if there is one.
async fn resolve(
    outcome: Outcome,
    transport: Transport,
    zone: &Zone,
    remote: Option<&Remote>,
) -> Option<Vec<u8>> {
    let (request, otherwise, datacenter) = match outcome {
        Outcome::Elsewhere(request, otherwise, datacenter) => (request, otherwise, datacenter),
        outcome => return recursor::resolve(outcome, transport, zone).await,
    };
    let Some(remote) = remote else { return no_path(&request, *otherwise, transport, zone) };
    let message = request.to_vec().ok()?;
    let tcp = transport == Transport::Tcp;
    match remote.forwarder().dns(&datacenter, message.into(), tcp, zone.wan).await {
        Ok(answer) => Some(answer.into()),
        Err(ForwardError::NoPath(_)) => no_path(&request, *otherwise, transport, zone),
        Err(error) => {
            tracing::debug!(datacenter, %error, "no server answers a dns question");
            failure(&request, zone)
        }
    }
}

/// A question that another agent passes on to this server.
#[derive(Debug, Clone)]
pub struct Question {
    /// The packet.
    pub packet: Bytes,
    /// How it came to the other agent.
    pub transport: Transport,
    /// Whether addresses of the WAN are wanted.
    pub wan: bool,
}

/// The answer of a server to a question that another agent passes on, which may be about another
/// datacenter; `None` if it is no question. Recursors are the other agent's business.
pub async fn answer_for(
    question: Question,
    store: &Store,
    zone: &Zone,
    forwarder: &Forwarder,
) -> Option<Vec<u8>> {
    let Question { packet, transport, wan } = question;
    let zone = &zone.without_recursors();
    let (outcome, out) = {
        let mut state = store.snapshot();
        if wan && let Place::View(view) = place(&packet, zone) {
            state = Arc::new(state.view(&view, &mut WatchSet::default()).over_wan());
        }
        let mut rng = SmallRng::from_rng(&mut rand::rng());
        let (mut out, now) = (Vec::new(), unix_seconds());
        (packet::handle(&packet, transport, &state, zone, now, &mut rng, &mut out), out)
    };
    match outcome {
        Ok(Outcome::Send) | Err(_) => Some(out),
        Ok(Outcome::Elsewhere(request, otherwise, datacenter)) => {
            let tcp = transport == Transport::Tcp;
            match forwarder.dns(&datacenter, packet, tcp, wan).await {
                Ok(answer) => Some(answer.into()),
                Err(ForwardError::NoPath(_)) => no_path(&request, *otherwise, transport, zone),
                Err(error) => {
                    tracing::debug!(datacenter, %error, "no server answers a dns question");
                    failure(&request, zone)
                }
            }
        }
        Ok(_) => None,
    }
}

/// There is no such datacenter: no such name.
fn no_path(
    request: &Message,
    answer: Answer,
    transport: Transport,
    zone: &Zone,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    packet::finish(request, answer, Vec::new(), transport, zone, &mut out).ok().map(|()| out)
}

fn failure(request: &Message, zone: &Zone) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    packet::server_failure(request, zone, &mut out).ok().map(|()| out)
}
