//! Encoding: an answer as the bytes that the client can take (RFC 1035 section 4.1, RFC 6891).
//!
//! What does not fit is left out in this order: the authority section, then answers from the end
//! together with what explains them, then what explains the last answer left. The TC bit says so
//! only with `enable_truncate`, because most clients do better with a part of the answers than
//! with a second query over TCP.

use hickory_proto::{
    ProtoError,
    op::{
        Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
        emit_message_parts,
    },
    rr::{
        DNSClass, Name, Record, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
    serialize::binary::{BinEncodable, BinEncoder, NameEncoding},
};

use super::{Zone, answer::Answer};

/// Bytes of a UDP answer without EDNS (RFC 1035 section 2.3.4).
const MIN_UDP_BYTES: u16 = 512;
/// Bytes of a UDP answer, whatever size the client announces.
const MAX_UDP_BYTES: u16 = 65_467;
/// Answers over UDP without EDNS, whatever `udp_answer_limit` says.
const MAX_UDP_ANSWERS: usize = 8;
/// Address records that a message of 64 KiB can hold.
const MAX_ADDRESSES: usize = 4096;
/// SRV records, each with what explains it, that a message of 64 KiB can hold.
const MAX_SERVICES: usize = 1024;
/// A compressed name: the question's, which follows the header (RFC 1035 section 4.1.4).
const QUESTION_POINTER: u16 = 0xc000 | 12;
/// Where the TC bit is.
const TC: (usize, u8) = (2, 0b10);

/// How the client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream of messages.
    Tcp,
}

/// What a client can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the message.
    pub bytes: u16,
    /// Records of the answer section.
    pub answers: usize,
}

impl Limits {
    /// Returns the limits of one query.
    pub fn of(request: &Message, transport: Transport, zone: &Zone) -> Self {
        let qtype = request.queries.first().map_or(RecordType::ANY, |query| query.query_type());
        Self::new(qtype, request.max_payload(), transport, zone)
    }

    /// Returns the limits for a client that takes datagrams of `payload` bytes; less than 512 count
    /// as 512.
    pub fn new(qtype: RecordType, payload: u16, transport: Transport, zone: &Zone) -> Self {
        let answers = if qtype == RecordType::SRV { MAX_SERVICES } else { MAX_ADDRESSES };
        if transport == Transport::Tcp {
            return Self { bytes: u16::MAX, answers };
        }
        match payload.clamp(MIN_UDP_BYTES, MAX_UDP_BYTES) {
            MIN_UDP_BYTES => {
                let answers = zone.settings.udp_answer_limit.clamp(1, MAX_UDP_ANSWERS);
                Self { bytes: MIN_UDP_BYTES, answers }
            }
            bytes => Self { bytes, answers },
        }
    }
}

/// Writes the answer to `request` over what was in `out`. One to a question about any class is never
/// authoritative, because it covers one class (RFC 1035 section 6.2).
///
/// # Errors
/// A record that cannot be encoded; `out` is then not a message.
pub fn encode(
    request: &Message,
    answer: &Answer,
    limits: Limits,
    zone: &Zone,
    authoritative: bool,
    out: &mut Vec<u8>,
) -> Result<(), ProtoError> {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = answer.code;
    let any_class = |query: &Query| query.query_class() == DNSClass::ANY;
    metadata.authoritative = authoritative && !request.queries.iter().any(any_class);
    metadata.recursion_available = zone.recurses();
    let edns = request.edns.as_ref().map(echo);
    let mut encoder = Encoder { request, answer, limits, zone, metadata, edns: edns.as_ref(), out };
    let total = answer.answers.len();
    let mut kept = total;
    if !encoder.fits(Cut { authority: true, answers: total, explain: true })? {
        kept = encoder.cut(total)?;
    }
    if zone.settings.enable_truncate && (kept < total || answer.cut) {
        out[TC.0] |= TC.1;
    }
    Ok(())
}

/// Writes an answer without a question to `out`: for packets that could not be read.
///
/// # Errors
/// None that a header can cause.
pub fn encode_error(
    request: &Metadata,
    code: ResponseCode,
    out: &mut Vec<u8>,
) -> Result<(), ProtoError> {
    let mut metadata = Metadata::new(request.id, MessageType::Response, request.op_code);
    metadata.response_code = code;
    metadata.recursion_desired = request.recursion_desired && request.op_code == OpCode::Query;
    out.clear();
    Header { metadata, counts: HeaderCounts::default() }.emit(&mut BinEncoder::new(out))
}

