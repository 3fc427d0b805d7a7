//! One packet: query bytes become answer bytes, or work for the recursors. Pure.
//!
//! INVARIANT: any bytes are handled: what is not a query is ignored (an answer to an answer would
//! loop), what cannot be read gets FORMERR, and no packet is answered twice.

use hickory_proto::{
    ProtoError,
    op::{Header, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, Record, RecordType},
    serialize::binary::{BinDecodable, BinDecoder},
};
use lictor_core::state::State;
use rand::Rng;

use super::{
    Zone,
    answer::{Answer, Context},
    direct, lookup,
    name::{self, Scope},
    truncate::{self, Limits, Transport},
};

/// Aliases that are followed from one to the next.
const MAX_ALIASES: usize = 3;
/// RFC 6891 section 6.1.3: the only EDNS version there is.
const EDNS_VERSION: u8 = 0;

/// What is to be done about a packet.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing.
    Ignore,
    /// The answer is in the buffer.
    Send,
    /// The question is the recursors'.
    Forward(Box<Message>),
    /// The recursors must resolve [`Answer::aliases`] first; see [`finish`].
    Resolve(Box<Message>, Box<Answer>),
    /// The question is about another datacenter, named last; the answer is for when there is no way
    /// to it.
    Elsewhere(Box<Message>, Box<Answer>, String),
}

/// Handles one packet. An answer replaces what was in `out`.
///
/// # Errors
/// An answer that cannot be encoded; the client gets SERVFAIL, which is then in `out`.
pub fn handle(
    packet: &[u8],
    transport: Transport,
    state: &State,
    zone: &Zone,
    now: u32,
    rng: &mut impl Rng,
    out: &mut Vec<u8>,
) -> Result<Outcome, ProtoError> {
    match direct::answer(packet, transport, state, zone, rng, out) {
        Some(()) => Ok(Outcome::Send),
        None => handle_any(packet, transport, state, zone, now, rng, out),
    }
}

/// The general way, whatever the packet is. Apart for the test that compares the two.
pub(super) fn handle_any(
    packet: &[u8],
    transport: Transport,
    state: &State,
    zone: &Zone,
    now: u32,
    rng: &mut impl Rng,
    out: &mut Vec<u8>,
) -> Result<Outcome, ProtoError> {
    let Ok(header) = Header::read(&mut BinDecoder::new(packet)) else {
        return Ok(Outcome::Ignore);
    };
    if header.metadata.message_type == MessageType::Response {
        return Ok(Outcome::Ignore);
    }
    let refuse = |code, out| {
        truncate::encode_error(&header.metadata, code, out)?;
        Ok(Outcome::Send)
    };
    if header.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp, out);
    }
    let request = match Message::from_vec(packet) {
        Ok(request) if request.queries.len() == 1 => request,
        _ => return refuse(ResponseCode::FormErr, out),
    };
    let limits = Limits::of(&request, transport, zone);
    let verdict = judge(&request, limits, state, zone, now, rng);
    let (answer, authoritative) = match verdict {
        Verdict::Forward if zone.recurses() => return Ok(Outcome::Forward(Box::new(request))),
        Verdict::Forward => (Answer::empty(ResponseCode::Refused), false),
        Verdict::Refuse(code) => (Answer::empty(code), false),
        Verdict::Answer(answer) if !answer.aliases.is_empty() && zone.recurses() => {
            return Ok(Outcome::Resolve(Box::new(request), Box::new(answer)));
        }
        Verdict::Answer(answer) => (answer, true),
        Verdict::Elsewhere(answer, datacenter) => {
            return Ok(Outcome::Elsewhere(Box::new(request), Box::new(answer), datacenter));
        }
    };
    if let Err(error) = truncate::encode(&request, &answer, limits, zone, authoritative, out) {
        truncate::encode_error(&header.metadata, ResponseCode::ServFail, out)?;
        return Err(error);
    }
    Ok(Outcome::Send)
}

/// Encodes an answer whose aliases are `resolved` now.
///
/// # Errors
/// A record that cannot be encoded.
pub fn finish(
    request: &Message,
    mut answer: Answer,
    resolved: Vec<Record>,
    transport: Transport,
    zone: &Zone,
    out: &mut Vec<u8>,
) -> Result<(), ProtoError> {
    if request.queries.first().is_some_and(|query| query.query_type() == RecordType::SRV) {
        answer.additional.extend(resolved.into_iter().map(|record| (0, record)));
        answer.additional.sort_by_key(|(explains, _)| *explains);
    } else {
        answer.answers.extend(resolved);
    }
    truncate::encode(request, &answer, Limits::of(request, transport, zone), zone, true, out)
}

