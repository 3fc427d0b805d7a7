//! RFC 2181: clarifications.

use std::net::{SocketAddr, UdpSocket};

use super::*;
use crate::dns::tests::exchange::{Served, ask_udp, client};

/// Section 4.1: an answer comes from the address that was asked, also when that is one of many.
#[tokio::test]
async fn s4_1_answers_come_from_the_address_that_was_asked() {
    let served = Served::start_at(([0, 0, 0, 0], 0).into(), catalog(), zone());
    for host in [[127, 0, 0, 1], [127, 0, 8, 3], [127, 0, 8, 4]] {
        let server = SocketAddr::from((host, served.address.port()));
        for name in ["foo.node.consul.", "missing.node.consul."] {
            // The client's socket is connected, and takes packets from nowhere else.
            let answer = client(move || ask_udp(server, &query(name, RecordType::A))).await;
            assert_eq!(answer.queries[0].name().to_string(), name, "{server}");
        }
    }
    served.stop().await;
}

/// Section 4.1: the same over IPv6.
#[tokio::test]
async fn s4_1_answers_come_from_the_ipv6_address_that_was_asked() {
    let local = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
    if UdpSocket::bind(local).is_err() {
        eprintln!("skipped: there is no IPv6");
        return;
    }
    let any = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0));
    let served = Served::start_at(any, catalog(), zone());
    let server = SocketAddr::new(local.ip(), served.address.port());
    for _ in 0..3 {
        let request = query("six.node.consul.", RecordType::AAAA);
        let answer = client(move || ask_udp(server, &request)).await;
        assert_eq!(answer.answers[0].data.to_string(), "fd00::6");
    }
    served.stop().await;
}

/// Section 5: a set has no two records that are alike.
#[test]
fn s5_instances_with_the_same_address_are_one_record() {
    let mut state = State::default();
    for id in ["a", "b"] {
        register(
            &mut state,
            json!({"Node": "n", "Address": "10.0.0.1",
                "Service": {"ID": id, "Service": "s", "Port": 80}}),
        );
    }
    check_in(
        &state,
        &zone(),
        "s.service.consul A",
        "NoError rd,aa\nanswer s.service.consul. 0 IN A 10.0.0.1",
    );
    check_in(
        &state,
        &zone(),
        "s.service.consul SRV",
        "NoError rd,aa\nanswer s.service.consul. 0 IN SRV 1 1 80 n.node.dc1.consul.\n\
         additional n.node.dc1.consul. 0 IN A 10.0.0.1",
    );
}

/// Section 5.2: the records of a set have one TTL.
#[test]
fn s5_2_the_records_of_a_service_have_one_ttl() {
    let mut zone = zone();
    zone.settings.service_ttl.insert("many".to_owned(), Duration::from_secs(7));
    for qtype in [RecordType::A, RecordType::SRV] {
        let request = with_edns(query("many.service.consul.", qtype), 4096);
        let answer = ask(&many(20), &zone, &request);
        assert_eq!(answer.answers.len(), 20, "{qtype}");
        assert!(answer.answers.iter().all(|record| record.ttl == 7), "{qtype}");
    }
}

/// Section 8: a TTL has 31 bits; one with the highest bit would count as 0.
#[test]
fn s8_times_to_live_have_31_bits() {
    let mut zone = zone();
    zone.settings.node_ttl = Duration::from_secs(u64::MAX);
    zone.settings.soa.min_ttl = u32::MAX;
    let node = ask(&catalog(), &zone, &query("foo.node.consul.", RecordType::A));
    assert_eq!(node.answers[0].ttl, 0x7fff_ffff);
    let missing = ask(&catalog(), &zone, &query("missing.node.consul.", RecordType::A));
    assert_eq!(missing.authorities[0].ttl, 0x7fff_ffff);
    let soa = missing.authorities[0].data.to_string();
    assert!(soa.ends_with(" 2147483647"), "{soa}");
}

/// Section 9 wants TC when a set does not fit. COMPAT: Consul sets it with `enable_truncate` only;
/// most clients do better with a part of the addresses than with a second query.
#[test]
fn s9_an_answer_that_does_not_fit_is_marked_when_enabled() {
    let (state, mut zone) = (many(100), zone());
    let packet = packet("many.service.consul.", RecordType::A);
    assert_eq!(raw_in(&state, &zone, &packet).unwrap()[2] & TC, 0);
    zone.settings.enable_truncate = true;
    assert_eq!(raw_in(&state, &zone, &packet).unwrap()[2] & TC, TC);
    let whole = reply(&packet, Transport::Tcp, &state, &zone, &mut SmallRng::seed_from_u64(1));
    let whole = whole.unwrap();
    assert_eq!(whole[2] & TC, 0);
    assert_eq!(Message::from_vec(&whole).unwrap().answers.len(), 100);
}

/// Section 9: TC is not set when only additional records were left out.
#[test]
fn s9_additional_records_that_do_not_fit_are_left_out_unmarked() {
    let mut state = State::default();
    let meta: BTreeMap<String, String> =
        (0..10).map(|key| (format!("key-{key}"), "v".repeat(100))).collect();
    register(&mut state, json!({"Node": "fat", "Address": "10.0.0.1", "NodeMeta": meta}));
    let mut zone = zone();
    zone.settings.enable_truncate = true;
    let answer = ask(&state, &zone, &query("fat.node.consul.", RecordType::A));
    assert_eq!((answer.answers.len(), answer.additionals.len()), (1, 0));
    assert!(!answer.metadata.truncation);
}

/// Section 11: labels are any octets. Those that no name of the catalog has do not exist.
#[test]
fn s11_any_octets_are_a_label() {
    for label in [&b"\xff\xfe"[..], b"a\0b", b" ", b"web.service", b"caf\xc3\xa9", b"\\"] {
        let packet = packet_of_labels([label, b"service", b"consul"]);
        let answer = raw(&packet).unwrap();
        assert_eq!(code(&answer), NAME_ERROR, "{label:?}");
        assert_eq!(answer[12..packet.len()], packet[12..], "{label:?}");
    }
}
