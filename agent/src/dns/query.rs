//! Decoding: a packet becomes one [`Query`], and no part of it is decoded twice.
//!
//! Most queries are one question about addresses and nothing else. Those are read where they lie,
//! without a message being built ([`AddressQuery`]); hickory-proto decodes all others.
//!
//! INVARIANT: any bytes are decoded: what is not a query is ignored (an answer to an answer would
//! loop), and what cannot be read, or does not hold exactly one question, gets FORMERR.
//! INVARIANT: [`AddressQuery::to_message`] is the message that hickory-proto decodes from the same
//! bytes; a test compares them.

use hickory_proto::{
    op::{self, Edns, Header, Message, MessageType, Metadata, OpCode, ResponseCode},
    rr::{DNSClass, Name, RecordType},
    serialize::binary::{BinDecodable, BinDecoder},
};

use super::{
    Zone,
    name::{self, Scope},
};

/// Bytes of a message's header (RFC 1035 section 4.1.1).
pub const HEADER_BYTES: usize = 12;
/// Bytes of an OPT record without options (RFC 6891 section 6.1.2).
const OPT_BYTES: usize = 11;
const CLASS_IN: [u8; 2] = [0, 1];

const RECURSION_DESIRED: u8 = 0b1;
const AUTHENTIC_DATA: u8 = 0b10_0000;
const CHECKING_DISABLED: u8 = 0b1_0000;
/// The first flag of an OPT record: the client takes DNSSEC records (RFC 3225).
const DNSSEC_OK: u8 = 0b1000_0000;

/// A decoded packet.
#[derive(Debug)]
pub enum Packet<'p> {
    /// Not a query: it gets no answer.
    Ignored,
    /// A query that gets an error whatever its question is.
    Refused(Metadata, ResponseCode),
    /// A query with one question.
    Query(Query<'p>),
}

/// A query with exactly one question.
#[derive(Debug)]
pub enum Query<'p> {
    /// One question about addresses, and nothing else but an OPT record without options.
    Addresses(AddressQuery<'p>),
    /// Any other. Its list of questions has one entry.
    Message(Box<Message>),
}

/// Decodes a packet.
pub fn decode(packet: &[u8]) -> Packet<'_> {
    match AddressQuery::read(packet) {
        Some(query) => Packet::Query(Query::Addresses(query)),
        None => decode_message(packet),
    }
}

/// Decodes a packet without a look at what it asks. Apart for the test that compares the two ways.
pub(super) fn decode_message(packet: &[u8]) -> Packet<'_> {
    let Ok(Header { metadata, .. }) = Header::read(&mut BinDecoder::new(packet)) else {
        return Packet::Ignored;
    };
    if metadata.message_type == MessageType::Response {
        return Packet::Ignored;
    }
    if metadata.op_code != OpCode::Query {
        return Packet::Refused(metadata, ResponseCode::NotImp);
    }
    match Message::from_vec(packet) {
        Ok(message) if message.queries.len() == 1 => {
            Packet::Query(Query::Message(Box::new(message)))
        }
        _ => Packet::Refused(metadata, ResponseCode::FormErr),
    }
}

impl Query<'_> {
    /// Returns the name asked for, spelled as it was.
    pub fn name(&self) -> &Name {
        match self {
            Self::Addresses(query) => &query.name,
            Self::Message(message) => message.queries[0].name(),
        }
    }

    /// Returns the type asked for.
    pub fn qtype(&self) -> RecordType {
        match self {
            Self::Addresses(query) => query.qtype,
            Self::Message(message) => message.queries[0].query_type(),
        }
    }

    /// Returns the class asked for.
    pub fn class(&self) -> DNSClass {
        match self {
            Self::Addresses(_) => DNSClass::IN,
            Self::Message(message) => message.queries[0].query_class(),
        }
    }

    /// Returns what the name asks for.
    pub fn scope<'q>(&'q self, zone: &'q Zone) -> Scope<'q> {
        name::parse(zone, self.name(), self.qtype())
    }

    /// Returns the whole query, independent of the packet.
    pub fn into_message(self) -> Box<Message> {
        match self {
            Self::Addresses(query) => Box::new(query.to_message()),
            Self::Message(message) => message,
        }
    }
}

