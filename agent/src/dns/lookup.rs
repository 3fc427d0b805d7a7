//! Lookup: a typed question and one state become catalog rows.
//!
//! INVARIANT: an instance with a critical check, its own or its node's, is never found; one with a
//! warning is unless `only_passing`. Rows come in random order; the caller brings the randomness.

use std::net::IpAddr;

use lictor_api::{
    contract::CONSUL_SERVICE,
    types::{
        catalog::{Node, NodeService},
        health::CheckStatus,
    },
};
use lictor_core::state::{Instance, State};
use rand::{Rng, seq::SliceRandom};

use super::{
    Zone,
    name::{Question, Subject},
};

/// Name servers that one answer names.
const MAX_NAME_SERVERS: usize = 3;

/// What a question of the domain found.
#[derive(Debug)]
pub enum Found<'s> {
    /// There is no such name.
    Nothing,
    /// The name exists and has no records.
    Empty,
    /// A node.
    Node(&'s Node),
    /// Healthy instances, at least one, in random order.
    Instances(Vec<Instance<'s>>),
    /// An address that the name itself spells out.
    Address(IpAddr),
}

/// Looks up a question of the domain.
pub fn lookup<'s>(
    state: &'s State,
    zone: &Zone,
    question: &Question<'_>,
    rng: &mut impl Rng,
) -> Found<'s> {
    if question.other_datacenter(zone).is_some() {
        return Found::Nothing;
    }
    let only_passing = zone.settings.only_passing;
    match &question.subject {
        Subject::Node(name) => {
            state.catalog.node(name).map_or(Found::Nothing, |node| Found::Node(node))
        }
        Subject::Service { name, tag: None } => {
            healthy(state.catalog.service_instances(name), only_passing, rng)
        }
        Subject::Service { name, tag: Some(tag) } => {
            let tagged = state.catalog.service_instances(name).filter(|instance| {
                instance.service.tags.iter().any(|own| own.eq_ignore_ascii_case(tag))
            });
            healthy(tagged, only_passing, rng)
        }
        Subject::Connect(name) => healthy(state.catalog.connect_instances(name), only_passing, rng),
        Subject::Address(ip) => Found::Address(*ip),
        Subject::Virtual(_) => Found::Empty,
        Subject::Ingress(_) | Subject::PreparedQuery(_) | Subject::Malformed => Found::Nothing,
    }
}

/// Who has an address: nodes first, services only when no node has it.
#[derive(Debug)]
pub enum Owner<'s> {
    /// A node.
    Node(&'s Node),
    /// A service with an address of its own.
    Service(&'s NodeService),
}

/// Returns who has an address.
pub fn reverse(state: &State, ip: IpAddr) -> Vec<Owner<'_>> {
    let is = |address: &str| address.parse() == Ok(ip);
    if let Some(node) = state.catalog.nodes().find(|node| is(&node.address)) {
        return vec![Owner::Node(node)];
    }
    let mut services: Vec<&NodeService> = state
        .catalog
        .instances()
        .filter(|instance| is(&instance.service.address))
        .map(|instance| &**instance.service)
        .collect();
    services.sort_unstable_by_key(|service| &service.service);
    services.dedup_by_key(|service| &service.service);
    services.into_iter().map(Owner::Service).collect()
}

/// Returns the domain's name servers, which are the nodes that run servers: at most
/// [`MAX_NAME_SERVERS`], chosen at random.
pub fn name_servers<'s>(state: &'s State, rng: &mut impl Rng) -> Vec<&'s Node> {
    let mut nodes: Vec<&Node> = state
        .catalog
        .service_instances(CONSUL_SERVICE)
        .filter(|instance| instance.status != CheckStatus::Critical)
        .map(|instance| &**instance.node)
        .collect();
    nodes.dedup_by_key(|node| &node.name);
    nodes.shuffle(rng);
    nodes.truncate(MAX_NAME_SERVERS);
    nodes
}

fn healthy<'s>(
    instances: impl Iterator<Item = Instance<'s>>,
    only_passing: bool,
    rng: &mut impl Rng,
) -> Found<'s> {
    let worst = if only_passing { CheckStatus::Passing } else { CheckStatus::Warning };
    let mut instances: Vec<_> = instances.filter(|instance| instance.status <= worst).collect();
    if instances.is_empty() {
        return Found::Nothing;
    }
    instances.shuffle(rng);
    Found::Instances(instances)
}
