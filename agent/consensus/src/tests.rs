//! A server alone, from outside: what it answered is there again, whatever happened in between.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lictor_core::{
    fsm::KvCommand,
    state::{State, Topic, WatchSet},
};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::timeout;

mod crash;
mod formats;
mod recovery;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);
const NODE_ID: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";

fn settings(data_dir: Option<&Path>) -> Settings {
    Settings {
        node_id: NODE_ID.to_owned(),
        node_name: "alpha".to_owned(),
        address: ([127, 0, 0, 1], 8300).into(),
        data_dir: data_dir.map(Path::to_owned),
        bootstrap_expect: 1,
        multiplier: 1,
        compaction: Compaction::default(),
        log_writes: LogWrites::Thread,
        peers: PeerDirectory::none("dc1"),
    }
}

async fn start(data_dir: Option<&Path>) -> (Arc<Consensus>, Arc<Store>) {
    let store = Arc::new(Store::default());
    let consensus = Consensus::start(settings(data_dir), store.clone()).await.unwrap();
    (Arc::new(consensus), store)
}

async fn refusal(settings: Settings) -> String {
    match Consensus::start(settings, Arc::new(Store::default())).await {
        Ok(_) => panic!("a data directory that is not usable was accepted"),
        Err(error) => error.to_string(),
    }
}

fn set(key: &str, value: &str) -> Command {
    Command::Kv(KvCommand::Set {
        key: key.to_owned(),
        flags: 0,
        value: Bytes::copy_from_slice(value.as_bytes()),
    })
}

async fn write(consensus: &Consensus, keys: std::ops::Range<u64>) -> u64 {
    let mut last = 0;
    for key in keys {
        last = consensus.propose(set(&format!("k/{key}"), "v")).await.unwrap().index;
    }
    last
}

fn count(state: &State) -> u64 {
    state.kv.list("k/").count() as u64
}

/// Waits until a figure of [`Consensus::stats`] is as wanted.
async fn until(consensus: &Consensus, what: impl Fn(&Consensus) -> bool) {
    let mut metrics = consensus.engine.metrics();
    timeout(DEADLINE, async {
        while !what(consensus) {
            metrics.changed().await.unwrap();
        }
    })
    .await
    .expect("the condition holds in time");
}

/// Waits until the log is shortened.
async fn until_purged(consensus: &Consensus) {
    until(consensus, |consensus| consensus.engine.metrics().borrow_watched().purged.is_some())
        .await;
}

/// Takes a snapshot of everything applied and waits until the engine has it.
async fn take_snapshot(consensus: &Consensus) {
    let applied = consensus.stats()["applied_index"].clone();
    let is_there = |consensus: &Consensus| consensus.stats()["last_snapshot_index"] == applied;
    timeout(DEADLINE, async {
        // Refused while the last one, if the disk was slow, is too recent.
        while !is_there(consensus) {
            consensus.engine.trigger().snapshot().await.unwrap();
            if timeout(Duration::from_millis(200), until(consensus, is_there)).await.is_ok() {
                break;
            }
        }
    })
    .await
    .expect("a snapshot in time");
}

