//! RFC 2308: negative answers (NXDOMAIN and NODATA), and how long they may be cached.

use super::*;

/// Section 2.1: NXDOMAIN is authoritative and has the zone's SOA in its authority section.
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

/// Section 2.2: the answer for an existing name without the type is NODATA: NOERROR, an empty
/// answer section, and the SOA in the authority section.
#[test]
fn s2_2_a_service_without_the_type_is_no_data_with_soa() {
    for question in ["web.service.consul AAAA", "web.service.consul MX", "web6.service.consul A"] {
        check(question, "NoError rd,aa\nSOA!");
    }
}

/// Section 3 requires the SOA in every NODATA. COMPAT: Consul leaves it out for nodes and virtual
/// addresses, so that resolvers do not cache these answers.
#[test]
fn s2_2_a_node_without_the_type_is_no_data_without_soa() {
    for question in ["foo.node.consul AAAA", "foo.node.consul MX", "web.virtual.consul A"] {
        check(question, "NoError rd,aa");
    }
}

/// Section 2.2: a name with a PTR record exists, so that another type is NODATA.
#[test]
fn s2_2_an_address_of_the_catalog_is_no_data_for_other_types_than_ptr() {
    for question in ["1.0.1.10.in-addr.arpa A", "38.3.168.192.in-addr.arpa TXT"] {
        check(question, "NoError rd,aa\nSOA!");
    }
}

/// Section 2.1 and RFC 8020: NXDOMAIN also denies every name below. COMPAT: Consul returns it for
/// the domain itself and for the names of kinds, below which there are names.
#[test]
fn s2_1_names_above_others_are_name_errors() {
    for question in ["consul A", "service.consul A", "node.dc1.consul A"] {
        check(question, "NXDomain rd,aa\nSOA!");
    }
}

/// Sections 3 and 5: the TTL of the SOA is the lesser of MINIMUM and its own, which are equal here;
/// it bounds how long the answer may be cached.
#[test]
fn s5_the_soa_ttl_is_its_minimum() {
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

/// Section 3: the SOA is that of the name's own zone.
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

/// Section 3: the SOA makes an answer negative, so an answer with data has none.
#[test]
fn s3_answers_with_data_carry_no_soa() {
    check("web.service.consul A", "NoError rd,aa\nanswer web.service.consul. 0 IN A 10.1.0.1");
    check(
        "foo.node.consul A",
        "NoError rd,aa\nanswer foo.node.consul. 0 IN A 10.1.0.1\n\
         additional foo.node.consul. 0 IN TXT consul-network-segment=",
    );
}
