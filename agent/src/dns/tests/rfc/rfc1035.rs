//! RFC 1035: the format of messages, and UDP.

use super::*;

/// Section 2.3.3: letters compare without regard to case, and keep their spelling.
#[test]
fn s2_3_3_case_does_not_matter_and_is_preserved() {
    check(
        "WeB.SeRvIcE.dC1.CoNsUl A",
        "NoError rd,aa\nanswer WeB.SeRvIcE.dC1.CoNsUl. 0 IN A 10.1.0.1",
    );
}

/// Section 2.3.4: a label has 63 octets at most.
#[test]
fn s2_3_4_a_label_of_64_octets_is_a_format_error() {
    for (octets, expected) in [(63, NAME_ERROR), (64, FORMAT_ERROR)] {
        let label = "x".repeat(octets);
        let packet = packet_of_labels([label.as_bytes(), b"node", b"consul"]);
        assert_eq!(code(&raw(&packet).unwrap()), expected, "{octets}");
    }
}

/// Section 2.3.4: a name has 255 octets at most, lengths and root included.
#[test]
fn s2_3_4_a_name_of_256_octets_is_a_format_error() {
    let long = [b'x'; 63];
    for (octets, expected) in [(54, NAME_ERROR), (55, FORMAT_ERROR)] {
        let packet = packet_of_labels([&long[..], &long, &long, &long[..octets], b"consul"]);
        assert_eq!(packet.len(), HEADER_BYTES + 201 + octets + 4, "{octets}");
        assert_eq!(code(&raw(&packet).unwrap()), expected, "{octets}");
    }
}

/// Sections 2.3.4 and 4.2.1: a UDP message has 512 octets at most.
#[test]
fn s4_2_1_without_edns_an_answer_has_512_octets_at_most() {
    let mut zone = zone();
    zone.settings.udp_answer_limit = 8;
    for qtype in [RecordType::A, RecordType::SRV, RecordType::ANY] {
        let answer = raw_in(&many(100), &zone, &packet("many.service.consul.", qtype)).unwrap();
        assert!(answer.len() <= 512, "{qtype}: {}", answer.len());
        assert!(!Message::from_vec(&answer).unwrap().answers.is_empty(), "{qtype}");
    }
}

/// Section 3.2.5: QCLASS 255 asks for any class. Section 6.2: its answer is not authoritative.
#[test]
fn s6_2_an_answer_about_any_class_is_not_authoritative() {
    let mut any = packet("web.service.consul.", RecordType::A);
    let class = any.len() - 2;
    any[class..].copy_from_slice(&[0, 255]);
    let answer = raw(&any).unwrap();
    let message = Message::from_vec(&answer).unwrap();
    assert_eq!(message.answers[0].data.to_string(), "10.1.0.1");
    assert_eq!(answer[2] & AA, 0);
}

/// Section 3.2.4: classes without data here are refused.
#[test]
fn s3_2_4_classes_but_the_internet_are_refused() {
    for class in [2, 3, 4, 254] {
        let mut packet = packet("web.service.consul.", RecordType::A);
        *packet.last_mut().unwrap() = class;
        let answer = raw(&packet).unwrap();
        assert_eq!((code(&answer), answer[2] & AA), (REFUSED, 0), "{class}");
    }
}

/// Section 3.3.14: a TXT record is character strings of 255 octets at most (section 3.3).
#[test]
fn s3_3_14_a_long_text_is_several_strings() {
    let mut state = State::default();
    let meta = json!({"rfc1035-text": "v".repeat(300)});
    register(&mut state, json!({"Node": "n", "Address": "10.0.0.1", "NodeMeta": meta}));
    let answer = raw_in(&state, &zone(), &packet("n.node.consul.", RecordType::TXT)).unwrap();
    let data = &answer[answer.len() - 302..];
    assert_eq!((data[0], data[256]), (255, 45));
}

/// Section 3.5: an address of four octets leads back to a name; a part of one does not.
#[test]
fn s3_5_whole_addresses_lead_back_to_names() {
    check(
        "1.0.1.10.IN-ADDR.arpa PTR",
        "NoError rd,aa\nanswer 1.0.1.10.IN-ADDR.arpa. 0 IN PTR Foo.node.dc1.consul.",
    );
    check("0.1.10.in-addr.arpa PTR", "NXDomain rd,aa\nSOA!");
}

/// Section 4.1.1: ID and RD are copied, QR is set, Z is zero; AA, TC and RA are the server's.
#[test]
fn s4_1_1_flags_are_copied_or_set_as_the_header_says() {
    for (name, authoritative) in [
        ("web.service.consul.", AA),
        ("missing.service.consul.", AA),
        ("foo.node.consul.", AA),
        ("example.com.", 0),
    ] {
        for desired in [0, RD] {
            for more in [0, Z, AD, CD, Z | AD | CD] {
                let mut packet = packet(name, RecordType::A);
                (packet[2], packet[3]) = (desired, more);
                let answer = raw(&packet).unwrap();
                assert_eq!(answer[..2], packet[..2], "{name}");
                assert_eq!(answer[2], QR | authoritative | desired, "{name} {more:b}");
                assert_eq!(answer[3] & !0b1111, more & CD, "{name} {more:b}");
            }
        }
    }
}