fn snapshots(data_dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(data_dir.join("raft/snapshots"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    paths
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_server_alone_in_memory_leads_at_once() {
    // An election would take at least seven seconds.
    let patient = Settings { multiplier: 20, ..settings(None) };
    let started = Consensus::start(patient, Arc::new(Store::default()));
    let consensus = timeout(Duration::from_secs(5), started).await.unwrap().unwrap();
    let leader = consensus.leader().borrow().clone().unwrap();
    assert_eq!((leader.node_name.as_str(), leader.is_self, leader.term), ("alpha", true, 1));
    for consistency in [Consistency::Default, Consistency::Consistent, Consistency::Stale] {
        consensus.barrier(consistency).await.unwrap();
    }
    let peers = consensus.peers();
    assert_eq!(peers.len(), 1);
    assert_eq!((peers[0].node_id.as_str(), peers[0].voter), (NODE_ID, true));
    consensus.shutdown().await;
}

#[tokio::test]
async fn stats_have_the_keys_of_consul_and_the_last_contact_with_the_leader() {
    let (leader, _) = start(None).await;
    let stats = leader.stats();
    let keys: Vec<&str> = stats.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "applied_index",
            "commit_index",
            "fsm_pending",
            "last_contact",
            "last_log_index",
            "last_log_term",
            "last_snapshot_index",
            "last_snapshot_term",
            "latest_configuration",
            "latest_configuration_index",
            "num_peers",
            "protocol_version",
            "protocol_version_max",
            "protocol_version_min",
            "snapshot_version_max",
            "snapshot_version_min",
            "state",
            "term",
        ]
    );
    let shown = |stats: &BTreeMap<String, String>| {
        ["state", "last_contact", "num_peers"].map(|key| stats[key].clone())
    };
    assert_eq!(shown(&stats), ["Leader", "0", "0"]);
    leader.shutdown().await;
    // It waits for two others, so it is a follower without a leader.
    let waiting = Settings { bootstrap_expect: 3, ..settings(None) };
    let follower = Consensus::start(waiting, Arc::new(Store::default())).await.unwrap();
    assert_eq!(shown(&follower.stats()), ["Follower", "never", "0"]);
    let before = std::time::Instant::now();
    follower.contact.touch();
    let contact: lictor_api::GoDuration = follower.stats()["last_contact"].parse().unwrap();
    assert!(contact.0 <= before.elapsed(), "{contact}");
    follower.shutdown().await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart_and_indexes_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..3 {
        let (consensus, store) = start(Some(directory.path())).await;
        assert_eq!(count(&store.snapshot()), round * 20);
        assert!(store.snapshot().index > last);
        last = write(&consensus, round * 20..(round + 1) * 20).await;
        assert_eq!(store.snapshot().index, last);
        consensus.shutdown().await;
    }
}

#[tokio::test]
async fn a_write_is_visible_when_it_is_answered_and_wakes_only_its_watchers() {
    let (consensus, store) = start(None).await;
    let watch = |key: &str| {
        let mut topics = WatchSet::default();
        topics.add(Topic::KvKey(key.into()));
        store.watch(topics)
    };
    let (written, other) = (watch("a"), watch("b"));
    let committed = consensus.propose(set("a", "1")).await.unwrap();
    let state = store.snapshot();
    assert_eq!(state.index, committed.index);
    assert_eq!(state.kv.get("a").unwrap().modify_index, committed.index);
    timeout(DEADLINE, written.changed()).await.unwrap();
    assert!(futures_util::FutureExt::now_or_never(other.changed()).is_none());
    consensus.shutdown().await;
}

#[tokio::test]
async fn concurrent_writes_are_all_answered_with_indexes_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let (consensus, store) = start(Some(directory.path())).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..32 {
        let consensus = consensus.clone();
        tasks.spawn(async move {
            let mut indexes = Vec::new();
            for n in 0..10 {
                let command = set(&format!("k/{writer}/{n}"), "v");
                indexes.push(consensus.propose(command).await.unwrap().index);
            }
            indexes
        });
    }
    let mut indexes = tasks.join_all().await.concat();
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!((indexes.len(), count(&store.snapshot())), (320, 320));
    consensus.shutdown().await;
}

#[tokio::test]
async fn snapshots_replace_the_log_back_to_the_older_of_two() {
    let directory = tempfile::tempdir().unwrap();
    let (consensus, _) = start(Some(directory.path())).await;
    for round in 0..3 {
        write(&consensus, round * 10..(round + 1) * 10).await;
        take_snapshot(&consensus).await;
    }
    let kept = snapshots(directory.path());
    assert_eq!(kept.len(), 2);
    let older: u64 = kept[0].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    until(&consensus, |consensus| {
        let metrics = consensus.engine.metrics();
        let purged = metrics.borrow_watched().purged;
        purged.is_some_and(|purged| purged.index == older)
    })
    .await;
    consensus.shutdown().await;

    let (consensus, store) = start(Some(directory.path())).await;
    assert_eq!(count(&store.snapshot()), 30);
    write(&consensus, 30..31).await;
    consensus.shutdown().await;
}

#[tokio::test]
async fn the_newest_entries_stay_in_the_log_though_snapshots_have_them() {
    let compaction = Compaction { trailing: 15, ..Compaction::default() };
    let settings = Settings { compaction, ..settings(None) };
    let consensus = Consensus::start(settings, Arc::new(Store::default())).await.unwrap();
    for round in 0..4 {
        write(&consensus, round * 10..(round + 1) * 10).await;
        take_snapshot(&consensus).await;
    }
    until_purged(&consensus).await;
    let metrics = consensus.engine.metrics().borrow_watched().clone();
    let (purged, last) = (metrics.purged.unwrap().index, metrics.last_log_index.unwrap());
    assert!(purged + 15 <= last, "{purged} of {last}");
    consensus.shutdown().await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_replaced_by_the_older_one_and_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let (consensus, _) = start(Some(directory.path())).await;
    for round in 0..3 {
        write(&consensus, round * 10..(round + 1) * 10).await;
        take_snapshot(&consensus).await;
    }
    until_purged(&consensus).await;
    consensus.shutdown().await;
    damage(&snapshots(directory.path())[1]);
    let (consensus, store) = start(Some(directory.path())).await;
    assert_eq!(count(&store.snapshot()), 30);
    consensus.shutdown().await;

    damage(&snapshots(directory.path())[0]);
    let text = refusal(settings(Some(directory.path()))).await;
    assert!(text.contains("is damaged") && text.contains("restore the data directory"), "{text}");
    assert!(text.contains(".snap"), "{text}");
}

