//! The two ways to an answer, each by itself: for the tests that compare them byte for byte.

use rand::Rng;

use super::{
    direct,
    general::{self, Environment, Outcome},
    query::{self, Packet, Query},
};

/// Returns the direct way's answer to a packet; `None` when it leaves it to the general way.
pub fn directly(
    packet: &[u8],
    environment: &Environment<'_>,
    rng: &mut impl Rng,
) -> Option<Vec<u8>> {
    let Packet::Query(query) = query::decode(packet) else { return None };
    let Query::Addresses(addresses) = &query else { return None };
    let (scope, mut out) = (query.scope(environment.zone), b"rest".to_vec());
    direct::answer_addresses(addresses, &scope, environment, rng, &mut out)?;
    Some(out)
}

/// Returns the general way's answer to a packet, decoded without the direct way; `None` when it is
/// not answered at once.
pub fn generally(
    packet: &[u8],
    environment: &Environment<'_>,
    rng: &mut impl Rng,
) -> Option<Vec<u8>> {
    let Packet::Query(query) = query::decode_message(packet) else { return None };
    let scope = query.scope(environment.zone);
    let Query::Message(message) = &query else { return None };
    let mut out = b"rest".to_vec();
    let outcome = general::answer(message, &scope, environment, rng, &mut out);
    matches!(outcome, Ok(Outcome::Send)).then_some(out)
}
