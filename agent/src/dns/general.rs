//! The general way: any query becomes its answer's bytes, or what others must do first. Pure.
//!
//! INVARIANT: a query gets one answer: what cannot be encoded becomes SERVFAIL.
//!
//! Not here: the common case, which [`super::direct`] answers before this.

use hickory_proto::{
    ProtoError,
    op::{self, Message, ResponseCode},
    rr::{DNSClass, Name, Record, RecordType},
};
use lictor_core::state::State;
use rand::Rng;

use super::{
    Zone,
    answer::{Answer, Context},
    lookup,
    name::{self, Scope},
    truncate::{self, Limits, Transport},
};

/// Aliases that are followed from one to the next.
const MAX_ALIASES: usize = 3;
/// The only EDNS version there is (RFC 6891 section 6.1.3).
const EDNS_VERSION: u8 = 0;

/// What an answer depends on beside its query.
#[derive(Debug, Clone, Copy)]
pub struct Environment<'e> {
    /// The catalog.
    pub state: &'e State,
    /// Names and settings.
    pub zone: &'e Zone,
    /// How the client is connected.
    pub transport: Transport,
    /// Unix seconds.
    pub now: u32,
}

/// What a query comes to.
#[derive(Debug)]
pub enum Outcome {
    /// The answer is in the buffer.
    Send,
    /// The question is the recursors'.
    Forward,
    /// The recursors must resolve [`Answer::aliases`] first; see [`finish`].
    Resolve(Box<Answer>),
    /// The question is about another datacenter.
    OtherDatacenter {
        /// The datacenter, in lower case.
        datacenter: String,
        /// The answer when no server knows the way to it.
        otherwise: Box<Answer>,
    },
}

/// Answers a query whose name asks for `scope`. An answer replaces what was in `out`.
///
/// # Errors
/// An answer that cannot be encoded; SERVFAIL is then in `out`.
pub fn answer(
    request: &Message,
    scope: &Scope<'_>,
    environment: &Environment<'_>,
    rng: &mut impl Rng,
    out: &mut Vec<u8>,
) -> Result<Outcome, ProtoError> {
    let Environment { zone, transport, .. } = *environment;
    let limits = Limits::of(request, transport, zone);
    let (answer, authoritative) = match resolve(request, limits, scope, environment, rng) {
        Resolution::Forward if zone.recurses() => return Ok(Outcome::Forward),
        Resolution::Forward => (Answer::empty(ResponseCode::Refused), false),
        Resolution::Refuse(code) => (Answer::empty(code), false),
        Resolution::Answer(answer) if !answer.aliases.is_empty() && zone.recurses() => {
            return Ok(Outcome::Resolve(Box::new(answer)));
        }
        Resolution::Answer(answer) => (answer, true),
        Resolution::OtherDatacenter(datacenter, otherwise) => {
            let otherwise = Box::new(otherwise);
            return Ok(Outcome::OtherDatacenter { datacenter, otherwise });
        }
    };
    if let Err(error) = truncate::encode(request, &answer, limits, zone, authoritative, out) {
        truncate::encode_error(&request.metadata, ResponseCode::ServFail, out)?;
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

/// Encodes the answer to a request that no server or recursor could answer: SERVFAIL.
///
/// # Errors
/// A question that cannot be encoded.
pub fn server_failure(request: &Message, zone: &Zone, out: &mut Vec<u8>) -> Result<(), ProtoError> {
    let limits = Limits::of(request, Transport::Udp, zone);
    truncate::encode(request, &Answer::empty(ResponseCode::ServFail), limits, zone, false, out)
}

/// What a question resolves to.
enum Resolution {
    Answer(Answer),
    OtherDatacenter(String, Answer),
    Refuse(ResponseCode),
    Forward,
}

fn resolve(
    request: &Message,
    limits: Limits,
    scope: &Scope<'_>,
    environment: &Environment<'_>,
    rng: &mut impl Rng,
) -> Resolution {
    let Environment { state, zone, now, .. } = *environment;
    let query = &request.queries[0];
    if request.version() != EDNS_VERSION {
        return Resolution::Refuse(ResponseCode::BADVERS);
    }
    if !matches!(query.query_class(), DNSClass::IN | DNSClass::ANY) {
        return Resolution::Refuse(ResponseCode::Refused);
    }
    let (owner, qtype) = (query.name(), query.query_type());
    let context = Context { zone, owner, domain: &zone.domain, qtype, limit: limits.answers, now };
    let question = match scope {
        Scope::Outside => return Resolution::Forward,
        Scope::Reverse(ip) => {
            let owners = ip.map_or_else(Vec::new, |ip| lookup::reverse(state, ip));
            return if owners.is_empty() && zone.recurses() {
                Resolution::Forward
            } else if owners.is_empty() {
                Resolution::Answer(Answer::no_such_name(&context))
            } else if matches!(qtype, RecordType::PTR | RecordType::ANY) {
                Resolution::Answer(Answer::of_owners(&owners, &context))
            } else {
                Resolution::Answer(Answer::no_data(&context))
            };
        }
        Scope::Inside(question) => question,
    };
    let context = Context { domain: question.domain, ..context };
    match qtype {
        RecordType::AXFR | RecordType::IXFR => Resolution::Refuse(ResponseCode::NotImp),
        RecordType::SOA | RecordType::NS => {
            Resolution::Answer(Answer::of_domain(state, &context, rng))
        }
        _ => match question.other_datacenter(zone) {
            Some(datacenter) => Resolution::OtherDatacenter(
                datacenter.to_ascii_lowercase(),
                Answer::no_such_name(&context),
            ),
            None => {
                let mut answer = Answer::new(&lookup::lookup(state, zone, question, rng), &context);
                follow(&mut answer, state, &context, rng);
                Resolution::Answer(answer)
            }
        },
    }
}

/// Resolves aliases that point into the domain itself, each once (RFC 2181 section 5).
fn follow(answer: &mut Answer, state: &State, context: &Context<'_>, rng: &mut impl Rng) {
    for _ in 0..MAX_ALIASES {
        let inside = |alias: &Name| context.zone.domain_of(alias).is_some();
        let Some(at) = answer.aliases.iter().position(inside) else { return };
        let alias = answer.aliases.swap_remove(at);
        let additional = answer.additional.iter().map(|(_, record)| record);
        if answer.answers.iter().chain(additional).any(|record| record.name == alias) {
            continue;
        }
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

/// Returns the question that resolves an alias for `request`: the same type, addresses for SRV and
/// ANY.
pub fn alias_query(request: &Message, alias: &Name) -> op::Query {
    let qtype = match request.queries.first().map(op::Query::query_type) {
        Some(RecordType::AAAA) => RecordType::AAAA,
        _ => RecordType::A,
    };
    op::Query::query(alias.clone(), qtype)
}
