//! What is answered to which question, by kind of name (Consul "DNS Interface").

use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use serde_json::json;

use super::*;

#[test]
fn a_node_answers_with_its_address_and_meta() {
    check(
        "foo.node.consul A",
        "NoError rd,aa\nanswer foo.node.consul. 0 IN A 10.1.0.1\n\
         additional foo.node.consul. 0 IN TXT consul-network-segment=",
    );
}

#[test]
fn node_names_may_have_dots_and_any_case() {
    check(
        "FRONT.workshop.Example.NODE.dc1.Consul A",
        "NoError rd,aa\nanswer FRONT.workshop.Example.NODE.dc1.Consul. 0 IN A 192.168.100.101\n\
         additional FRONT.workshop.Example.NODE.dc1.Consul. 0 IN TXT rack=7\n\
         additional FRONT.workshop.Example.NODE.dc1.Consul. 0 IN TXT bare",
    );
}

#[test]
fn node_meta_is_the_answer_to_txt_and_part_of_the_answer_to_any() {
    check(
        "front.workshop.example.node.consul TXT",
        "NoError rd,aa\nanswer front.workshop.example.node.consul. 0 IN TXT rack=7\n\
         answer front.workshop.example.node.consul. 0 IN TXT bare",
    );
    check(
        "foo.node.consul ANY",
        "NoError rd,aa\nanswer foo.node.consul. 0 IN A 10.1.0.1\n\
         answer foo.node.consul. 0 IN TXT consul-network-segment=",
    );
}

#[test]
fn node_meta_can_be_left_out_of_address_answers() {
    let mut zone = zone();
    zone.settings.node_meta_txt = false;
    check_in(
        &catalog(),
        &zone,
        "foo.node.consul A",
        "NoError rd,aa\nanswer foo.node.consul. 0 IN A 10.1.0.1",
    );
}

#[test]
fn a_node_without_an_address_of_the_type_is_nodata_without_soa() {
    check("foo.node.consul AAAA", "NoError rd,aa");
    check("six.node.consul A", "NoError rd,aa");
    check("six.node.consul AAAA", "NoError rd,aa\nanswer six.node.consul. 0 IN AAAA fd00::6");
}

#[test]
fn unknown_names_are_nxdomain_with_soa() {
    for name in [
        "nobody.node.consul A",
        "nobody.service.consul A",
        "nobody.service.consul SRV",
        "nobody.connect.consul A",
        "nobody.ingress.consul A",
        "nobody.query.consul A",
        "web.service.dc2.consul A",
        "foo.node.dc2.consul A",
        "web.service.consul.consul A",
        "web.service.a.b.consul A",
        "web.service.dc1.peer.consul A",
        "web.wrong.consul A",
        "service.consul A",
        "consul A",
        "zz000001.addr.consul A",
        "0a01.addr.consul A",
    ] {
        check(name, "NXDomain rd,aa\nSOA!");
    }
}

#[test]
fn only_healthy_instances_answer() {
    check("web.service.consul A", "NoError rd,aa\nanswer web.service.consul. 0 IN A 10.1.0.1");
    let mut state = catalog();
    register(
        &mut state,
        json!({"Node": "foo", "SkipNodeUpdate": true,
            "Check": {"CheckID": "disk", "Name": "disk", "Status": "critical"}}),
    );
    check_in(&state, &zone(), "web.service.consul A", "NXDomain rd,aa\nSOA!");
}

#[test]
fn instances_with_warnings_answer_unless_only_passing_do() {
    let mut state = catalog();
    register(
        &mut state,
        json!({"Node": "foo", "SkipNodeUpdate": true, "Check": {"CheckID": "load",
            "Name": "load", "Status": "warning", "ServiceID": "web"}}),
    );
    let answer = "NoError rd,aa\nanswer web.service.consul. 0 IN A 10.1.0.1";
    check_in(&state, &zone(), "web.service.consul A", answer);
    let mut zone = zone();
    zone.settings.only_passing = true;
    check_in(&state, &zone, "web.service.consul A", "NXDomain rd,aa\nSOA!");
}

