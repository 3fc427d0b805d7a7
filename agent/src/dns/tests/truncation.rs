//! Answers that are larger than the client can take.

use super::*;

fn answer(state: &State, zone: &Zone, request: &Message, transport: Transport) -> (usize, Message) {
    let bytes = exchange(state, zone, request, transport);
    (bytes.len(), Message::from_vec(&bytes).unwrap())
}

#[test]
fn without_edns_an_answer_has_as_many_records_as_configured() {
    let (state, mut zone) = (many(20), zone());
    let request = query("many.service.consul.", RecordType::A);
    assert_eq!(ask(&state, &zone, &request).answers.len(), 3);
    zone.settings.udp_answer_limit = 5;
    assert_eq!(ask(&state, &zone, &request).answers.len(), 5);
    zone.settings.udp_answer_limit = 100;
    assert_eq!(ask(&state, &zone, &request).answers.len(), 8);
}

#[test]
fn a_record_limit_holds_for_addresses_only() {
    let (state, mut zone) = (many(20), zone());
    zone.settings.a_record_limit = 2;
    let addresses = with_edns(query("many.service.consul.", RecordType::A), 4096);
    assert_eq!(ask(&state, &zone, &addresses).answers.len(), 2);
    let services = with_edns(query("many.service.consul.", RecordType::SRV), 4096);
    assert_eq!(ask(&state, &zone, &services).answers.len(), 20);
}

#[test]
fn answers_fill_the_size_that_the_client_takes_and_no_more() {
    // Header 12, question 21 + 4, OPT 11, and 16 bytes per address.
    let (state, zone) = (many(100), zone());
    for (payload, answers) in [(512, 3), (513, 29), (527, 29), (528, 30), (1232, 74), (4096, 100)] {
        let request = with_edns(query("many.service.consul.", RecordType::A), payload);
        let (size, message) = answer(&state, &zone, &request, Transport::Udp);
        assert_eq!(message.answers.len(), answers, "{payload}");
        assert!(size <= usize::from(payload));
        assert!(!message.metadata.truncation);
    }
}

#[test]
fn the_tc_bit_is_set_only_when_enabled() {
    let (state, mut zone) = (many(100), zone());
    zone.settings.enable_truncate = true;
    let request = query("many.service.consul.", RecordType::A);
    let cut = |request: &Message| ask(&state, &zone, request).metadata.truncation;
    assert!(cut(&request));
    assert!(cut(&with_edns(request.clone(), 600)));
    assert!(!cut(&with_edns(request, 4096)));
}

#[test]
fn answers_are_left_out_together_with_their_additional_records() {
    let (state, zone) = (many(100), zone());
    let request = with_edns(query("many.service.consul.", RecordType::SRV), 1232);
    let (size, message) = answer(&state, &zone, &request, Transport::Udp);
    assert!((1100..=1232).contains(&size), "{size}");
    assert_eq!(message.answers.len(), message.additionals.len());
    for (service, address) in message.answers.iter().zip(&message.additionals) {
        assert!(service.data.to_string().ends_with(&address.name.to_string()));
    }
}

#[test]
fn additional_records_are_left_out_before_the_last_answer() {
    let mut state = State::default();
    let meta: BTreeMap<String, String> =
        (0..10).map(|key| (format!("key-{key}"), "v".repeat(100))).collect();
    register(
        &mut state,
        json!({"Node": "fat", "Address": "10.0.0.1", "NodeMeta": meta,
            "Service": {"ID": "s", "Service": "s", "Port": 1}}),
    );
    let message = ask(&state, &zone(), &query("s.service.consul.", RecordType::SRV));
    assert_eq!((message.answers.len(), message.additionals.len()), (1, 0));
}

#[test]
fn over_tcp_everything_up_to_64_kib_is_answered() {
    let (state, zone) = (many(5000), zone());
    let addresses = query("many.service.consul.", RecordType::A);
    let (size, message) = answer(&state, &zone, &addresses, Transport::Tcp);
    assert_eq!(message.answers.len(), 4093, "{size}");
    let services = query("many.service.consul.", RecordType::SRV);
    let (_, message) = answer(&state, &zone, &services, Transport::Tcp);
    assert!((700..=1024).contains(&message.answers.len()), "{}", message.answers.len());
}

#[test]
fn names_are_compressed_unless_disabled() {
    let (state, mut zone) = (many(3), zone());
    let request = query("many.service.consul.", RecordType::A);
    let size = |zone: &Zone| answer(&state, zone, &request, Transport::Udp).0;
    assert_eq!(size(&zone), 12 + 25 + 3 * 16);
    zone.settings.disable_compression = true;
    assert_eq!(size(&zone), 12 + 25 + 3 * (21 + 14));
}

#[test]
fn meta_longer_than_a_string_is_split() {
    let mut state = State::default();
    register(
        &mut state,
        json!({"Node": "n", "Address": "10.0.0.1", "NodeMeta": {"key": "v".repeat(512)}}),
    );
    let request = with_edns(query("n.node.consul.", RecordType::TXT), 4096);
    let message = ask(&state, &zone(), &request);
    let hickory_proto::rr::RData::TXT(txt) = &message.answers[0].data else { panic!() };
    assert_eq!(txt.txt_data.iter().map(|s| s.len()).collect::<Vec<_>>(), [255, 255, 6]);
}
