//! What the tests of DNS share: a small catalog, and answers as text.

mod answers;
mod both_ways;
mod exchange;
mod metrics;
mod names;
mod packets;
mod recursion;
mod rfc;
mod truncation;

use std::{collections::BTreeMap, time::Duration};

use hickory_proto::{
    op::{Edns, Message, Query},
    rr::{Name, Record, RecordType},
};
use lictor_config::runtime::{Dns, Soa};
use lictor_core::{
    fsm::{self, Command},
    state::{State, watch::Touched},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

use super::{
    Zone, direct,
    general::{self, Environment, Outcome},
    query::{self, Packet},
    truncate::{self, Transport},
};

const NOW: u32 = 1_700_000_000;

fn zone() -> Zone {
    Zone {
        domain: Name::from_ascii("consul.").unwrap(),
        alt_domain: None,
        datacenter: "dc1".to_owned(),
        wan: false,
        settings: Dns {
            node_ttl: Duration::ZERO,
            service_ttl: BTreeMap::new(),
            only_passing: false,
            enable_truncate: false,
            udp_answer_limit: 3,
            a_record_limit: 0,
            disable_compression: false,
            node_meta_txt: true,
            soa: Soa { refresh: 3600, retry: 600, expire: 86400, min_ttl: 0 },
            recursors: Vec::new(),
            recursor_timeout: Duration::from_secs(2),
            recursor_random: false,
        },
    }
}

fn register(state: &mut State, request: Value) {
    let request = Command::Register(Box::new(serde_json::from_value(request).unwrap()));
    let index = state.index + 1;
    let response = fsm::apply(state, index, request, &mut Touched::default());
    assert_eq!(response, fsm::Response::Done);
}

/// Two nodes with the service web (one healthy, one critical), and one of everything else.
fn catalog() -> State {
    let mut state = State::default();
    let mut add = |request| register(&mut state, request);
    add(json!({"Node": "Foo", "Address": "10.1.0.1", "Datacenter": "dc1",
        "NodeMeta": {"consul-network-segment": ""},
        "Service": {"ID": "consul", "Service": "consul", "Port": 8300}}));
    add(json!({"Node": "Foo", "Address": "10.1.0.1", "SkipNodeUpdate": true,
        "Service": {"ID": "web", "Service": "web", "Tags": ["rails", "v1.2"], "Port": 80}}));
    add(json!({"Node": "Foo", "SkipNodeUpdate": true,
        "Service": {"ID": "web-proxy", "Service": "web-sidecar-proxy", "Kind": "connect-proxy",
            "Port": 21000, "Proxy": {"DestinationServiceName": "web"}}}));
    add(json!({"Node": "Foo", "SkipNodeUpdate": true,
        "Service": {"ID": "nginx", "Service": "hello-consul-web-server-nginx",
            "Address": "192.168.3.38"}}));
    add(json!({"Node": "bar", "Address": "10.1.0.2",
        "Service": {"ID": "web", "Service": "web", "Port": 81},
        "Check": {"CheckID": "alive", "Name": "alive", "Status": "critical", "ServiceID": "web"}}));
    add(json!({"Node": "front.workshop.example", "Address": "192.168.100.101",
        "NodeMeta": {"rfc1035-note": "bare", "rack": "7"}}));
    add(json!({"Node": "six", "Address": "fd00::6",
        "Service": {"ID": "web6", "Service": "web6", "Port": 86}}));
    add(json!({"Node": "outside", "Address": "db.example.com",
        "Service": {"ID": "db", "Service": "db", "Port": 5432}}));
    add(json!({"Node": "inside", "Address": "web.service.consul"}));
    state
}

/// Returns a catalog of a service `many` with so many instances, each on a node of its own.
fn many(instances: u32) -> State {
    let mut state = State::default();
    for instance in 0..instances {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + instance).to_string();
        register(
            &mut state,
            json!({"Node": format!("node-{instance}"), "Address": address,
                "Service": {"ID": "many", "Service": "many", "Port": 1000}}),
        );
    }
    state
}

fn query(name: &str, qtype: RecordType) -> Message {
    let mut query = Query::query(Name::from_ascii(name).unwrap(), qtype);
    let mut absolute = query.name().clone();
    absolute.set_fqdn(true);
    query.set_name(absolute);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(query);
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

/// Returns the answer to any packet, `None` if it is ignored. Other datacenters are out of reach.
fn reply(
    packet: &[u8],
    transport: Transport,
    state: &State,
    zone: &Zone,
    rng: &mut impl Rng,
) -> Option<Vec<u8>> {
    let mut out = b"bytes of an earlier answer".to_vec();
    let query = match query::decode(packet) {
        Packet::Query(query) => query,
        Packet::Ignored => return None,
        Packet::Refused(request, code) => {
            truncate::encode_error(&request, code, &mut out).unwrap();
            return Some(out);
        }
    };
    let environment = Environment { state, zone, transport, now: NOW };
    match direct::answer(&query, &query.scope(zone), &environment, rng, &mut out) {
        Ok(Outcome::Send) => {}
        Ok(Outcome::OtherDatacenter { otherwise, .. }) => {
            let request = query.into_message();
            general::finish(&request, *otherwise, Vec::new(), transport, zone, &mut out).unwrap();
        }
        other => panic!("{other:?}"),
    }
    Some(out)
}

/// Returns the answer's bytes, which must be an answer to this very request.
fn exchange(state: &State, zone: &Zone, request: &Message, transport: Transport) -> Vec<u8> {
    let mut rng = SmallRng::seed_from_u64(1);
    let out = reply(&request.to_vec().unwrap(), transport, state, zone, &mut rng).unwrap();
    let answer = Message::from_vec(&out).unwrap();
    assert_eq!(answer.metadata.id, request.metadata.id);
    assert_eq!(answer.queries, request.queries);
    out
}

fn ask(state: &State, zone: &Zone, request: &Message) -> Message {
    Message::from_vec(&exchange(state, zone, request, Transport::Udp)).unwrap()
}

/// Returns flags and rcode on the first line, then the records as `dig` prints them.
fn text(message: &Message) -> String {
    let flags = message.metadata.flags().to_string().to_lowercase();
    let mut lines = vec![format!("{:?} {flags}", message.metadata.response_code)];
    let mut section = |name: &str, records: &[Record]| {
        lines.extend(records.iter().map(|record| format!("{name} {record}")));
    };
    section("answer", &message.answers);
    section("authority", &message.authorities);
    section("additional", &message.additionals);
    lines.join("\n")
}

const SOA: &str =
    "authority consul. 0 IN SOA ns.consul. hostmaster.consul. 1700000000 3600 600 86400 0";

/// Asks the small catalog `<name> <type>`, over UDP and without EDNS.
#[track_caller]
fn check(question: &str, expected: &str) {
    check_in(&catalog(), &zone(), question, expected);
}

#[track_caller]
fn check_in(state: &State, zone: &Zone, question: &str, expected: &str) {
    let (name, qtype) = question.split_once(' ').unwrap();
    let answer = ask(state, zone, &query(name, qtype.parse().unwrap()));
    assert_eq!(text(&answer), expected.replace("SOA!", SOA), "{question}");
}
