//! Encoding of log entries and of the log's own figures: ours, not the engine's.
//!
//! A record is the CRC-32 of its key and body, then the body. The key is part of the checksum, so
//! a good record in the wrong place is as wrong as a damaged one. The body of an entry is
//! `format: u8, kind: u8, term: u64 (big-endian), payload`; the payload is what the proposer
//! encoded, or the membership as MessagePack with field names.

use bytes::Bytes;
use openraft::{EntryPayload, entry::RaftEntry, vote::leader_id_std::CommittedLeaderId};

use super::types::{Entry, LogId, Membership, Proposal};

const FORMAT: u8 = 1;
const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;
const CHECKSUM_BYTES: usize = 4;
const HEADER_BYTES: usize = 10;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// The record is cut short, changed, or not in its place.
    #[error("its checksum does not match")]
    Checksum,
    /// A newer version wrote the record.
    #[error("its format {format}, kind {kind} is newer than this version")]
    Newer {
        /// Encoding of the record.
        format: u8,
        /// Kind of the record.
        kind: u8,
    },
    /// The checksum holds, and yet it cannot be decoded.
    #[error("decoding it")]
    Decode(#[from] rmp_serde::decode::Error),
}

/// Encodes `body` under `key` as a record.
pub(super) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(CHECKSUM_BYTES + body.len());
    record.extend_from_slice(&checksum(key, body).to_be_bytes());
    record.extend_from_slice(body);
    record
}

/// Returns the body of a record found under `key`.
///
/// # Errors
/// [`RecordError::Checksum`].
pub(super) fn unseal<'a>(key: &[u8], record: &'a [u8]) -> Result<&'a [u8], RecordError> {
    let (stored, body) =
        record.split_first_chunk::<CHECKSUM_BYTES>().ok_or(RecordError::Checksum)?;
    if u32::from_be_bytes(*stored) == checksum(key, body) {
        Ok(body)
    } else {
        Err(RecordError::Checksum)
    }
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

/// Encodes a log entry as a record; its key is its index.
///
/// # Errors
/// MessagePack's; no membership causes one.
pub(super) fn encode(entry: &Entry) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let membership;
    let (kind, payload): (u8, &[u8]) = match &entry.payload {
        EntryPayload::Blank => (BLANK, &[]),
        EntryPayload::Normal(Proposal(command)) => (NORMAL, command),
        EntryPayload::Membership(members) => {
            membership = rmp_serde::to_vec_named(members)?;
            (MEMBERSHIP, &membership)
        }
    };
    let mut body = Vec::with_capacity(HEADER_BYTES + payload.len());
    body.extend_from_slice(&[FORMAT, kind]);
    body.extend_from_slice(&entry.log_id.leader_id.term.to_be_bytes());
    body.extend_from_slice(payload);
    Ok(seal(&entry.log_id.index.to_be_bytes(), &body))
}

/// Decodes the log entry of a record found at `index`.
///
/// # Errors
/// [`RecordError`]; nothing about the entry can be trusted.
pub(super) fn decode(index: u64, record: &[u8]) -> Result<Entry, RecordError> {
    let body = unseal(&index.to_be_bytes(), record)?;
    let (&[format, kind], rest) = body.split_first_chunk::<2>().ok_or(RecordError::Checksum)?;
    if format != FORMAT || kind > MEMBERSHIP {
        return Err(RecordError::Newer { format, kind });
    }
    let (term, payload) = rest.split_first_chunk::<8>().ok_or(RecordError::Checksum)?;
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Proposal(Bytes::copy_from_slice(payload))),
        _ => EntryPayload::Membership(rmp_serde::from_slice::<Membership>(payload)?),
    };
    let leader = CommittedLeaderId::new(u64::from_be_bytes(*term));
    Ok(Entry::new(LogId { leader_id: leader, index }, payload))
}
