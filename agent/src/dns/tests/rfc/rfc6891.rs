//! RFC 6891: EDNS.

use super::*;

/// Bytes of an OPT record without options.
const OPT_BYTES: usize = 11;
const BAD_VERSION: u16 = 16;

/// Returns a query for the address of a node with an OPT record of these fields.
fn with_opt(payload: u16, version: u8, flags: u16, options: &[u8]) -> Vec<u8> {
    let mut packet = packet("foo.node.consul.", RecordType::A);
    packet[11] = 1;
    packet.extend_from_slice(&opt(payload, version, flags, options));
    packet
}

fn opt(payload: u16, version: u8, flags: u16, options: &[u8]) -> Vec<u8> {
    let length = u16::try_from(options.len()).unwrap();
    let fields = [payload.to_be_bytes(), [0, version], flags.to_be_bytes(), length.to_be_bytes()];
    [&[0, 0, 41], &fields.concat()[..], options].concat()
}

/// Section 6.1.1: an answer has an OPT record if the query has one.
#[test]
fn s6_1_1_opt_is_answered_with_opt() {
    for (name, qtype) in [
        ("foo.node.consul.", RecordType::A),
        ("missing.node.consul.", RecordType::A),
        ("web.service.consul.", RecordType::SRV),
        ("example.com.", RecordType::A),
        ("consul.", RecordType::AXFR),
    ] {
        let without = ask(&catalog(), &zone(), &query(name, qtype));
        assert!(without.edns.is_none(), "{name}");
        let with = ask(&catalog(), &zone(), &with_edns(query(name, qtype), 1232));
        assert!(with.edns.is_some(), "{name}");
        assert_eq!(with.metadata.response_code, without.metadata.response_code, "{name}");
    }
}

/// Section 6.1.1: more than one OPT record is a format error.
#[test]
fn s6_1_1_two_opts_are_a_format_error() {
    let mut packet = with_opt(1232, 0, 0, &[]);
    packet[11] = 2;
    packet.extend_from_slice(&opt(1232, 0, 0, &[]));
    assert_eq!(code(&raw(&packet).unwrap()), FORMAT_ERROR);
}

/// Section 6.1.2: options that are unknown are ignored, and not repeated.
#[test]
fn s6_1_2_unknown_options_are_ignored() {
    let answer = raw(&with_opt(1232, 0, 0, &[0xff, 0xf0, 0, 3, 1, 2, 3])).unwrap();
    assert_eq!(code(&answer), NO_ERROR);
    assert_eq!(answer[answer.len() - OPT_BYTES..], opt(1232, 0, 0, &[]));
}

/// Section 6.1.2: an option that is longer than its record is a format error.
#[test]
fn s6_1_2_an_option_that_is_cut_off_is_a_format_error() {
    let answer = raw(&with_opt(1232, 0, 0, &[0xff, 0xf0, 0, 9, 1])).unwrap();
    assert_eq!(code(&answer), FORMAT_ERROR);
}

/// Section 6.1.3: any version but 0 is BADVERS; the answer names version 0 and has no records.
#[test]
fn s6_1_3_other_versions_are_bad_versions() {
    for version in [1, 255] {
        let answer = Message::from_vec(&raw(&with_opt(1232, version, 0, &[])).unwrap()).unwrap();
        assert_eq!(u16::from(answer.metadata.response_code), BAD_VERSION, "{version}");
        assert_eq!(answer.edns.as_ref().unwrap().version(), 0, "{version}");
        let records = answer.answers.len() + answer.authorities.len() + answer.additionals.len();
        assert_eq!((answer.queries.len(), records), (1, 0), "{version}");
    }
}

/// Section 6.1.4: DO is copied (RFC 3225), the other flags are zero.
#[test]
fn s6_1_4_only_the_flag_do_is_copied() {
    for (asked, answered) in [(0, 0), (0x8000, 0x8000), (0x7fff, 0), (0xffff, 0x8000)] {
        let answer = raw(&with_opt(1232, 0, asked, &[])).unwrap();
        assert_eq!(answer[answer.len() - OPT_BYTES..], opt(1232, 0, answered, &[]), "{asked:x}");
    }
}

/// Section 6.2.3: sizes below 512 count as 512.
#[test]
fn s6_2_3_small_sizes_count_as_512() {
    for payload in [0, 1, 511, 512] {
        let request = with_edns(query("many.service.consul.", RecordType::A), payload);
        let answer = ask(&many(20), &zone(), &request);
        assert_eq!(answer.answers.len(), 3, "{payload}");
    }
}

/// Sections 6.2.3 and 6.2.5: an answer is not larger than the size that the client announces.
#[test]
fn s6_2_5_answers_fit_the_announced_size() {
    let state = many(2000);
    for payload in [513, 1232, 1452, 4096, 65_535] {
        for qtype in [RecordType::A, RecordType::SRV] {
            let request = with_edns(query("many.service.consul.", qtype), payload);
            let size = exchange(&state, &zone(), &request, Transport::Udp).len();
            assert!(size <= usize::from(payload), "{qtype} {payload}: {size}");
            assert!(size > usize::from(payload.min(4096)) / 2, "{qtype} {payload}: {size}");
        }
    }
}

/// Section 6.2.3 makes the size in an OPT record its sender's. COMPAT: Consul repeats the client's.
#[test]
fn s6_2_3_the_announced_size_is_repeated() {
    for payload in [512, 1232, 4096, 65_535] {
        let answer = raw(&with_opt(payload, 0, 0, &[])).unwrap();
        assert_eq!(answer[answer.len() - OPT_BYTES..], opt(payload, 0, 0, &[]), "{payload}");
    }
}

/// Section 6.2.3: the size is of datagrams; over TCP it limits nothing.
#[test]
fn s6_2_3_the_announced_size_does_not_limit_tcp() {
    let request = with_edns(query("many.service.consul.", RecordType::A), 512);
    let answer = exchange(&many(100), &zone(), &request, Transport::Tcp);
    assert_eq!(Message::from_vec(&answer).unwrap().answers.len(), 100);
}
