//! Packets that are not plain queries, and any bytes at all.

use hickory_proto::{
    op::{Header, MessageType, OpCode, ResponseCode},
    rr::{
        DNSClass,
        rdata::opt::{ClientSubnet, EdnsCode, EdnsOption},
    },
    serialize::binary::{BinDecodable, BinDecoder},
};
use proptest::prelude::*;

use super::*;

fn handle(packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    reply(packet, transport, &catalog(), &zone(), &mut SmallRng::seed_from_u64(1))
}

fn code(packet: &[u8]) -> Option<ResponseCode> {
    let answer = handle(packet, Transport::Udp)?;
    Some(Header::read(&mut BinDecoder::new(&answer)).unwrap().metadata.response_code)
}

#[test]
fn responses_and_packets_without_a_header_are_ignored() {
    assert_eq!(code(b""), None);
    assert_eq!(code(&[0; 11]), None);
    let mut answer = query("foo.node.consul.", RecordType::A);
    answer.metadata.message_type = MessageType::Response;
    assert_eq!(code(&answer.to_vec().unwrap()), None);
}

#[test]
fn unreadable_queries_are_format_errors_with_their_id() {
    let mut packet = query("foo.node.consul.", RecordType::A).to_vec().unwrap();
    packet.truncate(20);
    assert_eq!(code(&packet), Some(ResponseCode::FormErr));
    assert_eq!(handle(&packet, Transport::Udp).unwrap()[..2], packet[..2]);
    assert_eq!(code(&[0; 12]), Some(ResponseCode::FormErr));
    let mut two = query("foo.node.consul.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(code(&two.to_vec().unwrap()), Some(ResponseCode::FormErr));
}

#[test]
fn other_operations_are_not_implemented() {
    for operation in [OpCode::Notify, OpCode::Update, OpCode::Status] {
        let mut message = query("foo.node.consul.", RecordType::A);
        message.metadata.op_code = operation;
        assert_eq!(code(&message.to_vec().unwrap()), Some(ResponseCode::NotImp), "{operation:?}");
    }
}

#[test]
fn other_classes_are_refused() {
    let mut message = query("version.bind.", RecordType::TXT);
    message.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&message.to_vec().unwrap()), Some(ResponseCode::Refused));
}

#[test]
fn edns_is_repeated_with_scope_zero() {
    let mut message = with_edns(query("foo.node.consul.", RecordType::A), 1232);
    let subnet = ClientSubnet::new("198.51.100.0".parse().unwrap(), 24, 0);
    let edns = message.edns.as_mut().unwrap();
    edns.options_mut().insert(EdnsOption::Subnet(subnet));
    let answer = ask(&catalog(), &zone(), &message);
    let edns = answer.edns.unwrap();
    assert_eq!(edns.max_payload(), 1232);
    assert_eq!(edns.option(EdnsCode::Subnet), Some(&EdnsOption::Subnet(subnet)));
    assert!(ask(&catalog(), &zone(), &query("foo.node.consul.", RecordType::A)).edns.is_none());
}

#[test]
fn other_edns_versions_are_bad_versions() {
    let mut message = with_edns(query("foo.node.consul.", RecordType::A), 1232);
    message.edns.as_mut().unwrap().set_version(1);
    let answer = ask(&catalog(), &zone(), &message);
    assert_eq!(u16::from(answer.metadata.response_code), 16);
    assert_eq!(answer.edns.unwrap().version(), 0);
}

#[test]
fn letters_of_the_question_are_repeated_as_they_were() {
    let answer = ask(&catalog(), &zone(), &query("wEb.SERVICE.cOnSuL.", RecordType::A));
    assert_eq!(answer.answers[0].name.to_string(), "wEb.SERVICE.cOnSuL.");
    assert_eq!(answer.queries[0].name().to_string(), "wEb.SERVICE.cOnSuL.");
}

fn labels() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let known = prop::sample::select(vec![
        "web", "foo", "node", "service", "addr", "connect", "query", "dc", "dc1", "consul", "arpa",
        "in-addr", "ip6", "_web", "_tcp", "0a000001", "1", "virtual", "ingress", "peer",
    ]);
    let label = prop_oneof![
        4 => known.prop_map(|label| label.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..=63),
    ];
    prop::collection::vec(label, 0..12)
}

proptest! {
    #[test]
    fn any_bytes_are_handled(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Some(answer) = handle(&packet, Transport::Udp) {
            Message::from_vec(&answer).unwrap();
        }
    }

    #[test]
    fn any_damage_to_a_query_is_handled(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        payload in any::<u16>(),
    ) {
        let mut packet = with_edns(query("web.service.consul.", RecordType::SRV), payload)
            .to_vec().unwrap();
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        if let Some(answer) = handle(&packet, Transport::Udp) {
            Message::from_vec(&answer).unwrap();
        }
    }

    #[test]
    fn any_name_and_type_get_an_answer_that_parses_and_fits(
        labels in labels(),
        in_domain in any::<bool>(),
        qtype in any::<u16>(),
        payload in prop::option::of(any::<u16>()),
    ) {
        let domain = in_domain.then(|| b"consul".to_vec());
        let labels = labels.iter().chain(&domain).map(Vec::as_slice);
        let Ok(name) = Name::from_labels(labels) else { return Ok(()) };
        let mut message = Message::query();
        message.add_query(Query::query(name, RecordType::from(qtype)));
        if let Some(payload) = payload {
            message = with_edns(message, payload);
        }
        let Ok(packet) = message.to_vec() else { return Ok(()) };
        let answer = handle(&packet, Transport::Udp).unwrap();
        prop_assert!(answer.len() <= usize::from(payload.unwrap_or(512).max(512)));
        Message::from_vec(&answer).unwrap();
    }
}
