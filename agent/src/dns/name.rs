//! Names: what a query name asks for (Consul "DNS Interface", RFC 2782, RFC 1035 section 3.5).
//!
//! The kind of a question is its rightmost kind label (`service`, `node`, ...): left of it is the
//! subject, right of it at most a datacenter. Letters compare without regard to case; the spelling
//! of the question is kept, because it is echoed. Nothing is looked up here.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hickory_proto::rr::{Name, RecordType};

use super::Zone;

/// Where a name belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope<'q> {
    /// In the domain.
    Inside(Question<'q>),
    /// Under `in-addr.arpa.` or `ip6.arpa.`; `None` when it is not a whole address.
    Reverse(Option<IpAddr>),
    /// Anywhere else.
    Outside,
}

/// A name of the domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question<'q> {
    /// The domain or its alternative, whichever was asked for.
    pub domain: &'q Name,
    /// The datacenter, if the name has one.
    pub datacenter: Option<&'q str>,
    /// What is asked about.
    pub subject: Subject<'q>,
}

impl<'q> Question<'q> {
    /// Returns the datacenter that is asked about, if it is not the agent's own.
    pub fn other_datacenter(&self, zone: &Zone) -> Option<&'q str> {
        self.datacenter.filter(|datacenter| !datacenter.eq_ignore_ascii_case(&zone.datacenter))
    }
}

/// What a name of the domain is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject<'q> {
    /// `<node>.node`
    Node(Cow<'q, str>),
    /// `[<tag>.]<service>.service`, `_<service>._<tag>[.service]`
    Service {
        /// The service.
        name: &'q str,
        /// Only instances with this tag.
        tag: Option<Cow<'q, str>>,
    },
    /// `<service>.connect`: mesh endpoints.
    Connect(&'q str),
    /// `<service>.ingress`
    Ingress(&'q str),
    /// `<service>.virtual`
    Virtual(&'q str),
    /// `<name>.query`
    PreparedQuery(Cow<'q, str>),
    /// `<hex>.addr`
    Address(IpAddr),
    /// None of these, the domain itself included.
    Malformed,
}

/// Reads a query name. `qtype` matters for RFC 2782 names, which may leave out `service` when SRV
/// is asked for.
pub fn parse<'q>(zone: &'q Zone, name: &'q Name, qtype: RecordType) -> Scope<'q> {
    if let Some(domain) = zone.domain_of(name) {
        let labels = usize::from(name.num_labels() - domain.num_labels());
        return Scope::Inside(inside(domain, name, labels, qtype));
    }
    if name.iter().next_back().is_some_and(|label| label.eq_ignore_ascii_case(b"arpa")) {
        let whole =
            name.parse_arpa_name().ok().filter(|net| net.prefix_len() == net.max_prefix_len());
        return Scope::Reverse(whole.map(|net| net.addr()));
    }
    Scope::Outside
}

fn inside<'q>(domain: &'q Name, name: &'q Name, labels: usize, qtype: RecordType) -> Question<'q> {
    let text: Result<Vec<&str>, _> = name.iter().take(labels).map(str::from_utf8).collect();
    let malformed = Question { domain, datacenter: None, subject: Subject::Malformed };
    let Ok(labels) = text else { return malformed };
    let Some((kind, parts, suffix)) = split(&labels, qtype) else { return malformed };
    let datacenter = match suffix {
        [] => None,
        [datacenter] => Some(*datacenter),
        [datacenter, explicit] if explicit.eq_ignore_ascii_case("dc") => Some(*datacenter),
        _ => return malformed,
    };
    Question { domain, datacenter, subject: subject(kind, parts) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Service,
    Connect,
    Ingress,
    Virtual,
    Query,
    Address,
}

const KINDS: [(&str, Kind); 7] = [
    ("service", Kind::Service),
    ("node", Kind::Node),
    ("connect", Kind::Connect),
    ("ingress", Kind::Ingress),
    ("virtual", Kind::Virtual),
    ("query", Kind::Query),
    ("addr", Kind::Address),
];

type Split<'a, 'q> = (Kind, &'a [&'q str], &'a [&'q str]);

/// Returns the kind, the labels left of it, and the labels right of it.
fn split<'a, 'q>(labels: &'a [&'q str], qtype: RecordType) -> Option<Split<'a, 'q>> {
    labels.iter().enumerate().rev().find_map(|(at, label)| {
        let kind = KINDS.iter().find(|(word, _)| label.eq_ignore_ascii_case(word));
        match kind {
            Some((_, kind)) => Some((*kind, &labels[..at], &labels[at + 1..])),
            None if qtype == RecordType::SRV && label.starts_with('_') => {
                Some((Kind::Service, &labels[..=at], &labels[at + 1..]))
            }
            None => None,
        }
    })
}

fn subject<'q>(kind: Kind, parts: &[&'q str]) -> Subject<'q> {
    let Some((last, before)) = parts.split_last() else { return Subject::Malformed };
    match kind {
        Kind::Node => Subject::Node(joined(parts)),
        Kind::Service => service(last, before),
        Kind::Connect => Subject::Connect(last),
        Kind::Ingress => Subject::Ingress(last),
        Kind::Virtual => Subject::Virtual(last),
        Kind::Query => match rfc2782(last, before) {
            Some((name, _)) => Subject::PreparedQuery(Cow::Borrowed(name)),
            None => Subject::PreparedQuery(joined(parts)),
        },
        Kind::Address if before.is_empty() => {
            hex_address(last).map_or(Subject::Malformed, Subject::Address)
        }
        Kind::Address => Subject::Malformed,
    }
}

fn service<'q>(last: &'q str, before: &[&'q str]) -> Subject<'q> {
    if let Some((name, tag)) = rfc2782(last, before) {
        let tag = (!tag.eq_ignore_ascii_case("tcp")).then_some(Cow::Borrowed(tag));
        return Subject::Service { name, tag };
    }
    let tag = (!before.is_empty()).then(|| joined(before));
    Subject::Service { name: last, tag }
}

/// Reads `_<name>._<protocol or tag>`; returns both without the underscores.
fn rfc2782<'q>(last: &'q str, before: &[&'q str]) -> Option<(&'q str, &'q str)> {
    match before {
        [name] => Some((name.strip_prefix('_')?, last.strip_prefix('_')?)),
        _ => None,
    }
}

/// Joins labels with dots, which node names and tags may contain.
fn joined<'q>(labels: &[&'q str]) -> Cow<'q, str> {
    match labels {
        [label] => Cow::Borrowed(label),
        labels => Cow::Owned(labels.join(".")),
    }
}

fn hex_address(label: &str) -> Option<IpAddr> {
    if !label.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    match label.len() {
        8 => u32::from_str_radix(label, 16).ok().map(|bits| Ipv4Addr::from_bits(bits).into()),
        32 => u128::from_str_radix(label, 16).ok().map(|bits| Ipv6Addr::from_bits(bits).into()),
        _ => None,
    }
}
