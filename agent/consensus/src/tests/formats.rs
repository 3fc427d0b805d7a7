//! Old formats are read for ever: records of the log, its figures, and the head of a snapshot.
//!
//! `tests/golden/formats/consensus.txt` holds each as a line of hexadecimal text; what it means
//! stands here. Lines are never written again, `UPDATE_GOLDEN=1` only adds those that are missing.

use std::{collections::BTreeMap, fmt::Debug};

use openraft::{EntryPayload, entry::RaftEntry, vote::leader_id_std::CommittedLeaderId};
use serde::{Serialize, de::DeserializeOwned};

use super::*;
use crate::{
    record,
    snapshot::Source,
    types::{Entry, LogId, Membership, SnapshotMeta, StoredMembership, Vote},
};

const GOLDEN: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/formats/consensus.txt");

/// Returns the golden of that name; one that is missing is made if that is asked for.
fn golden(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let kept = fs::read_to_string(GOLDEN).unwrap_or_default();
    let line = kept.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let Some(line) = line else {
        let may_add = std::env::var_os("UPDATE_GOLDEN").is_some();
        assert!(may_add, "no golden {name}; UPDATE_GOLDEN=1 adds it");
        let made = make();
        let digits: String = made.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(GOLDEN, format!("{kept}{name} {digits}\n")).unwrap();
        return made;
    };
    (0..line.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
        .collect()
}

fn id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(term), index }
}

fn server(number: u128) -> ServerId {
    ServerId(uuid::Uuid::from_u128(number))
}

/// Three servers, two of them voters, in the middle of a change.
fn membership() -> Membership {
    let nodes: BTreeMap<ServerId, ServerNode> = (1..=3u8)
        .map(|number| {
            let address = ([10, 0, 0, number], 8300).into();
            (server(number.into()), ServerNode { name: format!("server-{number}"), address })
        })
        .collect();
    let voters = [[server(1)].into(), [server(1), server(2)].into()];
    Membership::new(voters.to_vec(), nodes).unwrap()
}

fn meta() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(id(3, 42)),
        last_membership: StoredMembership::new(Some(id(2, 7)), membership()),
    }
}

#[test]
fn every_old_log_record_is_read() {
    for (name, index, payload) in [
        ("blank", 5, EntryPayload::Blank),
        ("normal", 6, EntryPayload::Normal(Proposal(Bytes::from_static(b"\x01command")))),
        ("membership", 7, EntryPayload::Membership(membership())),
    ] {
        let entry = Entry::new(id(2, index), payload);
        let bytes = golden(name, || record::encode(&entry).unwrap());
        assert_eq!(record::decode(index, &bytes).unwrap(), entry, "{name}");
    }
}

#[test]
fn every_old_figure_of_the_log_is_read() {
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, key: &str, value: T) {
        let key = key.as_bytes();
        let bytes = golden(name, || record::seal(key, &rmp_serde::to_vec_named(&value).unwrap()));
        let read: T = rmp_serde::from_slice(record::unseal(key, &bytes).unwrap()).unwrap();
        assert_eq!(read, value, "{name}");
    }
    check("vote", "vote", Vote::new(4, server(2)));
    check("committed-vote", "vote", Vote::new_committed(4, server(2)));
    check("committed", "committed", Some(id(3, 41)));
    check("purged", "purged", id(3, 40));
}

#[test]
fn every_old_snapshot_file_is_read() {
    let bytes = golden("snapshot", || crate::snapshot::encoded(&meta(), &State::default()));
    let loaded = Source::Memory(bytes.into()).load().unwrap();
    assert_eq!(loaded.meta, meta());
    assert_eq!(loaded.state.index, 0);
}
