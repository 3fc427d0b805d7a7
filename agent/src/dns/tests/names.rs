//! What names mean, beyond what answers show.

use hickory_proto::rr::{Name, RecordType};

use super::zone;
use crate::dns::name::{Scope, Subject, parse};

#[track_caller]
fn means(name: &str, qtype: RecordType, check: impl FnOnce(Scope<'_>)) {
    let (zone, name) = (zone(), Name::from_ascii(name).unwrap());
    check(parse(&zone, &name, qtype));
}

#[test]
fn prepared_queries_may_have_dots_and_rfc_2782_form() {
    for (name, expected) in
        [("geo.db.query.consul.", "geo.db"), ("_db._tcp.query.dc1.consul.", "db")]
    {
        means(name, RecordType::A, |scope| {
            let Scope::Inside(question) = scope else { panic!("{scope:?}") };
            assert_eq!(question.subject, Subject::PreparedQuery(expected.into()));
        });
    }
}

#[test]
fn the_rightmost_kind_label_decides() {
    means("node.service.service.consul.", RecordType::A, |scope| {
        let Scope::Inside(question) = scope else { panic!("{scope:?}") };
        let tag = Some("node".into());
        assert_eq!(question.subject, Subject::Service { name: "service", tag });
    });
}

#[test]
fn names_that_end_with_the_same_letters_are_outside() {
    for name in ["notconsul.", "web.service.consul.example.", ".", "arpa.example."] {
        means(name, RecordType::A, |scope| assert_eq!(scope, Scope::Outside));
    }
}

#[test]
fn only_whole_addresses_can_be_reversed() {
    for name in ["10.in-addr.arpa.", "arpa.", "300.0.0.1.in-addr.arpa.", "x.1.ip6.arpa."] {
        means(name, RecordType::PTR, |scope| assert_eq!(scope, Scope::Reverse(None)));
    }
}