#[tokio::test]
async fn a_missing_snapshot_refuses_to_start() {
    let directory = tempfile::tempdir().unwrap();
    let (consensus, _) = start(Some(directory.path())).await;
    for round in 0..2 {
        write(&consensus, round * 10..(round + 1) * 10).await;
        take_snapshot(&consensus).await;
    }
    until(&consensus, |consensus| consensus.engine.metrics().borrow_watched().purged.is_some())
        .await;
    consensus.shutdown().await;
    for path in snapshots(directory.path()) {
        fs::remove_file(path).unwrap();
    }
    assert!(refusal(settings(Some(directory.path()))).await.contains("no snapshot in"));
}

#[tokio::test]
async fn snapshots_in_memory_shorten_the_log_too() {
    let (consensus, store) = start(None).await;
    for round in 0..3 {
        write(&consensus, round * 10..(round + 1) * 10).await;
        take_snapshot(&consensus).await;
    }
    until(&consensus, |consensus| consensus.engine.metrics().borrow_watched().purged.is_some())
        .await;
    assert_eq!(count(&store.snapshot()), 30);
    consensus.shutdown().await;
}

#[tokio::test]
async fn a_newer_data_directory_is_refused_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let (consensus, _) = start(Some(directory.path())).await;
    consensus.shutdown().await;
    let format = directory.path().join("raft/format");
    let log = fs::read(directory.path().join("raft/raft.redb")).unwrap();
    fs::write(&format, "2\n").unwrap();
    let text = refusal(settings(Some(directory.path()))).await;
    assert!(text.contains(format.to_str().unwrap()), "{text}");
    assert!(text.contains("format 2, newer than 1"), "{text}");
    assert_eq!(fs::read(directory.path().join("raft/raft.redb")).unwrap(), log);
    fs::remove_file(&format).unwrap();
    assert!(refusal(settings(Some(directory.path()))).await.contains("does not name a format"));
}

#[tokio::test]
async fn data_of_another_node_id_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (consensus, _) = start(Some(directory.path())).await;
    consensus.shutdown().await;
    let other = Settings {
        node_id: "1b4e28ba-2fa1-11d2-883f-0016d3cca428".to_owned(),
        ..settings(Some(directory.path()))
    };
    let text = refusal(other).await;
    assert!(text.contains(&format!("alpha {NODE_ID}")), "{text}");
    let nonsense = Settings { node_id: "alpha".to_owned(), ..settings(None) };
    assert_eq!(refusal(nonsense).await, "node ID \"alpha\" is not a UUID");
}

#[tokio::test]
async fn a_new_name_and_address_reach_the_membership() {
    let directory = tempfile::tempdir().unwrap();
    let (consensus, _) = start(Some(directory.path())).await;
    consensus.shutdown().await;
    let moved = Settings {
        node_name: "beta".to_owned(),
        address: ([10, 0, 0, 7], 8300).into(),
        ..settings(Some(directory.path()))
    };
    let consensus = Consensus::start(moved.clone(), Arc::new(Store::default())).await.unwrap();
    let peer = consensus.peers().remove(0);
    assert_eq!((peer.node_name, peer.address), (moved.node_name, moved.address));
    assert!(consensus.stats()["latest_configuration"].contains("Address:10.0.0.7:8300"));
    consensus.shutdown().await;
}

#[tokio::test]
async fn an_unknown_command_stops_the_server_now_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (consensus, store) = start(Some(directory.path())).await;
    write(&consensus, 0..5).await;
    let newer = Bytes::from_static(&[1, 0x81, 0xa4, b'N', b'o', b'p', b'e', 0xc0]);
    let written = timeout(DEADLINE, consensus.engine.client_write(Proposal(newer))).await;
    written.expect("an answer in time").unwrap_err();
    let failure = timeout(DEADLINE, consensus.failed()).await.unwrap();
    assert!(matches!(failure, Failure::Entry { .. }), "{failure}");
    assert!(failure.to_string().contains("if a newer lictor wrote it"), "{failure}");
    assert_eq!(count(&store.snapshot()), 5);
    let refused = consensus.propose(set("k/6", "v")).await;
    assert_eq!(refused.unwrap_err(), ConsensusError::ShuttingDown);
    consensus.shutdown().await;
    let text = refusal(settings(Some(directory.path()))).await;
    assert!(text.contains("cannot be applied"), "{text}");
}

#[tokio::test]
async fn shutdown_ends_and_refuses_what_comes_after() {
    let directory = tempfile::tempdir().unwrap();
    let (consensus, _) = start(Some(directory.path())).await;
    write(&consensus, 0..5).await;
    timeout(DEADLINE, consensus.shutdown()).await.expect("an end in time");
    assert_eq!(*consensus.leader().borrow(), None);
    let refused = consensus.propose(set("k/6", "v")).await;
    assert_eq!(refused.unwrap_err(), ConsensusError::ShuttingDown);
    assert_eq!(
        consensus.barrier(Consistency::Default).await.unwrap_err(),
        ConsensusError::ShuttingDown
    );
    consensus.barrier(Consistency::Stale).await.unwrap();
}
