//! The grammar by example, and two properties: no text makes the parser panic, and what it prints
//! it reads back.

use proptest::prelude::*;

use super::*;

fn upstream(service: &str, bind_port: u16) -> Upstream {
    Upstream {
        service: service.to_owned(),
        datacenter: None,
        bind_address: DEFAULT_BIND_ADDRESS,
        bind_port,
        mesh_gateway_mode: None,
    }
}

/// Parses one item that must be refused, and gives the message.
fn refused(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn all_three_separators_separate() {
    let expect = vec![upstream("a", 1), upstream("b.c", 2), upstream("d", 3), upstream("e", 4)];
    assert_eq!(parse("a:1,b.c:2 d:3\n  e:4,\n").unwrap(), expect);
    assert_eq!(parse(" \n, ").unwrap(), []);
}

#[test]
fn datacenter_and_options_are_read_in_every_form() {
    let dc = Upstream { datacenter: Some("dc2".into()), ..upstream("web", 80) };
    for text in ["web:80:dc2", "web.svc.dc2.dc:80", "web:80:datacenter=dc2", "web.svc:80:dc=dc2"] {
        assert_eq!(parse(text).unwrap(), std::slice::from_ref(&dc), "{text}");
    }
    let full = Upstream {
        bind_address: "::1".parse().unwrap(),
        mesh_gateway_mode: Some(MeshGatewayMode::Local),
        ..dc
    };
    for text in [
        "web:80:dc2?local_bind_address=::1&mesh_gateway_mode=local",
        "web:80:localBindAddress=::1;meshGatewayMode=local;dc=dc2",
        "web.svc.dc2.dc:80:local-bind-address=::1&mesh-gateway-mode=local",
    ] {
        assert_eq!(parse(text).unwrap(), std::slice::from_ref(&full), "{text}");
    }
}

#[test]
fn every_refusal_names_the_item_and_the_reason() {
    for (text, message) in [
        ("web", r#"upstream "web": the port is missing, expected SERVICE:PORT"#),
        ("web:", r#"upstream "web:": the port is missing, expected SERVICE:PORT"#),
        ("web:0", r#"upstream "web:0": port "0" is not a number from 1 to 65535"#),
        ("web:+1", r#"upstream "web:+1": port "+1" is not a number from 1 to 65535"#),
        ("a:1,web:http", r#"upstream "web:http": port "http" is not a number from 1 to 65535"#),
        (
            "w/b:1",
            r#"upstream "w/b:1": service name "w/b" must be 1 to 128 letters, digits, '-', '_' or '.'"#,
        ),
        ("web:1:d c", r#"upstream "c": the port is missing, expected SERVICE:PORT"#),
        (
            "web:1:d:c",
            r#"upstream "web:1:d:c": datacenter "d:c" must be letters, digits, '-' or '_'"#,
        ),
        (
            "web:1:dc1?dc=dc2",
            r#"upstream "web:1:dc1?dc=dc2": the datacenter is given twice, "dc1" and "dc2""#,
        ),
        ("web:1:dc1?x", r#"upstream "web:1:dc1?x": option "x" is not key=value"#),
        (
            "web:1:bind=::1",
            r#"upstream "web:1:bind=::1": unknown option "bind", expected local_bind_address, datacenter or mesh_gateway_mode"#,
        ),
        (
            "web:1:local_bind_address=host",
            r#"upstream "web:1:local_bind_address=host": local_bind_address "host" is not an IP address"#,
        ),
        (
            "web:1:mesh_gateway_mode=far",
            r#"upstream "web:1:mesh_gateway_mode=far": mesh_gateway_mode "far" is not none, local or remote"#,
        ),
        (
            "web.svc.x:1",
            r#"upstream "web.svc.x:1": label "web.svc.x" is not known, expected SERVICE.svc or SERVICE.svc.DC.dc"#,
        ),
        (
            "prepared_query:q:1",
            r#"upstream "prepared_query:q:1": prepared queries are not supported as upstreams"#,
        ),
        (
            "web.svc.east.peer:1",
            r#"upstream "web.svc.east.peer:1": cluster peers are not supported as upstreams"#,
        ),
        (
            "web.svc.one.ap:1",
            r#"upstream "web.svc.one.ap:1": admin partitions are a Consul Enterprise feature and not supported"#,
        ),
        (
            "web.svc.a.ns:1",
            r#"upstream "web.svc.a.ns:1": namespaces are a Consul Enterprise feature and not supported"#,
        ),
    ] {
        assert_eq!(refused(text), message);
    }
}

#[test]
fn one_address_and_port_serves_one_upstream() {
    assert_eq!(
        refused("web:5000,api:5000"),
        r#"upstream "api:5000": 127.0.0.1:5000 is already taken by upstream "web:5000""#
    );
    assert_eq!(
        refused("web:5000:local_bind_address=0.0.0.0 api:5000"),
        r#"upstream "api:5000": 127.0.0.1:5000 is already taken by upstream "web:5000:local_bind_address=0.0.0.0""#
    );
    assert!(parse("web:5000 api:5000:local_bind_address=127.0.0.2").is_ok());
}

#[test]
fn the_environment_name_is_upper_case_with_underscores() {
    assert_eq!(upstream("japan-app.v2", 1).env_name(), "JAPAN_APP_V2");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s).{0,80}") {
        drop(parse(&text));
    }

    #[test]
    fn nothing_near_the_grammar_makes_it_panic(text in "[a-c.:=?&;, \n01-9]{0,40}|(a|svc|dc|peer|ns|ap|[.:?=&;]|local_bind_address|9){0,16}") {
        drop(parse(&text));
    }

    #[test]
    fn what_is_printed_is_read_back(
        service in "[a-z0-9_-]{1,20}",
        datacenter in prop::option::of("[a-z0-9_-]{1,10}"),
        bind_address in any::<IpAddr>(),
        bind_port in 1u16..,
        mode in prop::option::of(prop_oneof![
            Just(MeshGatewayMode::None), Just(MeshGatewayMode::Local), Just(MeshGatewayMode::Remote)
        ]),
    ) {
        let upstream =
            Upstream { service, datacenter, bind_address, bind_port, mesh_gateway_mode: mode };
        prop_assert_eq!(upstream.to_string().parse::<Upstream>().unwrap(), upstream);
    }
}