/// Which part of an answer is written.
#[derive(Debug, Clone, Copy)]
struct Cut {
    authority: bool,
    answers: usize,
    explain: bool,
}

struct Encoder<'a> {
    request: &'a Message,
    answer: &'a Answer,
    limits: Limits,
    zone: &'a Zone,
    metadata: Metadata,
    edns: Option<&'a Edns>,
    out: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    /// Writes as many answers as fit and returns their number.
    fn cut(&mut self, total: usize) -> Result<usize, ProtoError> {
        let part = |answers, explain| Cut { authority: false, answers, explain };
        if self.fits(part(total, true))? {
            return Ok(total);
        }
        // The size grows with the number of answers: search for the first number that is too large.
        let (mut fitting, mut too_many) = (0, total);
        while too_many - fitting > 1 {
            let middle = fitting.midpoint(too_many);
            if self.fits(part(middle, true))? {
                fitting = middle;
            } else {
                too_many = middle;
            }
        }
        if fitting > 0 {
            self.fits(part(fitting, true))?;
        } else if total > 0 && self.fits(part(1, false))? {
            fitting = 1;
        } else {
            self.fits(part(0, false))?;
        }
        Ok(fitting)
    }

    /// Writes a part and returns whether all of it fits.
    fn fits(&mut self, cut: Cut) -> Result<bool, ProtoError> {
        self.out.clear();
        let mut encoder = BinEncoder::new(self.out);
        encoder.set_max_size(self.limits.bytes);
        if self.zone.settings.disable_compression {
            encoder.set_name_encoding(NameEncoding::Uncompressed);
        }
        let asked = self.request.queries.first().map(Query::name);
        let asked = asked.filter(|_| !self.zone.settings.disable_compression);
        let point = |record| Pointing { asked, record };
        let answers: Vec<_> = self.answer.answers[..cut.answers].iter().map(point).collect();
        let authority = if cut.authority { &self.answer.authority[..] } else { &[] };
        let additional = self
            .answer
            .additional
            .iter()
            .take_while(|(explains, _)| cut.explain && (*explains < cut.answers.max(1)))
            .map(|(_, record)| record);
        let header = emit_message_parts(
            &self.metadata,
            &mut self.request.queries.iter(),
            &mut answers.iter(),
            &mut authority.iter(),
            &mut { additional },
            self.edns,
            None,
            &mut encoder,
        )?;
        // hickory sets this bit when it had to leave a record out.
        Ok(!header.truncation)
    }
}

/// An answer whose owner, when it is the name asked for, is written as a pointer to the question:
/// without hickory's search, which gives up after 120 names.
struct Pointing<'a> {
    asked: Option<&'a Name>,
    record: &'a Record,
}

impl BinEncodable for Pointing<'_> {
    fn emit(&self, encoder: &mut BinEncoder<'_>) -> Result<(), ProtoError> {
        let record = self.record;
        if !self.asked.is_some_and(|asked| asked.eq_case(&record.name)) {
            return record.emit(encoder);
        }
        encoder.emit_u16(QUESTION_POINTER)?;
        record.record_type().emit(encoder)?;
        record.dns_class.emit(encoder)?;
        encoder.emit_u32(record.ttl)?;
        let length = encoder.place::<u16>()?;
        record.data.emit(encoder)?;
        let bytes = u16::try_from(encoder.len_since_place(&length));
        length.replace(encoder, bytes.map_err(|_| ProtoError::Message("record over 64 KiB"))?)
    }
}

/// Returns the OPT record of an answer: version 0, the size repeated, the client subnet with scope
/// 0 (RFC 7871: the answer is the same for all clients). Other options are not repeated.
/// COMPAT: RFC 6891 section 6.2.3 wants the sender's own size here; Consul repeats the client's.
fn echo(asked: &Edns) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(asked.max_payload());
    edns.set_dnssec_ok(asked.flags().dnssec_ok);
    if let Some(EdnsOption::Subnet(subnet)) = asked.option(EdnsCode::Subnet) {
        let mut subnet = *subnet;
        subnet.set_scope_prefix(0);
        edns.options_mut().insert(EdnsOption::Subnet(subnet));
    }
    edns
}
