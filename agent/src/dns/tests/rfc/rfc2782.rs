//! RFC 2782: SRV records. The RFC's paragraphs have names instead of numbers.

use super::*;

/// "The format of the SRV RR": `_Service._Proto.Name`, in any case.
#[test]
fn format_the_name_has_a_service_and_a_protocol() {
    for name in ["_web._tcp.service.consul.", "_WEB._TCP.consul.", "_web._rails.dc1.consul."] {
        let answer = ask(&catalog(), &zone(), &query(name, RecordType::SRV));
        assert_eq!(answer.answers.len(), 1, "{name}");
        assert_eq!(answer.answers[0].data.to_string(), "1 1 80 Foo.node.dc1.consul.", "{name}");
    }
}

/// "Priority", "Weight", "Port", "Target": four fields. COMPAT: the priority is always 1.
#[test]
fn format_weight_and_port_are_the_instances() {
    let mut state = State::default();
    register(
        &mut state,
        json!({"Node": "n", "Address": "10.0.0.1", "Service": {"ID": "s", "Service": "s",
            "Port": 65535, "Weights": {"Passing": 65535, "Warning": 1}}}),
    );
    check_in(
        &state,
        &zone(),
        "s.service.consul SRV",
        "NoError rd,aa\nanswer s.service.consul. 0 IN SRV 1 65535 65535 n.node.dc1.consul.\n\
         additional n.node.dc1.consul. 0 IN A 10.0.0.1",
    );
}

/// "Target": the name in the record is not compressed.
#[test]
fn target_is_spelled_out() {
    let answer = raw(&packet("web.service.consul.", RecordType::SRV)).unwrap();
    let target = b"\x03Foo\x04node\x03dc1\x06consul\0";
    assert!(answer.windows(target.len()).any(|bytes| bytes == target));
}

/// "Target": addresses of the target belong into the additional section, once per target.
#[test]
fn target_addresses_are_additional() {
    let mut state = State::default();
    for (id, port) in [("a", 1), ("b", 2)] {
        register(
            &mut state,
            json!({"Node": "n", "Address": "10.0.0.1",
                "Service": {"ID": id, "Service": "s", "Port": port}}),
        );
    }
    let answer = ask(&state, &zone(), &query("s.service.consul.", RecordType::SRV));
    assert_eq!((answer.answers.len(), answer.additionals.len()), (2, 1));
    assert_eq!(answer.additionals[0].to_string(), "n.node.dc1.consul. 0 IN A 10.0.0.1");
}

/// "Target": every target leads to an address when it is asked for in turn.
#[test]
fn target_can_be_asked_for() {
    for (name, address) in [
        ("web", "10.1.0.1"),
        ("web6", "fd00::6"),
        ("hello-consul-web-server-nginx", "192.168.3.38"),
    ] {
        let request = query(&format!("{name}.service.consul."), RecordType::SRV);
        let answer = ask(&catalog(), &zone(), &request);
        let target = answer.additionals[0].name.to_string();
        let found = ask(&catalog(), &zone(), &query(&target, RecordType::ANY));
        assert_eq!(found.answers[0].data.to_string(), address, "{target}");
    }
}

/// "Target": the root means that the service is decidedly not there. An instance whose address is
/// the root, or no name at all, is left out instead, and the others are answered.
#[test]
fn target_is_never_the_root() {
    for address in [".", "a..b", &"x".repeat(64)] {
        let mut state = State::default();
        register(
            &mut state,
            json!({"Node": "n", "Address": "10.0.0.1",
                "Service": {"ID": "bad", "Service": "s", "Address": address, "Port": 1}}),
        );
        check_in(&state, &zone(), "s.service.consul SRV", "NoError rd,aa\nSOA!");
        register(
            &mut state,
            json!({"Node": "n", "Address": "10.0.0.1",
                "Service": {"ID": "good", "Service": "s", "Port": 2}}),
        );
        check_in(
            &state,
            &zone(),
            "s.service.consul SRV",
            "NoError rd,aa\nanswer s.service.consul. 0 IN SRV 1 1 2 n.node.dc1.consul.\n\
             additional n.node.dc1.consul. 0 IN A 10.0.0.1",
        );
    }
}

/// "Target": a host name is absolute, with or without a dot at its end.
#[test]
fn target_may_be_a_host_name() {
    for address in ["db.example.com", "db.example.com."] {
        let mut state = State::default();
        register(
            &mut state,
            json!({"Node": "n", "Address": "10.0.0.1",
                "Service": {"ID": "s", "Service": "s", "Address": address, "Port": 1}}),
        );
        check_in(
            &state,
            &zone(),
            "s.service.consul SRV",
            "NoError rd,aa\nanswer s.service.consul. 0 IN SRV 1 1 1 db.example.com.",
        );
    }
}
