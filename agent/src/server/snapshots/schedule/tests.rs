use lictor_consensus::{Consensus, LogWrites, PeerDirectory};
use lictor_core::state::State;
use lictor_store::Store;

use super::*;

fn settings(path: &Path) -> Snapshots {
    Snapshots { interval: Duration::from_secs(3600), retain: 2, path: path.join("snapshots") }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

async fn server() -> Arc<Server> {
    let store = Arc::new(Store::default());
    let settings = lictor_consensus::Settings {
        node_id: "1b4e28ba-2fa1-11d2-883f-0016d3cca427".to_owned(),
        node_name: "alpha".to_owned(),
        address: ([127, 0, 0, 1], 8300).into(),
        data_dir: None,
        bootstrap_expect: 1,
        multiplier: 1,
        compaction: lictor_consensus::Compaction::default(),
        log_writes: LogWrites::Thread,
        peers: PeerDirectory::none("dc1"),
    };
    let consensus = Consensus::start(settings, store.clone()).await.unwrap();
    Arc::new(Server::new(store, consensus, PeerDirectory::none("dc1"), Duration::from_secs(7)))
}

#[test]
fn the_newest_are_kept_and_other_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    let archive = archive::pack(&State::default(), 1, vec![], 0).unwrap();
    keep(&settings, &archive, 99, at(0)).unwrap();
    for name in ["lictor-mine.snap", "notes.txt"] {
        fs::write(settings.path.join(name), "mine").unwrap();
    }
    // A lower index after a restore is newer all the same.
    for (second, index) in [(1, 5), (2, 6)] {
        keep(&settings, &archive, index, at(second)).unwrap();
    }
    let names: Vec<String> = list(&settings.path)
        .unwrap()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "lictor-20231114T221321Z-00000000000000000005.snap",
            "lictor-20231114T221322Z-00000000000000000006.snap"
        ]
    );
    assert_eq!(fs::read_dir(&settings.path).unwrap().count(), 4);
}

#[test]
fn an_archive_that_is_not_usable_replaces_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Snapshots { retain: 1, ..settings(directory.path()) };
    let archive = archive::pack(&State::default(), 1, vec![], 0).unwrap();
    let good = keep(&settings, &archive, 1, at(0)).unwrap();
    keep(&settings, b"rubbish", 2, at(1)).unwrap_err();
    assert_eq!(list(&settings.path).unwrap(), [good]);
}

#[test]
fn a_new_leader_waits_for_the_rest_of_the_interval() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    let now = SystemTime::now();
    assert_eq!(first_pause(&settings, now), Duration::ZERO);
    let archive = archive::pack(&State::default(), 1, vec![], 0).unwrap();
    keep(&settings, &archive, 1, at(0)).unwrap();
    let later = now + Duration::from_secs(600);
    let pause = first_pause(&settings, later);
    assert!(pause > Duration::from_secs(2990) && pause <= Duration::from_secs(3010), "{pause:?}");
    assert_eq!(first_pause(&settings, now + Duration::from_secs(9999)), Duration::ZERO);
}

#[tokio::test]
async fn the_duty_saves_at_once_when_there_is_none_and_ends_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let (server, settings) = (server().await, settings(directory.path()));
    let until = CancellationToken::new();
    let duty = tokio::spawn(run(server.clone(), settings.clone(), until.clone()));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while list(&settings.path).map_or(0, |files| files.len()) == 0 {
        assert!(tokio::time::Instant::now() < deadline, "nothing is saved");
        sleep(Duration::from_millis(5)).await;
    }
    until.cancel();
    duty.await.unwrap();
    let file = fs::File::open(&list(&settings.path).unwrap()[0]).unwrap();
    assert_eq!(archive::unpack(file).unwrap().meta.term, 1);
    server.consensus().shutdown().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_an_error_that_names_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("snapshots"), "a file").unwrap();
    let server = server().await;
    let error = save(&server, &settings(directory.path())).await.unwrap_err();
    assert!(
        chain(&error).contains("exists") || chain(&error).contains("directory"),
        "{}",
        chain(&error)
    );
    server.consensus().shutdown().await;
}
