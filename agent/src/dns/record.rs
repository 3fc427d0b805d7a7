//! Single records and the names in them.
//!
//! Catalog texts become DNS names here. A text that cannot be one (an empty or overlong label)
//! gives `None`, and its record is left out: one bad row must not spoil an answer.

use std::{borrow::Cow, net::IpAddr};

use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{CNAME, NS, PTR, SOA, SRV, TXT},
};
use lictor_api::types::catalog::Node;

use super::Zone;

/// Bytes of one character string in a TXT record (RFC 1035 section 3.3).
pub const MAX_STRING_BYTES: usize = 255;

/// An address of the catalog: an IP address, or a host name that is an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A host name.
    Host(Name),
}

impl Address {
    /// Reads a node's or instance's address; `None` when it is neither.
    pub fn read(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(ip) => Some(Self::Ip(ip)),
            Err(_) => host(text).map(Self::Host),
        }
    }
}

/// Whether a question of this type wants this address.
pub fn wants(qtype: RecordType, ip: IpAddr) -> bool {
    match qtype {
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        other => other == RecordType::ANY,
    }
}

/// Whether a question of this type wants aliases.
pub fn wants_alias(qtype: RecordType) -> bool {
    matches!(qtype, RecordType::A | RecordType::AAAA | RecordType::ANY | RecordType::CNAME)
}

/// Returns an A or AAAA record.
pub fn address(owner: &Name, ttl: u32, ip: IpAddr) -> Record {
    Record::from_rdata(owner.clone(), ttl, RData::from(ip))
}

/// Returns a CNAME record.
pub fn alias(owner: &Name, ttl: u32, target: &Name) -> Record {
    Record::from_rdata(owner.clone(), ttl, RData::CNAME(CNAME(target.clone())))
}

/// Returns a PTR record.
pub fn pointer(owner: &Name, ttl: u32, target: Name) -> Record {
    Record::from_rdata(owner.clone(), ttl, RData::PTR(PTR(target)))
}

/// Returns an NS record.
pub fn name_server(domain: &Name, ttl: u32, target: Name) -> Record {
    Record::from_rdata(domain.clone(), ttl, RData::NS(NS(target)))
}

/// Returns an SRV record with the one priority that Consul knows (RFC 2782).
pub fn service(owner: &Name, ttl: u32, weight: u16, port: u16, target: Name) -> Record {
    Record::from_rdata(owner.clone(), ttl, RData::SRV(SRV::new(1, weight, port, target)))
}

/// Returns the SOA record. `now`, in Unix seconds, is the serial: the domain may have changed at
/// any moment.
pub fn authority(zone: &Zone, domain: &Name, now: u32) -> Option<Record> {
    let soa = &zone.settings.soa;
    let timer = |seconds: u32| i32::try_from(seconds).unwrap_or(i32::MAX);
    let data = SOA::new(
        domain.prepend_label(&b"ns"[..]).ok()?,
        domain.prepend_label(&b"hostmaster"[..]).ok()?,
        now,
        timer(soa.refresh),
        timer(soa.retry),
        timer(soa.expire),
        zone.negative_ttl(),
    );
    Some(Record::from_rdata(domain.clone(), zone.negative_ttl(), RData::SOA(data)))
}

/// Returns one TXT record per pair of a node's meta; see [`meta_text`].
pub fn node_meta<'a>(
    owner: &'a Name,
    ttl: u32,
    node: &'a Node,
) -> impl Iterator<Item = Record> + use<'a> {
    node.meta.iter().map(move |(key, value)| {
        let text = meta_text(key, value);
        Record::from_rdata(
            owner.clone(),
            ttl,
            RData::TXT(TXT::from_bytes(strings(&text).collect())),
        )
    })
}

/// Returns the text of a pair's TXT record: `key=value` (RFC 1464), the value alone for keys that
/// begin with `rfc1035-`.
pub fn meta_text<'a>(key: &str, value: &'a str) -> Cow<'a, str> {
    let bare = key.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("rfc1035-"));
    if bare { Cow::Borrowed(value) } else { Cow::Owned(format!("{key}={value}")) }
}

/// Splits a text into character strings, at least one.
pub fn strings(text: &str) -> impl Iterator<Item = &[u8]> {
    let empty = text.is_empty().then_some(&b""[..]);
    empty.into_iter().chain(text.as_bytes().chunks(MAX_STRING_BYTES))
}

/// Returns `<node>.node.<dc>.<domain>.`
pub fn node_name(zone: &Zone, domain: &Name, node: &str) -> Option<Name> {
    under(zone, domain, node, "node")
}

/// Returns `<service>.service.<dc>.<domain>.`
pub fn service_name(zone: &Zone, domain: &Name, service: &str) -> Option<Name> {
    under(zone, domain, service, "service")
}

/// Returns `<hex>.addr.<dc>.<domain>.`
pub fn address_name(zone: &Zone, domain: &Name, ip: IpAddr) -> Option<Name> {
    let hex = match ip {
        IpAddr::V4(ip) => format!("{:08x}", ip.to_bits()),
        IpAddr::V6(ip) => format!("{:032x}", ip.to_bits()),
    };
    under(zone, domain, &hex, "addr")
}

fn under(zone: &Zone, domain: &Name, subject: &str, kind: &str) -> Option<Name> {
    let labels = subject.split('.').chain([kind]).chain(zone.datacenter.split('.'));
    Name::from_labels(labels.map(str::as_bytes).chain(domain.iter())).ok()
}

fn host(text: &str) -> Option<Name> {
    let text = text.strip_suffix('.').unwrap_or(text);
    Name::from_labels(text.split('.').map(str::as_bytes)).ok()
}
