//! RFC 3596: IPv6 addresses.

use super::*;

/// Sections 2.1 and 2.2: AAAA is type 28 and holds 16 octets.
#[test]
fn s2_2_an_address_has_16_octets() {
    let packet = packet("six.node.consul.", RecordType::AAAA);
    let answer = raw(&packet).unwrap();
    let record = [0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 0, 0, 16];
    assert_eq!(answer[packet.len()..][..12], record);
    let address = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6];
    assert_eq!(answer[packet.len() + 12..], address);
}

/// Section 2.3: a query for AAAA returns AAAA records only, and one for A only A records.
#[test]
fn s2_3_each_family_answers_its_own_type() {
    let mut state = catalog();
    register(
        &mut state,
        json!({"Node": "Foo", "SkipNodeUpdate": true,
            "Service": {"ID": "both", "Service": "web6", "Address": "10.0.0.6"}}),
    );
    check_in(
        &state,
        &zone(),
        "web6.service.consul AAAA",
        "NoError rd,aa\nanswer web6.service.consul. 0 IN AAAA fd00::6",
    );
    check_in(
        &state,
        &zone(),
        "web6.service.consul A",
        "NoError rd,aa\nanswer web6.service.consul. 0 IN A 10.0.0.6",
    );
}

/// Section 2.5: an address leads back by its 32 nibbles under ip6.arpa, in any case.
#[test]
fn s2_5_all_nibbles_lead_back_to_a_name() {
    let nibbles = format!("6.{}0.0.D.f", "0.".repeat(27));
    check(
        &format!("{nibbles}.IP6.arpa PTR"),
        &format!("NoError rd,aa\nanswer {nibbles}.IP6.arpa. 0 IN PTR six.node.dc1.consul."),
    );
    check("0.0.d.f.ip6.arpa PTR", "NXDomain rd,aa\nSOA!");
}

/// Section 3: where A records are additional, AAAA records are too.
#[test]
fn s3_an_srv_target_has_its_aaaa_as_additional_record() {
    check(
        "web6.service.consul SRV",
        "NoError rd,aa\nanswer web6.service.consul. 0 IN SRV 1 1 86 six.node.dc1.consul.\n\
         additional six.node.dc1.consul. 0 IN AAAA fd00::6",
    );
}
