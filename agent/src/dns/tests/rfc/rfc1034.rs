//! RFC 1034: names and their resolution.

use super::*;

/// Section 3.6.2: a name with an alias has no other data, so addresses win over host names.
#[test]
fn s3_6_2_a_service_with_an_address_and_a_host_name_has_no_alias() {
    let mut state = catalog();
    register(
        &mut state,
        json!({"Node": "Foo", "SkipNodeUpdate": true,
            "Service": {"ID": "db2", "Service": "db", "Address": "10.0.0.9"}}),
    );
    check_in(
        &state,
        &zone(),
        "db.service.consul A",
        "NoError rd,aa\nanswer db.service.consul. 0 IN A 10.0.0.9",
    );
}

/// Section 3.6.2: an alias is followed, except when the alias itself is asked for.
#[test]
fn s3_6_2_an_alias_is_followed_unless_the_question_is_about_it() {
    let alias = "NoError rd,aa\nanswer inside.node.consul. 0 IN CNAME web.service.consul.";
    check("inside.node.consul A", &format!("{alias}\nanswer web.service.consul. 0 IN A 10.1.0.1"));
    check("inside.node.consul CNAME", alias);
}

/// Section 4.3.2: data of other zones is refused, not denied.
#[test]
fn s4_3_2_names_outside_the_domain_do_not_get_name_errors() {
    for name in ["example.com.", "notconsul.", "."] {
        let answer = raw(&packet(name, RecordType::A)).unwrap();
        assert_eq!((code(&answer), answer[2] & AA), (REFUSED, 0), "{name}");
    }
}
