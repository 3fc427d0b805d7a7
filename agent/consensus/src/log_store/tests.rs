//! The log against the engine's acceptance suite, against a model, and against damage.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use lictor_store::Store;
use openraft::{
    StorageError,
    storage::{RaftLogStorage, RaftLogStorageExt},
    testing::log::{StoreBuilder, Suite},
};
use proptest::prelude::*;
use redb::Database;

use super::*;
use crate::{
    StartError,
    failure::{Failure, Fault},
    snapshot::Snapshots,
    state_machine::StateMachine,
    types::{Proposal, ServerId},
};

struct Build {
    on_disk: bool,
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Option<tempfile::TempDir>> for Build {
    async fn build(
        &self,
    ) -> Result<(Option<tempfile::TempDir>, LogStore, StateMachine), StorageError<TypeConfig>> {
        let directory = self.on_disk.then(|| tempfile::tempdir().unwrap());
        let medium = directory
            .as_ref()
            .map_or(Medium::Memory, |dir| Medium::File(dir.path().join("raft.redb")));
        let opened = LogStore::open(&medium, LogWrites::Thread, Fault::default()).unwrap();
        let snapshots = directory.as_ref().map(|dir| dir.path().join("snapshots"));
        if let Some(path) = &snapshots {
            fs::create_dir(path).unwrap();
        }
        let (snapshots, loaded) = Snapshots::open(snapshots, None, Fault::default()).unwrap();
        let store = Arc::new(Store::default());
        let machine = StateMachine::new(loaded, store, snapshots, Fault::default());
        Ok((directory, opened.store, machine))
    }
}

#[tokio::test]
async fn the_engines_storage_suite_passes_in_memory() {
    Suite::test_all(Build { on_disk: false }).await.unwrap();
}

#[tokio::test]
async fn the_engines_storage_suite_passes_on_disk() {
    Suite::test_all(Build { on_disk: true }).await.unwrap();
}

fn log_id(term: u64, index: u64) -> LogId {
    openraft::testing::log_id::<TypeConfig>(term, ServerId::default(), index)
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    use openraft::entry::RaftEntry;
    Entry::new_normal(log_id(term, index), Proposal(vec![index as u8; bytes].into()))
}

/// An open log that can be closed and opened again.
struct Bench {
    path: PathBuf,
    opened: Option<Opened>,
}

impl Bench {
    fn open(path: &Path) -> Self {
        let opened =
            LogStore::open(&Medium::File(path.to_owned()), LogWrites::Thread, Fault::default())
                .unwrap();
        Self { path: path.to_owned(), opened: Some(opened) }
    }

    fn store(&mut self) -> &mut LogStore {
        &mut self.opened.as_mut().unwrap().store
    }

    fn close(&mut self) {
        let Opened { store, writer, .. } = self.opened.take().unwrap();
        drop(store);
        writer.join().unwrap();
    }

    fn reopen(&mut self) {
        self.close();
        *self = Self::open(&self.path);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append { count: u8, bytes: u16 },
    NextTerm,
    Truncate { keep: u8 },
    Purge { keep: u8 },
    Vote,
    Committed,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..40_u8, 0..2000_u16).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        1 => Just(Step::NextTerm),
        2 => (0..60_u8).prop_map(|keep| Step::Truncate { keep }),
        2 => (0..60_u8).prop_map(|keep| Step::Purge { keep }),
        1 => Just(Step::Vote),
        2 => Just(Step::Committed),
        2 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..30)
}

