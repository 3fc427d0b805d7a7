//! Answers: catalog rows become the sections of a message (RFC 1034 section 4.3, RFC 2308).
//!
//! INVARIANT: every negative answer of the domain (NXDOMAIN, and NODATA of a service or an
//! address) carries the SOA; COMPAT: Consul leaves it out of NODATA about nodes. Records keep the
//! order of the rows; an additional record stands with the first answer it explains, so that
//! cutting answers off the end cuts what explains them.
//!
//! Not here: sizes (see [`super::truncate`]) and names outside the domain, which are only listed
//! in [`Answer::aliases`] for the recursors.

use std::{collections::BTreeSet, net::IpAddr};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
};
use lictor_api::types::{catalog::Node, health::CheckStatus};
use lictor_core::state::{Instance, State};
use rand::Rng;

use super::{
    Zone,
    lookup::{Found, Owner, name_servers},
    record::{self, Address},
};

/// What is asked, as far as records depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Context<'q> {
    /// Settings.
    pub zone: &'q Zone,
    /// The name asked for, spelled as it was: the owner of the answers.
    pub owner: &'q Name,
    /// The domain the owner is in.
    pub domain: &'q Name,
    /// The type asked for.
    pub qtype: RecordType,
    /// Records that the answer section can take at most; more are not made.
    pub limit: usize,
    /// Unix seconds.
    pub now: u32,
}

/// The sections of an answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The response code.
    pub code: ResponseCode,
    /// ANSWER.
    pub answers: Vec<Record>,
    /// AUTHORITY.
    pub authority: Vec<Record>,
    /// ADDITIONAL: each with the position of the answer it explains.
    pub additional: Vec<(usize, Record)>,
    /// Host names that addresses are still missing for.
    pub aliases: Vec<Name>,
    /// There were more answers than the limit.
    pub cut: bool,
}

impl Answer {
    /// Returns an answer without records.
    pub fn empty(code: ResponseCode) -> Self {
        Self { code, ..Self::default() }
    }

    /// Returns the answer about a name that does not exist: NXDOMAIN.
    pub fn no_such_name(context: &Context<'_>) -> Self {
        Self { authority: soa(context), ..Self::empty(ResponseCode::NXDomain) }
    }

    /// Returns the answer about a name that exists without the type asked for: NODATA.
    pub fn no_data(context: &Context<'_>) -> Self {
        Self { authority: soa(context), ..Self::default() }
    }

    /// Returns the answer to a question of the domain.
    pub fn new(found: &Found<'_>, context: &Context<'_>) -> Self {
        match found {
            Found::Nothing => Self::no_such_name(context),
            Found::Empty => Self::default(),
            Found::Address(ip) => Self::of_address(*ip, context),
            Found::Node(node) => Self::of_node(node, context),
            Found::Instances(instances) => {
                let mut answer = if context.qtype == RecordType::SRV {
                    Self::of_ports(instances, context)
                } else {
                    Self::of_instances(instances, context)
                };
                if answer.answers.is_empty() {
                    answer.authority = soa(context);
                }
                answer
            }
        }
    }

    /// Returns the answer to SOA and NS questions, whatever the name in the domain.
    pub fn of_domain(state: &State, context: &Context<'_>, rng: &mut impl Rng) -> Self {
        let mut answer = Self::default();
        let mut servers = Vec::new();
        for node in name_servers(state, rng) {
            let Some(name) = record::node_name(context.zone, context.domain, &node.name) else {
                continue;
            };
            if let Ok(ip) = node.address.parse() {
                let glue = record::address(&name, context.zone.node_ttl(), ip);
                answer.additional.push((servers.len(), glue));
            }
            servers.push(record::name_server(context.domain, context.zone.node_ttl(), name));
        }
        if context.qtype == RecordType::SOA {
            answer.answers = soa(context);
            answer.authority = servers;
            answer.additional.iter_mut().for_each(|(explains, _)| *explains = 0);
        } else {
            answer.answers = servers;
        }
        answer
    }

