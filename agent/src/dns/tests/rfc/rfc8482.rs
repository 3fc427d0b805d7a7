//! RFC 8482: small answers to ANY.

use super::*;

/// Section 4.1: a subset of the records of the name is an answer. COMPAT: addresses, and a node's
/// TXT records; consul-k8s looks for the servers' addresses in the answer to ANY.
#[test]
fn s4_1_any_is_answered_with_records_of_the_name() {
    for (name, answers) in [
        ("foo.node.consul.", &["A", "TXT"][..]),
        ("consul.service.consul.", &["A"]),
        ("web6.service.consul.", &["AAAA"]),
        ("1.0.1.10.in-addr.arpa.", &["PTR"]),
    ] {
        let answer = ask(&catalog(), &zone(), &query(name, RecordType::ANY));
        let types: Vec<_> =
            answer.answers.iter().map(|record| record.record_type().to_string()).collect();
        assert_eq!(types, answers, "{name}");
        assert!(answer.answers.iter().all(|record| record.name.to_string() == name), "{name}");
        assert!(answer.metadata.authoritative, "{name}");
    }
}

/// Section 4: a name that does not exist is a name error for ANY too.
#[test]
fn s4_any_of_a_missing_name_is_a_name_error() {
    check("missing.service.consul ANY", "NXDomain rd,aa\nSOA!");
}

/// Section 4.4 allows large answers over TCP only; over UDP the usual limits hold.
#[test]
fn s4_4_any_is_limited_over_udp() {
    let answer = raw_in(&many(100), &zone(), &packet("many.service.consul.", RecordType::ANY));
    assert_eq!(Message::from_vec(&answer.unwrap()).unwrap().answers.len(), 3);
}
