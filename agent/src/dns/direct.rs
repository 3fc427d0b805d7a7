//! The common case written by hand: addresses of a service or a node, straight into the packet.
//!
//! Most queries ask for A or AAAA of a name that exists, and their answers repeat the question and
//! point back to it. Making records, and a message of them, costs several times what the look-up
//! does (tests/bench/RESULTS.md).
//!
//! INVARIANT: what [`answer_addresses`] writes is byte for byte what [`general::answer`] writes with
//! the same randomness; a test compares them.

use std::net::IpAddr;

use hickory_proto::{ProtoError, rr::RecordType};
use lictor_api::types::catalog::Node;
use lictor_core::state::Instance;
use rand::Rng;

use super::{
    Zone,
    general::{self, Environment, Outcome},
    lookup::{self, Found},
    name::Scope,
    query::{AddressQuery, HEADER_BYTES, Query},
    record,
    truncate::Limits,
};

/// More instances than this are left to the general way, which finds duplicates faster.
const MAX_INSTANCES: usize = 64;

const AUTHORITATIVE: u8 = 0b100;
const RESPONSE: u8 = 0b1000_0000;
const RECURSION_AVAILABLE: u8 = 0b1000_0000;
const CHECKING_DISABLED: u8 = 0b1_0000;

/// Answers a query whose name asks for `scope`: here in the common case, else in the general way.
/// An answer replaces what was in `out`.
///
/// # Errors
/// An answer that cannot be encoded; SERVFAIL is then in `out`.
pub(super) fn answer(
    query: &Query<'_>,
    scope: &Scope<'_>,
    environment: &Environment<'_>,
    rng: &mut impl Rng,
    out: &mut Vec<u8>,
) -> Result<Outcome, ProtoError> {
    match query {
        Query::Message(message) => general::answer(message, scope, environment, rng, out),
        Query::Addresses(query) => match answer_addresses(query, scope, environment, rng, out) {
            Some(()) => Ok(Outcome::Send),
            None => general::answer(&query.to_message(), scope, environment, rng, out),
        },
    }
}

/// Writes the answer over what was in `out`; `None` when this is not the common case. Apart for the
/// test that compares the two ways.
pub(super) fn answer_addresses(
    query: &AddressQuery<'_>,
    scope: &Scope<'_>,
    environment: &Environment<'_>,
    rng: &mut impl Rng,
    out: &mut Vec<u8>,
) -> Option<()> {
    let Environment { state, zone, transport, .. } = *environment;
    let Scope::Inside(question) = scope else { return None };
    if zone.settings.disable_compression || zone.settings.enable_truncate {
        return None;
    }
    let limits = Limits::new(query.qtype(), query.payload(), transport, zone);
    begin(query, zone, out);
    let (answers, additional) = match lookup::lookup(state, zone, question, rng) {
        Found::Node(node) => push_node(node, query.qtype(), zone, out)?,
        Found::Instances(instances) => {
            (push_instances(&instances, query.qtype(), limits.answers, zone, out)?, 0)
        }
        _ => return None,
    };
    out.extend(query.opt().into_iter().flatten());
    out[6..8].copy_from_slice(&answers.to_be_bytes());
    let additional = additional + u16::from(query.opt().is_some());
    out[10..12].copy_from_slice(&additional.to_be_bytes());
    (out.len() <= usize::from(limits.bytes)).then_some(())
}

/// Writes header and question.
fn begin(query: &AddressQuery<'_>, zone: &Zone, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(query.head());
    out[2] |= RESPONSE | AUTHORITATIVE;
    out[3] &= CHECKING_DISABLED;
    if zone.recurses() {
        out[3] |= RECURSION_AVAILABLE;
    }
}

/// Writes a node's records and returns the numbers of answers and of additional records; `None`
/// without an answer.
fn push_node(node: &Node, qtype: RecordType, zone: &Zone, out: &mut Vec<u8>) -> Option<(u16, u16)> {
    let ip = node.address.parse().ok().filter(|ip| record::wants(qtype, *ip))?;
    let ttl = zone.node_ttl();
    push_address(ip, ttl, out);
    let mut texts = 0;
    if zone.settings.node_meta_txt {
        for (key, value) in &node.meta {
            push_text(&record::meta_text(key, value), ttl, out)?;
            texts += 1;
        }
    }
    Some((1, texts))
}

/// Writes the addresses of instances and returns their number; `None` without an answer.
fn push_instances(
    instances: &[Instance<'_>],
    qtype: RecordType,
    limit: usize,
    zone: &Zone,
    out: &mut Vec<u8>,
) -> Option<u16> {
    let ttl = zone.service_ttl(&instances.first()?.service.service);
    let limit = match zone.settings.a_record_limit {
        0 => limit,
        own => own.min(limit),
    };
    if instances.len() > MAX_INSTANCES {
        return None;
    }
    let (mut seen, mut count) = ([None; MAX_INSTANCES], 0);
    for instance in instances {
        let Ok(ip) = instance.address().parse() else { continue };
        if count == limit || !record::wants(qtype, ip) || seen[..count].contains(&Some(ip)) {
            continue;
        }
        seen[count] = Some(ip);
        count += 1;
        push_address(ip, ttl, out);
    }
    u16::try_from(count).ok().filter(|count| *count > 0)
}

/// Writes a record of the name asked for, up to its length.
fn push_record(rtype: RecordType, ttl: u32, out: &mut Vec<u8>) {
    let [a, b] = u16::from(rtype).to_be_bytes();
    let [t0, t1, t2, t3] = ttl.to_be_bytes();
    out.extend_from_slice(&[0xc0, HEADER_BYTES as u8, a, b, 0, 1, t0, t1, t2, t3]);
}

fn push_address(ip: IpAddr, ttl: u32, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            push_record(RecordType::A, ttl, out);
            out.extend_from_slice(&[0, 4]);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            push_record(RecordType::AAAA, ttl, out);
            out.extend_from_slice(&[0, 16]);
            out.extend_from_slice(&ip.octets());
        }
    }
}

fn push_text(text: &str, ttl: u32, out: &mut Vec<u8>) -> Option<()> {
    push_record(RecordType::TXT, ttl, out);
    let strings = text.len().div_ceil(record::MAX_STRING_BYTES).max(1);
    out.extend_from_slice(&u16::try_from(text.len() + strings).ok()?.to_be_bytes());
    for string in record::strings(text) {
        out.push(u8::try_from(string.len()).ok()?);
        out.extend_from_slice(string);
    }
    Some(())
}
