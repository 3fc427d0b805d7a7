//! The direct way answers what the general way answers, byte for byte.

use proptest::prelude::*;

use super::*;
use crate::dns::compare;

/// The small catalog, and a service with duplicates, both families, a host and warnings.
fn crowded() -> State {
    let mut state = catalog();
    for (id, address) in
        [(1, "10.0.0.1"), (2, "10.0.0.2"), (3, "10.0.0.2"), (4, "fd00::4"), (5, "db.example.com")]
    {
        register(
            &mut state,
            json!({"Node": "Foo", "SkipNodeUpdate": true,
                "Service": {"ID": format!("crowd{id}"), "Service": "crowd", "Address": address},
                "Check": {"CheckID": format!("c{id}"), "Status": "warning",
                    "ServiceID": format!("crowd{id}")}}),
        );
    }
    let long = "x".repeat(300);
    register(
        &mut state,
        json!({"Node": "long", "Address": "10.1.0.9", "NodeMeta": {"empty": "", "text": long}}),
    );
    state
}

fn directly(packet: &[u8], transport: Transport, zone: &Zone, seed: u64) -> Option<Vec<u8>> {
    let environment = Environment { state: &crowded(), zone, transport, now: NOW };
    compare::directly(packet, &environment, &mut SmallRng::seed_from_u64(seed))
}

fn generally(packet: &[u8], transport: Transport, zone: &Zone, seed: u64) -> Option<Vec<u8>> {
    let environment = Environment { state: &crowded(), zone, transport, now: NOW };
    compare::generally(packet, &environment, &mut SmallRng::seed_from_u64(seed))
}

#[test]
fn addresses_of_services_and_nodes_are_answered_directly() {
    for name in ["web.service.consul.", "crowd.service.dc1.consul.", "foo.node.consul."] {
        for message in [query(name, RecordType::A), with_edns(query(name, RecordType::A), 1232)] {
            let packet = message.to_vec().unwrap();
            let direct = directly(&packet, Transport::Udp, &zone(), 1);
            assert!(direct.is_some(), "{name}");
            assert_eq!(direct, generally(&packet, Transport::Udp, &zone(), 1), "{name}");
        }
    }
}

fn names() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "web.service.consul.",
        "CROWD.service.consul.",
        "crowd.service.dc1.dc.consul.",
        "crowd.service.dc2.consul.",
        "rails.web.service.consul.",
        "_web._tcp.service.consul.",
        "web.connect.consul.",
        "web6.service.consul.",
        "db.service.consul.",
        "foo.node.consul.",
        "long.node.consul.",
        "six.node.consul.",
        "outside.node.consul.",
        "inside.node.consul.",
        "front.workshop.example.node.consul.",
        "nothing.service.consul.",
        "0a000001.addr.consul.",
        "example.com.",
        "consul.",
    ])
}

proptest! {
    #[test]
    fn both_ways_decode_and_answer_alike(
        name in names(),
        qtype in prop::sample::select(vec![RecordType::A, RecordType::AAAA, RecordType::ANY]),
        flags in any::<[bool; 6]>(),
        payload in prop::option::of(prop_oneof![0..2000u16, any::<u16>()]),
        (limit, udp_limit, ttl) in (0..4usize, 0..12usize, 0..3u64),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        seed in any::<u64>(),
    ) {
        let mut zone = zone();
        let [tcp, texts, passing, recurses, checking, dnssec] = flags;
        zone.settings.node_meta_txt = texts;
        zone.settings.only_passing = passing;
        zone.settings.a_record_limit = limit;
        zone.settings.udp_answer_limit = udp_limit;
        zone.settings.node_ttl = Duration::from_secs(ttl);
        zone.settings.service_ttl.insert("cr*".to_owned(), Duration::from_secs(ttl));
        if recurses {
            zone.settings.recursors.push("127.0.0.1:53".parse().unwrap());
        }
        let mut message = query(name, qtype);
        message.metadata.checking_disabled = checking;
        if let Some(payload) = payload {
            message = with_edns(message, payload);
            message.edns.as_mut().unwrap().set_dnssec_ok(dnssec);
        }
        let mut packet = message.to_vec().unwrap();
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        if let Packet::Query(crate::dns::query::Query::Addresses(query)) = query::decode(&packet) {
            prop_assert_eq!(query.to_message(), Message::from_vec(&packet).unwrap());
        }
        if let Some(direct) = directly(&packet, transport, &zone, seed) {
            prop_assert_eq!(Some(direct), generally(&packet, transport, &zone, seed));
        }
    }
}
