//! What outlives a process: log entries, snapshots, archives.

use std::io::Write;

use aws_lc_rs::digest;
use flate2::{Compression, write::GzEncoder};
use lictor::archive;
use lictor_core::{
    fsm::{self, Command},
    state::{State, watch::Touched},
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).expect("memory can be written");
    gzip.finish().expect("memory can be written")
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, *content).expect("memory can be written");
    }
    tar.into_inner().expect("memory can be written")
}

fn sum(name: &str, content: &[u8]) -> String {
    let sum = digest::digest(&digest::SHA256, content);
    let digits: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}  {name}\n")
}

/// A snapshot whose header is right for its body.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"LICTSNAP".to_vec();
    bytes.extend(1u32.to_be_bytes());
    bytes.extend(crc32fast::hash(body).to_be_bytes());
    bytes.extend((body.len() as u64).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Three archives of one input: as it is, as the tar inside, and as the files inside with sums
/// that are right. What is read is written and read again.
pub(crate) fn archive(input: &[u8]) {
    let (meta, body) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &b""[..]),
    };
    let state = sealed(body);
    let sums = sum("meta.json", meta) + &sum("state.bin", &state);
    let files = [("meta.json", meta), ("state.bin", &state[..]), ("SHA256SUMS", sums.as_bytes())];
    for bytes in [input.to_vec(), gzip(input), gzip(&tar(&files))] {
        let Ok(read) = archive::unpack(&bytes[..]) else { continue };
        let servers = read.meta.configuration.servers.clone();
        let packed = archive::pack(&read.state, read.meta.term, servers, 0)
            .expect("what was read can be written");
        let again = archive::unpack(&packed[..]).expect("what was written can be read");
        assert_eq!(again.bytes, read.state.without_restore().to_snapshot().expect("it encodes"));
        assert_eq!(again.meta.configuration, read.meta.configuration);
    }
}

/// A command that is read is read again as it is written, and whatever it does to a state, the
/// state can be saved and loaded.
pub(crate) fn entry(input: &[u8]) {
    let Ok(command) = Command::decode(input) else { return };
    let written = command.encode().expect("a command can be encoded");
    let again = Command::decode(&written).expect("what was encoded can be decoded");
    assert_eq!(again.encode().expect("a command can be encoded"), written);
    let mut state = State::default();
    for (index, command) in [(1, command.clone()), (2, again), (3, command)] {
        fsm::apply(&mut state, index, command, &mut Touched::default());
        saved(&state);
    }
}

/// Saves and loads a state: nothing changes.
fn saved(state: &State) {
    let bytes = state.to_snapshot().expect("a state can be saved");
    let loaded = State::from_snapshot(&bytes).expect("what was saved can be loaded");
    assert_eq!(loaded.to_snapshot().expect("a state can be saved"), bytes);
}

/// A snapshot that is read is the same when it is saved again. The input is the body: its header
/// is made right, or is its own if it has one.
pub(crate) fn snapshot(input: &[u8]) {
    let body =
        if input.starts_with(b"LICTSNAP") { input.get(24..).unwrap_or_default() } else { input };
    assert!(State::from_snapshot(input).is_err() || input.starts_with(b"LICTSNAP"));
    if let Ok(state) = State::from_snapshot(&sealed(body)) {
        // The first time sorts rows and drops duplicates.
        let bytes = state.to_snapshot().expect("a state can be saved");
        saved(&State::from_snapshot(&bytes).expect("what was saved can be loaded"));
    }
}