    /// Returns the answer to a PTR question about one of the catalog's addresses.
    pub fn of_owners(owners: &[Owner<'_>], context: &Context<'_>) -> Self {
        let Context { zone, domain, owner, .. } = *context;
        let names = owners.iter().filter_map(|found| match found {
            Owner::Node(node) => {
                Some((record::node_name(zone, domain, &node.name)?, zone.node_ttl()))
            }
            Owner::Service(service) => Some((
                record::service_name(zone, domain, &service.service)?,
                zone.service_ttl(&service.service),
            )),
        });
        let answers = names.map(|(name, ttl)| record::pointer(owner, ttl, name)).collect();
        Self { answers, ..Self::default() }
    }

    fn of_address(ip: IpAddr, context: &Context<'_>) -> Self {
        let found = record::address(context.owner, context.zone.node_ttl(), ip);
        if record::wants(context.qtype, ip) {
            Self { answers: vec![found], ..Self::default() }
        } else {
            Self { additional: vec![(0, found)], ..Self::default() }
        }
    }

    fn of_node(node: &Node, context: &Context<'_>) -> Self {
        let Context { zone, owner, qtype, .. } = *context;
        let ttl = zone.node_ttl();
        let mut answer = Self::default();
        match Address::read(&node.address) {
            Some(Address::Ip(ip)) if record::wants(qtype, ip) => {
                answer.answers.push(record::address(owner, ttl, ip));
            }
            Some(Address::Host(target)) if record::wants_alias(qtype) => {
                answer.push_alias(&target, ttl, context);
            }
            _ => {}
        }
        if matches!(qtype, RecordType::TXT | RecordType::ANY) {
            answer.answers.extend(record::node_meta(owner, ttl, node));
        } else if zone.settings.node_meta_txt && !answer.answers.is_empty() {
            answer.additional.extend(record::node_meta(owner, ttl, node).map(|txt| (0, txt)));
        }
        answer
    }

    /// Answers A, AAAA, ANY and CNAME questions about a service. An alias excludes every other record (RFC 1034 section
    /// 3.6.2), so that there is one only if no instance has an address.
    fn of_instances(instances: &[Instance<'_>], context: &Context<'_>) -> Self {
        let Context { zone, owner, qtype, .. } = *context;
        let ttl = zone.service_ttl(&instances[0].service.service);
        let limit = match zone.settings.a_record_limit {
            0 => context.limit,
            limit => limit.min(context.limit),
        };
        let mut answer = Self::default();
        let mut seen = BTreeSet::new();
        let mut host = None;
        for instance in instances {
            match Address::read(instance.address()) {
                Some(Address::Ip(ip)) if record::wants(qtype, ip) && seen.insert(ip) => {
                    if seen.len() > limit {
                        answer.cut = limit == context.limit;
                        break;
                    }
                    answer.answers.push(record::address(owner, ttl, ip));
                }
                Some(Address::Host(target)) if record::wants_alias(qtype) => {
                    host.get_or_insert(target);
                }
                _ => {}
            }
        }
        if let (true, Some(target)) = (answer.answers.is_empty(), host) {
            answer.push_alias(&target, ttl, context);
        }
        answer
    }

    /// Answers SRV questions about a service.
    fn of_ports(instances: &[Instance<'_>], context: &Context<'_>) -> Self {
        let Context { zone, owner, .. } = *context;
        let ttl = zone.service_ttl(&instances[0].service.service);
        let mut answer = Self::default();
        let (mut seen, mut explained) = (BTreeSet::new(), BTreeSet::new());
        for instance in instances {
            let service = instance.service;
            if !seen.insert((&*instance.node.name, &*service.address, service.port)) {
                continue;
            }
            let Some((target, address)) = target(instance, context) else { continue };
            if answer.answers.len() == context.limit {
                answer.cut = true;
                break;
            }
            let at = answer.answers.len();
            let first = explained.insert((&*instance.node.name, &*service.address));
            match address {
                Address::Ip(ip) if first => {
                    answer.additional.push((at, record::address(&target, ttl, ip)));
                }
                Address::Host(host) if first => answer.aliases.push(host),
                _ => {}
            }
            if first && zone.settings.node_meta_txt {
                answer.explain_node(at, instance.node, context);
            }
            let (weight, port) = (weight(instance), service.port);
            answer.answers.push(record::service(owner, ttl, weight, port, target));
        }
        answer
    }

    fn explain_node(&mut self, at: usize, node: &Node, context: &Context<'_>) {
        if let Some(name) = record::node_name(context.zone, context.domain, &node.name) {
            let meta = record::node_meta(&name, context.zone.node_ttl(), node);
            self.additional.extend(meta.map(|txt| (at, txt)));
        }
    }

    fn push_alias(&mut self, target: &Name, ttl: u32, context: &Context<'_>) {
        self.answers.push(record::alias(context.owner, ttl, target));
        if context.qtype != RecordType::CNAME {
            self.aliases.push(target.clone());
        }
    }
}

/// Returns the name an SRV record points to, and what it resolves to.
fn target(instance: &Instance<'_>, context: &Context<'_>) -> Option<(Name, Address)> {
    let Context { zone, domain, .. } = *context;
    let address = Address::read(instance.address())?;
    let name = match &address {
        Address::Host(host) => host.clone(),
        Address::Ip(_) if instance.service.address.is_empty() => {
            record::node_name(zone, domain, &instance.node.name)?
        }
        Address::Ip(ip) => record::address_name(zone, domain, *ip)?,
    };
    Some((name, address))
}

fn weight(instance: &Instance<'_>) -> u16 {
    let weights = instance.service.weights;
    let weight = match instance.status {
        CheckStatus::Passing => weights.passing,
        CheckStatus::Warning | CheckStatus::Critical => weights.warning,
    };
    u16::try_from(weight).unwrap_or(u16::MAX)
}

fn soa(context: &Context<'_>) -> Vec<Record> {
    record::authority(context.zone, context.domain, context.now).into_iter().collect()
}