/// A query that is nothing but a question about addresses, and where its parts are.
#[derive(Debug)]
pub struct AddressQuery<'p> {
    packet: &'p [u8],
    /// Where the question ends.
    end: usize,
    name: Name,
    qtype: RecordType,
    opt: Option<&'p [u8; OPT_BYTES]>,
}

impl<'p> AddressQuery<'p> {
    fn read(packet: &'p [u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = packet.first_chunk()?;
        let plain = header[2] & !RECURSION_DESIRED == 0
            && header[3] & !(AUTHENTIC_DATA | CHECKING_DISABLED) == 0;
        let (one_question, opts) = (header[4..10] == [0, 1, 0, 0, 0, 0], &header[10..]);
        if !plain || !one_question {
            return None;
        }
        let mut at = HEADER_BYTES;
        while let length @ 1..=63 = *packet.get(at)? {
            at += 1 + usize::from(length);
        }
        // Here is the root, or a pointer, which the parts of a question do not need.
        let (&[0, ty, qtype, class, qclass], rest) = packet[at..].split_first_chunk()? else {
            return None;
        };
        let qtype = RecordType::from(u16::from_be_bytes([ty, qtype]));
        let opt = match (opts, rest.len()) {
            ([0, 0], 0) => None,
            ([0, 1], OPT_BYTES) => Some(rest.first_chunk().filter(|opt| is_plain_opt(opt))?),
            _ => return None,
        };
        if !matches!(qtype, RecordType::A | RecordType::AAAA) || [class, qclass] != CLASS_IN {
            return None;
        }
        let name = Name::read(&mut BinDecoder::new(packet).clone(HEADER_BYTES as u16)).ok()?;
        Some(Self { packet, end: at + 5, name, qtype, opt })
    }

    /// Returns the bytes of header and question.
    pub fn head(&self) -> &'p [u8] {
        &self.packet[..self.end]
    }

    /// Returns the type asked for: A or AAAA.
    pub fn qtype(&self) -> RecordType {
        self.qtype
    }

    /// Returns the client's OPT record, which an answer repeats as it is.
    pub fn opt(&self) -> Option<&'p [u8; OPT_BYTES]> {
        self.opt
    }

    /// Returns the bytes of a datagram that the client takes; 0 without an OPT record.
    pub fn payload(&self) -> u16 {
        self.opt.map_or(0, |opt| u16::from_be_bytes([opt[3], opt[4]]))
    }

    /// Returns the same query as a message.
    pub fn to_message(&self) -> Message {
        let id = u16::from_be_bytes([self.packet[0], self.packet[1]]);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.packet[2] & RECURSION_DESIRED != 0;
        message.metadata.authentic_data = self.packet[3] & AUTHENTIC_DATA != 0;
        message.metadata.checking_disabled = self.packet[3] & CHECKING_DISABLED != 0;
        message.add_query(op::Query::query(self.name.clone(), self.qtype));
        if let Some(opt) = self.opt {
            let mut edns = Edns::new();
            edns.set_max_payload(self.payload());
            edns.set_dnssec_ok(opt[7] & DNSSEC_OK != 0);
            message.set_edns(edns);
        }
        message
    }
}

/// Whether an OPT record has version 0, no options, and no flag but DO.
fn is_plain_opt(opt: &[u8; OPT_BYTES]) -> bool {
    let [root, ty, opt_type, size, _, code, version, flags, more_flags, options @ ..] = opt;
    [*root, *ty, *opt_type] == [0, 0, 41]
        && *size >= 2
        && [*code, *version, *flags & !DNSSEC_OK, *more_flags] == [0; 4]
        && *options == [0, 0]
}