/// The answer to a request that nobody could answer: SERVFAIL.
///
/// # Errors
/// A question that cannot be encoded.
pub fn server_failure(request: &Message, zone: &Zone, out: &mut Vec<u8>) -> Result<(), ProtoError> {
    let limits = Limits::of(request, Transport::Udp, zone);
    truncate::encode(request, &Answer::empty(ResponseCode::ServFail), limits, zone, false, out)
}

enum Verdict {
    Answer(Answer),
    Elsewhere(Answer, String),
    Refuse(ResponseCode),
    Forward,
}

fn judge(
    request: &Message,
    limits: Limits,
    state: &State,
    zone: &Zone,
    now: u32,
    rng: &mut impl Rng,
) -> Verdict {
    let query = &request.queries[0];
    if request.version() != EDNS_VERSION {
        return Verdict::Refuse(ResponseCode::BADVERS);
    }
    if !matches!(query.query_class(), DNSClass::IN | DNSClass::ANY) {
        return Verdict::Refuse(ResponseCode::Refused);
    }
    let (owner, qtype) = (query.name(), query.query_type());
    let context = Context { zone, owner, domain: &zone.domain, qtype, limit: limits.answers, now };
    match name::parse(zone, owner, qtype) {
        Scope::Outside => Verdict::Forward,
        Scope::Reverse(ip) => {
            let owners = match (ip, qtype) {
                (Some(ip), RecordType::PTR | RecordType::ANY) => lookup::reverse(state, ip),
                _ => Vec::new(),
            };
            if !owners.is_empty() {
                Verdict::Answer(Answer::of_owners(&owners, &context))
            } else if zone.recurses() {
                Verdict::Forward
            } else {
                Verdict::Answer(Answer::no_such_name(&context))
            }
        }
        Scope::Inside(question) => match qtype {
            RecordType::AXFR | RecordType::IXFR => Verdict::Refuse(ResponseCode::NotImp),
            RecordType::SOA | RecordType::NS => {
                let context = Context { domain: question.domain, ..context };
                Verdict::Answer(Answer::of_domain(state, &context, rng))
            }
            _ if let Some(datacenter) = question.datacenter
                && !datacenter.eq_ignore_ascii_case(&zone.datacenter) =>
            {
                let context = Context { domain: question.domain, ..context };
                let answer = Answer::no_such_name(&context);
                Verdict::Elsewhere(answer, datacenter.to_ascii_lowercase())
            }
            _ => {
                let context = Context { domain: question.domain, ..context };
                let mut answer =
                    Answer::new(&lookup::lookup(state, zone, &question, rng), &context);
                follow(&mut answer, state, &context, rng);
                Verdict::Answer(answer)
            }
        },
    }
}

/// Resolves aliases that point into the domain itself.
fn follow(answer: &mut Answer, state: &State, context: &Context<'_>, rng: &mut impl Rng) {
    for _ in 0..MAX_ALIASES {
        let inside = |alias: &Name| context.zone.domain_of(alias).is_some();
        let Some(at) = answer.aliases.iter().position(inside) else { return };
        let alias = answer.aliases.swap_remove(at);
        let service = context.qtype == RecordType::SRV;
        let qtype = if service { RecordType::A } else { context.qtype };
        let Scope::Inside(question) = name::parse(context.zone, &alias, qtype) else { return };
        let found = lookup::lookup(state, context.zone, &question, rng);
        let context = Context { owner: &alias, domain: question.domain, qtype, ..*context };
        let next = Answer::new(&found, &context);
        if service {
            answer.additional.extend(next.answers.into_iter().map(|record| (0, record)));
            answer.additional.sort_by_key(|(explains, _)| *explains);
        } else {
            answer.answers.extend(next.answers);
        }
        answer.aliases.extend(next.aliases);
    }
    answer.aliases.retain(|alias| context.zone.domain_of(alias).is_none());
}

/// The question that resolves an alias for `request`: the same type, addresses for SRV and ANY.
pub fn alias_query(request: &Message, alias: &Name) -> Query {
    let qtype = match request.queries.first().map(Query::query_type) {
        Some(RecordType::AAAA) => RecordType::AAAA,
        _ => RecordType::A,
    };
    Query::query(alias.clone(), qtype)
}
