use std::os::unix::fs::PermissionsExt;

use lictor_core::{
    fsm::{self, Command, KvCommand, RestoreCommand},
    state::watch::Touched,
};

use super::*;

fn state() -> State {
    let mut state = State::default();
    for n in 0..50u64 {
        let command = Command::Kv(KvCommand::Set {
            key: format!("key/{n}"),
            flags: n,
            value: Bytes::from(format!("value {n}")),
        });
        fsm::apply(&mut state, n + 7, command, &mut Touched::default());
    }
    state
}

fn archive() -> Vec<u8> {
    let member = Member { suffrage: 0, id: "id".into(), address: "127.0.0.1:8300".into() };
    pack(&state(), 3, vec![member], 1_700_000_000_123).unwrap()
}

/// An archive with these files, whose sums are right.
fn custom(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn sums(files: &[(&str, &[u8])]) -> String {
    files.iter().map(|(name, content)| format!("{}  {name}\n", sha256(content))).collect()
}

fn refusal(bytes: &[u8]) -> String {
    unpack(bytes).unwrap_err().to_string()
}

#[test]
fn what_was_packed_is_unpacked() {
    let read = unpack(&archive()[..]).unwrap();
    assert_eq!(read.meta.id, "3-56-1700000000123");
    assert_eq!((read.meta.index, read.meta.term, read.meta.version), (56, 3, 1));
    assert_eq!(read.meta.configuration.servers[0].address, "127.0.0.1:8300");
    assert_eq!(read.state.to_snapshot().unwrap(), state().to_snapshot().unwrap());
    assert_eq!(read.bytes, state().to_snapshot().unwrap());
}

#[test]
fn other_tools_can_list_and_check_it() {
    let bytes = archive();
    let mut tar = tar::Archive::new(GzDecoder::new(&bytes[..]));
    let names: Vec<String> = tar
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["meta.json", "state.bin", "SHA256SUMS"]);
}

#[test]
fn a_restore_that_is_under_way_is_left_out() {
    let mut state = state();
    let begin = Command::Restore(RestoreCommand::Begin { id: "r".into() });
    let index = state.index + 1;
    fsm::apply(&mut state, index, begin, &mut Touched::default());
    let packed = unpack(&pack(&state, 1, vec![], 0).unwrap()[..]).unwrap().state;
    let without = state.without_restore().to_snapshot().unwrap();
    assert_eq!(packed.to_snapshot().unwrap(), without);
    assert_ne!(state.to_snapshot().unwrap(), without);
}

#[test]
fn no_changed_or_missing_byte_goes_unnoticed() {
    let good = archive();
    for at in (0..good.len()).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        // Bytes 4 to 9 of gzip are the time, flags and system, which say nothing about the content.
        if !(4..10).contains(&at) {
            assert!(unpack(&bytes[..]).is_err(), "byte {at} of {}", good.len());
        }
        assert!(unpack(&good[..at]).is_err(), "cut at {at}");
    }
    assert!(unpack(&good[..good.len() - 1]).is_err());
    let longer = [&good[..], b"x"].concat();
    assert_eq!(refusal(&longer), "there is more after the end of the archive");
}

#[test]
fn what_is_not_such_an_archive_is_refused_by_name() {
    let bytes = state().to_snapshot().unwrap();
    let meta = serde_json::to_vec(&Meta {
        version: 1,
        index: 56,
        size: bytes.len() as u64,
        ..Meta::default()
    })
    .unwrap();
    let with = |meta: &[u8], state: &[u8]| {
        let files = [(META, meta), (STATE, state)];
        custom(&[files[0], files[1], (SUMS, sums(&files).as_bytes())])
    };
    unpack(&with(&meta, &bytes)[..]).unwrap();
    assert_eq!(refusal(b"hello"), "reading the archive");
    assert_eq!(refusal(&with(&meta, b"\x01Consul")), ArchiveError::Foreign.to_string());
    assert_eq!(refusal(&with(b"{", &bytes)), "decoding meta.json");
    let newer = serde_json::to_vec(&Meta { version: 2, ..Meta::default() }).unwrap();
    assert!(refusal(&with(&newer, &bytes)).contains("archive version 2 is newer than 1"));
    let other = br#"{"Version":1,"Index":57,"Size":1}"#;
    assert_eq!(refusal(&with(other, &bytes)), "meta.json names index 57, state.bin has 56");
    let damaged = [&bytes[..bytes.len() - 1], b"?"].concat();
    assert!(refusal(&with(&meta, &damaged)).contains("checksum does not match"));
    let files = [(META, &meta[..]), (STATE, &bytes[..])];
    let good_sums = sums(&files);
    let sums = (SUMS, good_sums.as_bytes());
    assert_eq!(refusal(&custom(&files)), "no SHA256SUMS in the archive");
    assert_eq!(refusal(&custom(&[files[0], sums])), "no state.bin in the archive");
    let wrong = (META, &b"{}"[..]);
    let text = "meta.json does not match its sum in SHA256SUMS";
    assert_eq!(refusal(&custom(&[wrong, files[1], sums])), text);
    for name in ["passwd", META] {
        let text = format!("unexpected file {name:?} in the archive");
        assert_eq!(refusal(&custom(&[files[0], files[1], sums, (name, b"x")])), text);
    }
}

#[test]
fn lengths_are_bounded_before_anything_is_read() {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_path(STATE).unwrap();
    header.set_size(MAX_STATE_BYTES + 1);
    header.set_cksum();
    tar.append(&header, io::empty()).unwrap();
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    let text = refusal(&bytes);
    assert_eq!(text, "state.bin has 536870913 bytes; at most 536870912 are accepted");
}

#[test]
fn a_file_is_saved_whole_for_its_owner_alone_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.snap");
    assert_eq!(save(&path, &archive()).unwrap().meta.index, 56);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // What an attempt that was cut off left behind does not lend its permissions.
    let unverified = directory.path().join("a.snap.unverified");
    fs::write(&unverified, "half").unwrap();
    fs::set_permissions(&unverified, fs::Permissions::from_mode(0o644)).unwrap();
    save(&path, &archive()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    save(&path, b"not an archive").unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), archive());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    save(&directory.path().join("missing/a.snap"), &archive()).unwrap_err();
}

#[test]
fn what_stands_around_a_file_is_bounded_too() {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(4 << 20);
    tar.append_data(&mut header, "name", io::repeat(b'x').take(4 << 20)).unwrap();
    let bomb = tar.into_inner().unwrap().finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    assert!(matches!(read(&bomb[..], 1 << 20), Err(ArchiveError::Read(_))));
}