/// Section 4.1.1: RA says whether recursion is available.
#[test]
fn s4_1_1_recursion_is_available_with_recursors() {
    for name in ["web.service.consul.", "missing.service.consul.", "foo.node.consul."] {
        let packet = packet(name, RecordType::A);
        assert_eq!(raw(&packet).unwrap()[3] & RA, 0, "{name}");
        assert_eq!(raw_in(&catalog(), &recursing(), &packet).unwrap()[3] & RA, RA, "{name}");
    }
}

/// Section 4.1.1: any operation but a standard query is not implemented; its code is copied.
#[test]
fn s4_1_1_other_operations_are_not_implemented() {
    for operation in 1..=15u8 {
        let mut packet = packet("web.service.consul.", RecordType::A);
        packet[2] = operation << 3;
        let answer = raw(&packet).unwrap();
        assert_eq!(answer[..2], packet[..2], "{operation}");
        assert_eq!(answer[2], QR | operation << 3, "{operation}");
        assert_eq!(code(&answer), NOT_IMPLEMENTED, "{operation}");
    }
}

/// Section 4.1.1: responses are not answered, so that two servers do not answer each other.
#[test]
fn s4_1_1_responses_are_ignored() {
    let mut packet = packet("web.service.consul.", RecordType::A);
    packet[2] |= QR;
    assert_eq!(raw(&packet), None);
}

/// Section 4.1.2 and RFC 9619: a query has exactly one question.
#[test]
fn s4_1_2_none_or_several_questions_are_a_format_error() {
    let one = packet("web.service.consul.", RecordType::A);
    let none = [&one[..4], &[0; 8]].concat();
    let two = [&one[..4], &[0, 2, 0, 0, 0, 0, 0, 0], &one[12..], &one[12..]].concat();
    let fewer_than_counted = [&one[..4], &[0, 2], &one[6..]].concat();
    for packet in [none, two, fewer_than_counted] {
        let answer = raw(&packet).unwrap();
        assert_eq!((code(&answer), answer[2] & AA), (FORMAT_ERROR, 0), "{packet:?}");
    }
}

/// Section 4.1.2: the question is repeated, byte for byte.
#[test]
fn s4_1_2_the_question_is_repeated() {
    for qtype in [RecordType::A, RecordType::SRV, RecordType::Unknown(65_280)] {
        let packet = packet("wEb.service.consul.", qtype);
        assert_eq!(raw(&packet).unwrap()[12..packet.len()], packet[12..], "{qtype}");
    }
}

/// Section 4.1.3: the owner of an answer is the name asked for, its class IN, its length exact.
#[test]
fn s4_1_3_an_address_has_four_octets() {
    let packet = packet("foo.node.consul.", RecordType::A);
    let answer = raw(&packet).unwrap();
    let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 1, 0, 1];
    assert_eq!(answer[packet.len()..][..16], record);
}

/// Section 4.1.4: a name may point to an earlier one; pointers that do not end are errors.
#[test]
fn s4_1_4_pointers_that_do_not_end_are_format_errors() {
    let question = |pointer: u8| {
        let header = [0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        [&header[..], b"\x03web\xc0", &[pointer], &[0, 1, 0, 1]].concat()
    };
    for pointer in [12, 16, 18, 200] {
        assert_eq!(code(&raw(&question(pointer)).unwrap()), FORMAT_ERROR, "{pointer}");
    }
}

/// Section 4.1.4: names in answers are compressed, also those of records about other names.
#[test]
fn s4_1_4_additional_names_point_to_earlier_ones() {
    let answer = raw(&packet("consul.", RecordType::NS)).unwrap();
    let message = Message::from_vec(&answer).unwrap();
    assert_eq!(message.additionals[0].name.to_string(), "Foo.node.dc1.consul.");
    let spelled = answer.windows(4).filter(|bytes| bytes == b"\x03Foo").count();
    assert_eq!(spelled, 1);
}

/// Section 4.1.1: a packet without a whole header cannot be answered.
#[test]
fn s4_1_1_less_than_a_header_is_ignored() {
    for octets in 0..HEADER_BYTES {
        assert_eq!(raw(&packet("web.service.consul.", RecordType::A)[..octets]), None, "{octets}");
    }
}

/// Sections 4.1.1 and 4.1.2: a question that cannot be read is a format error, with its ID.
#[test]
fn s4_1_2_a_question_that_is_cut_off_is_a_format_error() {
    let packet = packet("web.service.consul.", RecordType::A);
    for octets in HEADER_BYTES..packet.len() {
        let answer = raw(&packet[..octets]).unwrap();
        assert_eq!((code(&answer), &answer[..2]), (FORMAT_ERROR, &packet[..2]), "{octets}");
    }
}
