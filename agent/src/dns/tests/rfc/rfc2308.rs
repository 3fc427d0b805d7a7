//! RFC 2308: negative answers, and how long they may be cached.

use super::*;

/// Section 2.1: NXDOMAIN is authoritative and carries the SOA of the zone as its authority.
#[test]
fn s2_1_a_name_error_carries_the_soa() {
    for question in [
        "missing.service.consul A",
        "missing.service.consul SRV",
        "missing.node.consul TXT",
        "missing.connect.consul AAAA",
        "missing.consul MX",
    ] {
        check(question, "NXDomain rd,aa\nSOA!");
    }
}

/// Section 2.2: an existing name without the type is NODATA: NOERROR, no answer, the SOA.
#[test]
fn s2_2_a_service_without_the_type_is_no_data_with_soa() {
    for question in ["web.service.consul AAAA", "web.service.consul MX", "web6.service.consul A"] {
        check(question, "NoError rd,aa\nSOA!");
    }
}

/// Section 2.2 wants the SOA in every NODATA. COMPAT: Consul leaves it out about nodes and virtual
/// addresses, so that resolvers do not cache these answers.
#[test]
fn s2_2_a_node_without_the_type_is_no_data_without_soa() {
    for question in ["foo.node.consul AAAA", "foo.node.consul MX", "web.virtual.consul A"] {
        check(question, "NoError rd,aa");
    }
}

/// Section 2.2: a name that PTR is found at exists, whatever else is asked about it.
#[test]
fn s2_2_an_address_of_the_catalog_is_no_data_for_other_types_than_ptr() {
    for question in ["1.0.1.10.in-addr.arpa A", "38.3.168.192.in-addr.arpa TXT"] {
        check(question, "NoError rd,aa\nSOA!");
    }
}

/// Section 2.1 and RFC 8020: nothing exists below a name that does not. COMPAT: Consul answers the
/// domain itself and the names of kinds with NXDOMAIN nevertheless.
#[test]
fn s2_1_names_above_others_are_name_errors() {
    for question in ["consul A", "service.consul A", "node.dc1.consul A"] {
        check(question, "NXDomain rd,aa\nSOA!");
    }
}

/// Sections 3 and 5: the TTL of the SOA is its MINIMUM: how long the answer may be cached.
#[test]
fn s5_the_soa_lives_as_long_as_its_minimum() {
    let mut zone = zone();
    zone.settings.soa.min_ttl = 30;
    let soa =
        "authority consul. 30 IN SOA ns.consul. hostmaster.consul. 1700000000 3600 600 86400 30";
    for (question, code) in
        [("missing.service.consul A", "NXDomain"), ("web.service.consul AAAA", "NoError")]
    {
        check_in(&catalog(), &zone, question, &format!("{code} rd,aa\n{soa}"));
    }
}

/// Section 3: the SOA is that of the zone the name is in.
#[test]
fn s3_the_alternative_domain_has_a_soa_of_its_own() {
    let mut zone = zone();
    zone.alt_domain = Some(Name::from_ascii("mesh.test.").unwrap());
    check_in(
        &catalog(),
        &zone,
        "missing.service.mesh.test A",
        "NXDomain rd,aa\nauthority mesh.test. 0 IN SOA ns.mesh.test. hostmaster.mesh.test. \
         1700000000 3600 600 86400 0",
    );
}

/// Section 3: positive answers carry no SOA, which would say that something is missing.
#[test]
fn s3_answers_with_data_carry_no_soa() {
    for (name, qtype) in
        [("web.service.consul.", RecordType::A), ("foo.node.consul.", RecordType::A)]
    {
        assert!(ask(&catalog(), &zone(), &query(name, qtype)).authorities.is_empty(), "{name}");
    }
}
