//! The common case written by hand: addresses of a service or a node, straight into the packet.
//!
//! Most queries ask for A or AAAA of a name that exists, and their answers repeat the question and
//! point back to it. Making records, and a message of them, costs several times what the look-up
//! does (tests/bench/RESULTS.md).
//!
//! INVARIANT: what [`answer`] writes is byte for byte what the general way ([`super::packet`])
//! writes with the same randomness; a test compares them. Whatever is not the common case is
//! `None`, and nobody has been answered.

use std::net::IpAddr;

use hickory_proto::{
    rr::{Name, RecordType},
    serialize::binary::{BinDecodable, BinDecoder},
};
use lictor_api::types::catalog::Node;
use lictor_core::state::{Instance, State};
use rand::Rng;

use super::{
    Zone,
    lookup::{self, Found},
    name::{self, Scope},
    record,
    truncate::{Limits, Transport},
};

const HEADER_BYTES: usize = 12;
/// A whole OPT record without options.
const OPT_BYTES: usize = 11;
/// More instances than this are left to the general way, which finds duplicates faster.
const MAX_INSTANCES: usize = 64;
const CLASS_IN: [u8; 2] = [0, 1];

const AUTHORITATIVE: u8 = 0b100;
const RECURSION_DESIRED: u8 = 0b1;
const RESPONSE: u8 = 0b1000_0000;
const RECURSION_AVAILABLE: u8 = 0b1000_0000;
const AUTHENTIC_DATA: u8 = 0b10_0000;
const CHECKING_DISABLED: u8 = 0b1_0000;

/// A query that is nothing but a question about addresses, and where its parts are.
struct Query<'p> {
    packet: &'p [u8],
    /// Where the question ends.
    end: usize,
    qtype: RecordType,
    /// The client's OPT record.
    opt: Option<&'p [u8; OPT_BYTES]>,
}

/// Writes the answer over what was in `out`; `None` when this is not the common case.
pub(super) fn answer(
    packet: &[u8],
    transport: Transport,
    state: &State,
    zone: &Zone,
    rng: &mut impl Rng,
    out: &mut Vec<u8>,
) -> Option<()> {
    if zone.settings.disable_compression || zone.settings.enable_truncate {
        return None;
    }
    let query = Query::read(packet)?;
    let name = Name::read(&mut BinDecoder::new(packet).clone(HEADER_BYTES as u16)).ok()?;
    let Scope::Inside(question) = name::parse(zone, &name, query.qtype) else { return None };
    let payload = query.opt.map_or(0, |opt| u16::from_be_bytes([opt[3], opt[4]]));
    let limits = Limits::new(query.qtype, payload, transport, zone);
    query.begin(zone, out);
    let (answers, additional) = match lookup::lookup(state, zone, &question, rng) {
        Found::Node(node) => query.push_node(node, zone, out)?,
        Found::Instances(instances) => {
            (query.push_instances(&instances, limits.answers, zone, out)?, 0)
        }
        _ => return None,
    };
    out.extend(query.opt.into_iter().flatten());
    out[6..8].copy_from_slice(&answers.to_be_bytes());
    let additional = additional + u16::from(query.opt.is_some());
    out[10..12].copy_from_slice(&additional.to_be_bytes());
    (out.len() <= usize::from(limits.bytes)).then_some(())
}

impl<'p> Query<'p> {
    fn read(packet: &'p [u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = packet.first_chunk()?;
        let plain = header[2] & !RECURSION_DESIRED == 0
            && header[3] & !(AUTHENTIC_DATA | CHECKING_DISABLED) == 0;
        let (one_question, opts) = (header[4..10] == [0, 1, 0, 0, 0, 0], &header[10..]);
        if !plain || !one_question {
            return None;
        }
        let mut at = HEADER_BYTES;
        while let length @ 1..=63 = *packet.get(at)? {
            at += 1 + usize::from(length);
        }
        // Here is the root, or a pointer, which the parts of a question do not need.
        let (&[0, ty, qtype, class, qclass], rest) = packet[at..].split_first_chunk()? else {
            return None;
        };
        let qtype = RecordType::from(u16::from_be_bytes([ty, qtype]));
        let opt = match (opts, rest.len()) {
            ([0, 0], 0) => None,
            ([0, 1], OPT_BYTES) => {
                Some(rest.first_chunk::<OPT_BYTES>().filter(|opt| is_plain_opt(opt))?)
            }
            _ => return None,
        };
        let addresses = matches!(qtype, RecordType::A | RecordType::AAAA);
        let asked = addresses && [class, qclass] == CLASS_IN;
        asked.then_some(Self { packet, end: at + 5, qtype, opt })
    }

    /// Header and question.
    fn begin(&self, zone: &Zone, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.packet[..self.end]);
        out[2] |= RESPONSE | AUTHORITATIVE;
        out[3] &= CHECKING_DISABLED;
        if zone.recurses() {
            out[3] |= RECURSION_AVAILABLE;
        }
    }

    /// The numbers of answers and of additional records, or `None` without an answer.
    fn push_node(&self, node: &Node, zone: &Zone, out: &mut Vec<u8>) -> Option<(u16, u16)> {
        let ip = node.address.parse().ok().filter(|ip| record::wants(self.qtype, *ip))?;
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

    /// The number of answers, or `None` without one.
    fn push_instances(
        &self,
        instances: &[Instance<'_>],
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
            if count == limit || !record::wants(self.qtype, ip) || seen[..count].contains(&Some(ip))
            {
                continue;
            }
            seen[count] = Some(ip);
            count += 1;
            push_address(ip, ttl, out);
        }
        u16::try_from(count).ok().filter(|count| *count > 0)
    }
}

/// Version 0, no options, and no flags but DO.
fn is_plain_opt(opt: &[u8; OPT_BYTES]) -> bool {
    let [root, ty, opt_type, size, _, code, version, flags, more_flags, options @ ..] = opt;
    [*root, *ty, *opt_type] == [0, 0, 41]
        && *size >= 2
        && [*code, *version, *flags & 0x7f, *more_flags] == [0; 4]
        && *options == [0, 0]
}

/// A record of the name asked for, up to its length.
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
    let strings = text.len().div_ceil(record::STRING_BYTES).max(1);
    out.extend_from_slice(&u16::try_from(text.len() + strings).ok()?.to_be_bytes());
    for string in record::strings(text) {
        out.push(u8::try_from(string.len()).ok()?);
        out.extend_from_slice(string);
    }
    Some(())
}