#[derive(Debug, Default)]
struct Model {
    term: u64,
    entries: BTreeMap<u64, Entry>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.values().next_back().map(|entry| entry.log_id).or(self.purged)
    }

    async fn take(&mut self, step: &Step, bench: &mut Bench) {
        let next = self.last().map_or(0, |last| last.index + 1);
        match step {
            Step::Append { count, bytes } => {
                let new: Vec<Entry> = (next..next + u64::from(*count))
                    .map(|index| entry(self.term, index, usize::from(*bytes)))
                    .collect();
                // Not waited for: what follows has to see it all the same.
                bench.store().append(new.clone(), IOFlushed::noop()).await.unwrap();
                self.entries.extend(new.into_iter().map(|entry| (entry.log_id.index, entry)));
            }
            Step::NextTerm => self.term += 1,
            Step::Truncate { keep } => {
                let first = self.purged.map_or(0, |purged| purged.index + 1);
                let end = (first + u64::from(*keep)).min(next);
                self.entries.retain(|index, _| *index < end);
                bench.store().truncate_after(self.last()).await.unwrap();
            }
            Step::Purge { keep } => {
                let upto = next.checked_sub(u64::from(*keep) + 1);
                let Some(upto) = upto.and_then(|index| self.entries.get(&index)) else { return };
                let upto = upto.log_id;
                self.purged = Some(upto);
                self.entries.retain(|index, _| *index > upto.index);
                bench.store().purge(upto).await.unwrap();
            }
            Step::Vote => {
                let vote = Vote::new(self.term + 1, ServerId::default());
                self.vote = Some(vote);
                bench.store().save_vote(&vote).await.unwrap();
            }
            Step::Committed => {
                self.committed = self.last();
                bench.store().save_committed(self.committed).await.unwrap();
            }
            Step::Reopen => bench.reopen(),
        }
    }

    async fn compare(&self, bench: &mut Bench) {
        let store = bench.store();
        let state = store.get_log_state().await.unwrap();
        assert_eq!((state.last_purged_log_id, state.last_log_id), (self.purged, self.last()));
        let mut reader = store.get_log_reader().await;
        let all: Vec<Entry> = self.entries.values().cloned().collect();
        assert_eq!(reader.try_get_log_entries(..).await.unwrap(), all);
        if let Some(middle) = all.get(all.len() / 2).map(|entry| entry.log_id.index) {
            let tail: Vec<Entry> = self.entries.range(middle..).map(|(_, e)| e.clone()).collect();
            assert_eq!(reader.try_get_log_entries(middle..).await.unwrap(), tail);
        }
        assert_eq!(reader.read_vote().await.unwrap(), self.vote);
        assert_eq!(store.read_committed().await.unwrap(), self.committed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_writes_is_what_a_model_says_also_after_reopening(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut bench = Bench::open(&directory.path().join("raft.redb"));
        let mut model = Model::default();
        runtime.block_on(async {
            for step in &steps {
                model.take(step, &mut bench).await;
                model.compare(&mut bench).await;
            }
            bench.reopen();
            model.compare(&mut bench).await;
        });
    }
}

async fn filled(path: &Path, entries: u64) {
    let mut bench = Bench::open(path);
    let entries: Vec<Entry> = (0..entries).map(|index| entry(1, index, 300)).collect();
    bench.store().blocking_append(entries).await.unwrap();
    bench.close();
}

fn refusal(path: &Path) -> StartError {
    match LogStore::open(&Medium::File(path.to_owned()), LogWrites::Thread, Fault::default()) {
        Ok(_) => panic!("a log that is not usable was opened"),
        Err(error) => error,
    }
}

/// Changes a stored entry through the storage engine, whose own checksums then hold.
fn rewrite(path: &Path, index: u64, change: impl FnOnce(Option<Vec<u8>>) -> Option<Vec<u8>>) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut log = transaction.open_table(LOG).unwrap();
        let old = log.remove(index).unwrap().map(|record| record.value().to_vec());
        if let Some(new) = change(old) {
            log.insert(index, new.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

#[tokio::test]
async fn a_damaged_entry_in_the_middle_refuses_to_open_and_names_file_and_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    filled(&path, 100).await;
    rewrite(&path, 50, |record| {
        let mut record = record.unwrap();
        record[20] ^= 1;
        Some(record)
    });
    let text = refusal(&path).to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains("entry 50: its checksum does not match"), "{text}");
    assert!(text.contains("restore the data directory from a backup"), "{text}");
}

#[tokio::test]
async fn a_missing_entry_in_the_middle_refuses_to_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    filled(&path, 100).await;
    rewrite(&path, 50, |_| None);
    assert!(refusal(&path).to_string().contains("entry 50 is missing"));
}

#[tokio::test]
async fn an_entry_in_anothers_place_refuses_to_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    filled(&path, 100).await;
    rewrite(&path, 50, |_| Some(record::encode(&entry(1, 51, 300)).unwrap()));
    assert!(refusal(&path).to_string().contains("entry 50: its checksum does not match"));
}

#[tokio::test]
async fn an_entry_of_a_newer_encoding_refuses_to_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    filled(&path, 100).await;
    rewrite(&path, 50, |_| Some(record::seal(&50_u64.to_be_bytes(), &[2, 1])));
    assert!(refusal(&path).to_string().contains("entry 50: its format 2, kind 1 is newer"));
}

#[tokio::test]
async fn bytes_changed_in_the_file_refuse_to_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    filled(&path, 2000).await;
    let mut bytes = fs::read(&path).unwrap();
    // The body of some entry: 300 bytes of its index.
    let at = bytes.windows(300).position(|window| *window == [123; 300]).unwrap();
    bytes[at + 150] ^= 0x40;
    fs::write(&path, bytes).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, StartError::DamagedLog { .. }), "{error}");
}

#[tokio::test]
async fn a_log_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raft.redb");
    let mut bench = Bench::open(&path);
    let error = refusal(&path);
    assert!(matches!(error, StartError::InUse { .. }), "{error}");
    bench.close();
}

/// A disk that fails to sync from some moment on.
#[derive(Debug)]
struct FailingDisk {
    memory: redb::backends::InMemoryBackend,
    fails: Arc<std::sync::atomic::AtomicBool>,
}

impl redb::StorageBackend for FailingDisk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.fails.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::Error::other("input/output error"));
        }
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write(offset, data)
    }
}

#[tokio::test]
async fn a_failed_sync_acknowledges_nothing_and_ends_consensus() {
    let fails = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let disk = FailingDisk { memory: redb::backends::InMemoryBackend::new(), fails: fails.clone() };
    let database = Database::builder().create_with_backend(disk).unwrap();
    let fault = Fault::default();
    let mut opened = LogStore::with(database, None, LogWrites::Thread, fault.clone()).unwrap();
    opened.store.blocking_append([entry(1, 0, 10)]).await.unwrap();
    fails.store(true, std::sync::atomic::Ordering::SeqCst);
    opened.store.blocking_append([entry(1, 1, 10)]).await.unwrap_err();
    let failure = fault.raised().await;
    assert!(matches!(&failure, Failure::Log { reason, .. } if reason.contains("input/output")));
    opened.store.save_vote(&Vote::new(2, ServerId::default())).await.unwrap_err();
    opened.writer.join().unwrap();
}