#[test]
fn a_service_can_be_asked_for_by_tag() {
    for (name, owner) in [
        ("rails.web.service.consul A", "rails.web.service.consul."),
        ("RAILS.Web.service.dc1.consul A", "RAILS.Web.service.dc1.consul."),
        ("v1.2.web.service.consul A", "v1.2.web.service.consul."),
        ("_web._rails.service.consul A", "_web._rails.service.consul."),
        ("_web._tcp.service.consul A", "_web._tcp.service.consul."),
        ("web.service.dc1.dc.consul A", "web.service.dc1.dc.consul."),
    ] {
        check(name, &format!("NoError rd,aa\nanswer {owner} 0 IN A 10.1.0.1"));
    }
    check("other.web.service.consul A", "NXDomain rd,aa\nSOA!");
}

#[test]
fn a_type_that_a_live_service_does_not_have_is_nodata_with_soa() {
    check("web.service.consul AAAA", "NoError rd,aa\nSOA!");
    check("web.service.consul MX", "NoError rd,aa\nSOA!");
    check("web6.service.consul A", "NoError rd,aa\nSOA!");
}

#[test]
fn any_answers_with_addresses() {
    check(
        "consul.service.consul ANY",
        "NoError rd,aa\nanswer consul.service.consul. 0 IN A 10.1.0.1",
    );
}

#[test]
fn srv_points_to_the_node_of_an_instance_without_address() {
    for name in
        ["web.service.consul", "_web._tcp.service.consul", "_web._tcp.consul", "_web._rails.consul"]
    {
        check(
            &format!("{name} SRV"),
            &format!(
                "NoError rd,aa\nanswer {name}. 0 IN SRV 1 1 80 Foo.node.dc1.consul.\n\
                 additional Foo.node.dc1.consul. 0 IN A 10.1.0.1\n\
                 additional Foo.node.dc1.consul. 0 IN TXT consul-network-segment="
            ),
        );
    }
    check("_web._tcp.consul A", "NXDomain rd,aa\nSOA!");
}

#[test]
fn srv_points_to_the_address_of_an_instance_even_without_port() {
    check(
        "hello-consul-web-server-nginx.service.consul. SRV",
        "NoError rd,aa\n\
         answer hello-consul-web-server-nginx.service.consul. 0 IN SRV 1 1 0 c0a80326.addr.dc1.consul.\n\
         additional c0a80326.addr.dc1.consul. 0 IN A 192.168.3.38\n\
         additional Foo.node.dc1.consul. 0 IN TXT consul-network-segment=",
    );
}

#[test]
fn srv_weights_follow_health() {
    let mut state = State::default();
    register(
        &mut state,
        json!({"Node": "foo", "Address": "10.0.0.1",
            "Service": {"ID": "w", "Service": "w", "Port": 1,
                "Weights": {"Passing": 10, "Warning": 2}}}),
    );
    let weight = |state: &State| {
        let answer = ask(state, &zone(), &query("w.service.consul.", RecordType::SRV));
        answer.answers[0].data.to_string()
    };
    assert_eq!(weight(&state), "1 10 1 foo.node.dc1.consul.");
    register(
        &mut state,
        json!({"Node": "foo", "SkipNodeUpdate": true,
            "Check": {"CheckID": "c", "Name": "c", "Status": "warning", "ServiceID": "w"}}),
    );
    assert_eq!(weight(&state), "1 2 1 foo.node.dc1.consul.");
}

#[test]
fn connect_answers_with_the_proxies_of_a_service() {
    check("web.connect.consul A", "NoError rd,aa\nanswer web.connect.consul. 0 IN A 10.1.0.1");
    check(
        "web.connect.consul SRV",
        "NoError rd,aa\nanswer web.connect.consul. 0 IN SRV 1 1 21000 Foo.node.dc1.consul.\n\
         additional Foo.node.dc1.consul. 0 IN A 10.1.0.1\n\
         additional Foo.node.dc1.consul. 0 IN TXT consul-network-segment=",
    );
}

