//! The answers as the RFCs want them: one file per RFC, each test named after a section of it.
//!
//! Where Consul's answer differs from the RFC and clients rely on it, the test asserts Consul's and
//! says `COMPAT`. What Consul's documentation promises beside the RFCs is tested in `answers`.

mod rfc1034;
mod rfc1035;
mod rfc2181;
mod rfc2308;
mod rfc2782;
mod rfc3596;
mod rfc6891;
mod rfc7766;
mod rfc8482;

use super::*;

/// Flags in the third byte of a header.
const QR: u8 = 0b1000_0000;
const AA: u8 = 0b100;
const TC: u8 = 0b10;
const RD: u8 = 0b1;
/// Flags in the fourth byte of a header.
const RA: u8 = 0b1000_0000;
const Z: u8 = 0b100_0000;
const AD: u8 = 0b10_0000;
const CD: u8 = 0b1_0000;

const NO_ERROR: u8 = 0;
const FORMAT_ERROR: u8 = 1;
const NAME_ERROR: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

/// Bytes of a header; the question follows.
const HEADER_BYTES: usize = 12;

fn packet(name: &str, qtype: RecordType) -> Vec<u8> {
    query(name, qtype).to_vec().unwrap()
}

/// Returns a query for A whose name is these labels, however long they are.
fn packet_of_labels<'l>(labels: impl IntoIterator<Item = &'l [u8]>) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend_from_slice(label);
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}

/// Asks the small catalog over UDP; `None`: no answer.
fn raw(packet: &[u8]) -> Option<Vec<u8>> {
    raw_in(&catalog(), &zone(), packet)
}

fn raw_in(state: &State, zone: &Zone, packet: &[u8]) -> Option<Vec<u8>> {
    reply(packet, Transport::Udp, state, zone, &mut SmallRng::seed_from_u64(1))
}

fn code(answer: &[u8]) -> u8 {
    answer[3] & 0b1111
}

fn recursing() -> Zone {
    let mut zone = zone();
    zone.settings.recursors.push("127.0.0.1:9".parse().unwrap());
    zone
}