#[test]
fn names_can_spell_addresses() {
    check(
        "c0a80326.addr.dc1.consul A",
        "NoError rd,aa\nanswer c0a80326.addr.dc1.consul. 0 IN A 192.168.3.38",
    );
    check(
        "fd000000000000000000000000000006.addr.consul AAAA",
        "NoError rd,aa\n\
         answer fd000000000000000000000000000006.addr.consul. 0 IN AAAA fd00::6",
    );
    check(
        "c0a80326.addr.consul AAAA",
        "NoError rd,aa\nadditional c0a80326.addr.consul. 0 IN A 192.168.3.38",
    );
}

#[test]
fn a_service_without_a_virtual_address_is_nodata_without_soa() {
    check("web.virtual.consul A", "NoError rd,aa");
}

#[test]
fn ptr_names_the_node_of_an_address_or_else_its_services() {
    check(
        "1.0.1.10.in-addr.arpa PTR",
        "NoError rd,aa\nanswer 1.0.1.10.in-addr.arpa. 0 IN PTR Foo.node.dc1.consul.",
    );
    check(
        "38.3.168.192.in-addr.arpa PTR",
        "NoError rd,aa\nanswer 38.3.168.192.in-addr.arpa. 0 IN PTR \
         hello-consul-web-server-nginx.service.dc1.consul.",
    );
    check("9.9.9.9.in-addr.arpa PTR", "NXDomain rd,aa\nSOA!");
    check("1.10.in-addr.arpa PTR", "NXDomain rd,aa\nSOA!");
    let six = format!("6.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
    check(
        &format!("{six} PTR"),
        &format!("NoError rd,aa\nanswer {six}. 0 IN PTR six.node.dc1.consul."),
    );
}

#[test]
fn soa_and_ns_describe_the_domain() {
    let server = "authority consul. 0 IN NS Foo.node.dc1.consul.";
    check(
        "consul SOA",
        &format!(
            "NoError rd,aa\n{}\n{server}\nadditional Foo.node.dc1.consul. 0 IN A 10.1.0.1",
            SOA.replace("authority", "answer")
        ),
    );
    check(
        "anything.consul NS",
        "NoError rd,aa\nanswer consul. 0 IN NS Foo.node.dc1.consul.\n\
         additional Foo.node.dc1.consul. 0 IN A 10.1.0.1",
    );
}

#[test]
fn at_most_three_name_servers_are_named() {
    let mut state = State::default();
    for server in 1..=5 {
        register(
            &mut state,
            json!({"Node": format!("s{server}"), "Address": format!("10.0.0.{server}"),
                "Service": {"ID": "consul", "Service": "consul"}}),
        );
    }
    let answer = ask(&state, &zone(), &query("consul.", RecordType::NS));
    assert_eq!((answer.answers.len(), answer.additionals.len()), (3, 3));
}

#[test]
fn transfers_are_not_implemented_and_other_domains_refused() {
    check("consul AXFR", "NotImp rd");
    check("foo A", "Refused rd");
    check("example.com A", "Refused rd");
}

#[test]
fn host_names_as_addresses_become_aliases() {
    check(
        "outside.node.consul A",
        "NoError rd,aa\nanswer outside.node.consul. 0 IN CNAME db.example.com.",
    );
    check(
        "db.service.consul A",
        "NoError rd,aa\nanswer db.service.consul. 0 IN CNAME db.example.com.",
    );
    check(
        "db.service.consul SRV",
        "NoError rd,aa\nanswer db.service.consul. 0 IN SRV 1 1 5432 db.example.com.",
    );
}

#[test]
fn aliases_into_the_domain_are_followed() {
    check(
        "inside.node.consul A",
        "NoError rd,aa\nanswer inside.node.consul. 0 IN CNAME web.service.consul.\n\
         answer web.service.consul. 0 IN A 10.1.0.1",
    );
}

#[test]
fn an_alias_of_itself_is_answered_once() {
    let mut state = State::default();
    register(&mut state, json!({"Node": "loop", "Address": "loop.node.consul"}));
    check_in(
        &state,
        &zone(),
        "loop.node.consul A",
        "NoError rd,aa\nanswer loop.node.consul. 0 IN CNAME loop.node.consul.",
    );
}

#[test]
fn aliases_of_each_other_are_answered_once_each() {
    let mut state = State::default();
    register(&mut state, json!({"Node": "a", "Address": "b.node.consul"}));
    register(&mut state, json!({"Node": "b", "Address": "A.node.consul"}));
    check_in(
        &state,
        &zone(),
        "a.node.consul A",
        "NoError rd,aa\nanswer a.node.consul. 0 IN CNAME b.node.consul.\n\
         answer b.node.consul. 0 IN CNAME A.node.consul.",
    );
}

#[test]
fn an_srv_target_that_is_an_alias_of_itself_is_answered_without_address() {
    let mut state = State::default();
    register(
        &mut state,
        json!({"Node": "loop", "Address": "loop.node.consul",
            "Service": {"ID": "s", "Service": "s", "Port": 1}}),
    );
    check_in(
        &state,
        &zone(),
        "s.service.consul SRV",
        "NoError rd,aa\nanswer s.service.consul. 0 IN SRV 1 1 1 loop.node.consul.\n\
         additional loop.node.consul. 0 IN CNAME loop.node.consul.",
    );
}

#[test]
fn times_to_live_are_configured_by_name_and_prefix() {
    let mut zone = zone();
    zone.settings.node_ttl = Duration::from_secs(30);
    zone.settings.service_ttl = [("web", 5), ("db-*", 10), ("db-m*", 11), ("*", 60)]
        .map(|(key, seconds)| (key.to_owned(), Duration::from_secs(seconds)))
        .into();
    assert_eq!(
        ["web", "db-a", "db-master", "other"].map(|name| zone.service_ttl(name)),
        [5, 10, 11, 60]
    );
    let state = catalog();
    check_in(
        &state,
        &zone,
        "web.service.consul A",
        "NoError rd,aa\nanswer web.service.consul. 5 IN A 10.1.0.1",
    );
    let answer = ask(&state, &zone, &query("foo.node.consul.", RecordType::A));
    assert_eq!(answer.answers[0].ttl, 30);
}

#[test]
fn the_alternative_domain_answers_in_its_own_name() {
    let mut zone = zone();
    zone.alt_domain = Some(Name::from_ascii("mesh.test.").unwrap());
    check_in(
        &catalog(),
        &zone,
        "hello-consul-web-server-nginx.service.mesh.test SRV",
        "NoError rd,aa\nanswer hello-consul-web-server-nginx.service.mesh.test. 0 IN SRV 1 1 0 \
         c0a80326.addr.dc1.mesh.test.\n\
         additional c0a80326.addr.dc1.mesh.test. 0 IN A 192.168.3.38\n\
         additional Foo.node.dc1.mesh.test. 0 IN TXT consul-network-segment=",
    );
    let answer = ask(&catalog(), &zone, &query("no.node.mesh.test.", RecordType::A));
    assert_eq!(answer.authorities[0].name.to_string(), "mesh.test.");
}

#[test]
fn answers_come_in_more_than_one_order_and_without_duplicates() {
    let mut state = State::default();
    for (node, address) in [("a", 1), ("b", 2), ("c", 3)] {
        for id in ["x", "y"] {
            register(
                &mut state,
                json!({"Node": node, "Address": format!("10.0.0.{address}"),
                    "Service": {"ID": id, "Service": "many", "Port": 80}}),
            );
        }
    }
    let request = query("many.service.consul.", RecordType::A).to_vec().unwrap();
    let mut rng = SmallRng::seed_from_u64(7);
    let mut orders = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let answer = reply(&request, Transport::Udp, &state, &zone(), &mut rng).unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.answers.len(), 3);
        orders.insert(answer.answers.iter().map(|r| r.data.to_string()).collect::<Vec<_>>());
    }
    assert!(orders.len() > 1, "{orders:?}");
}
