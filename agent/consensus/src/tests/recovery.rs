//! `peers.json`: what it does to a server's data, and what it refuses.

use super::*;

const OTHERS: [&str; 2] =
    ["1b4e28ba-2fa1-11d2-883f-0016d3cca428", "1b4e28ba-2fa1-11d2-883f-0016d3cca429"];

fn peers_file(data_dir: &Path) -> PathBuf {
    data_dir.join("raft/peers.json")
}

/// A data directory with twenty keys, ten of them in a snapshot.
async fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (consensus, _) = start(Some(directory.path())).await;
    write(&consensus, 0..10).await;
    take_snapshot(&consensus).await;
    write(&consensus, 10..20).await;
    consensus.shutdown().await;
    directory
}

#[tokio::test]
async fn a_server_becomes_one_of_several_and_alone_again_without_losing_a_write() {
    let directory = filled().await;
    let three = format!(
        r#"[{{"id":"{NODE_ID}","address":"127.0.0.1:8300"}},
            {{"id":"{}","address":"127.0.0.1:8310","non_voter":false}},
            {{"id":"{}","address":"127.0.0.1:8320","non_voter":true}}]"#,
        OTHERS[0], OTHERS[1]
    );
    fs::write(peers_file(directory.path()), three).unwrap();
    let (consensus, store) = start(Some(directory.path())).await;
    assert!(!peers_file(directory.path()).exists());
    until(&consensus, |consensus| consensus.peers().len() == 3).await;
    let peers: Vec<(String, String, bool)> = consensus
        .peers()
        .into_iter()
        .map(|peer| (peer.node_name, peer.address.to_string(), peer.voter))
        .collect();
    assert_eq!(
        peers,
        [
            ("alpha".to_owned(), "127.0.0.1:8300".to_owned(), true),
            (OTHERS[0].to_owned(), "127.0.0.1:8310".to_owned(), true),
            (OTHERS[1].to_owned(), "127.0.0.1:8320".to_owned(), false),
        ]
    );
    // The others decide with it which entries after the snapshot count.
    assert_eq!(*consensus.leader().borrow(), None);
    assert_eq!(count(&store.snapshot()), 10);
    consensus.shutdown().await;

    let alone = format!(r#"[{{"id":"{NODE_ID}","address":"127.0.0.1:8300"}}]"#);
    fs::write(peers_file(directory.path()), &alone).unwrap();
    let (consensus, store) = start(Some(directory.path())).await;
    assert_eq!((count(&store.snapshot()), consensus.peers().len()), (20, 1));
    write(&consensus, 20..30).await;
    take_snapshot(&consensus).await;
    consensus.shutdown().await;

    let (consensus, store) = start(Some(directory.path())).await;
    assert_eq!((count(&store.snapshot()), consensus.peers().len()), (30, 1));
    consensus.shutdown().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_and_changes_nothing() {
    let directory = filled().await;
    let peer = |id: &str, address: &str| format!(r#"{{"id":"{id}","address":"{address}"}}"#);
    let this = peer(NODE_ID, "127.0.0.1:8300");
    for (text, reason) in [
        ("[{".to_owned(), "EOF while parsing"),
        (r#"["127.0.0.1:8300"]"#.to_owned(), r#"expected [{"id": NODE ID"#),
        (r#"[{"id":"x","adress":"y"}]"#.to_owned(), "unknown field `adress`"),
        (format!("[{}]", peer("alpha", "127.0.0.1:8300")), r#"id "alpha" is not a UUID"#),
        (format!("[{}]", peer(NODE_ID, "alpha:8300")), r#"address "alpha:8300" is not an IP"#),
        (format!("[{this},{this}]"), "is there twice"),
        (
            format!("[{this},{}]", peer(OTHERS[0], "127.0.0.1:8300")),
            "address 127.0.0.1:8300 is there twice",
        ),
        (format!("[{}]", peer(OTHERS[0], "127.0.0.1:8300")), "is not in it"),
        ("[]".to_owned(), "no server in it votes"),
        (
            format!(r#"[{{"id":"{NODE_ID}","address":"127.0.0.1:8300","non_voter":true}}]"#),
            "no server in it votes",
        ),
    ] {
        let path = peers_file(directory.path());
        fs::write(&path, &text).unwrap();
        let refused = refusal(settings(Some(directory.path()))).await;
        assert!(refused.contains(reason), "{text}: {refused}");
        assert!(refused.contains(path.to_str().unwrap()), "{refused}");
        assert!(path.exists());
    }
    fs::remove_file(peers_file(directory.path())).unwrap();
    let (consensus, store) = start(Some(directory.path())).await;
    assert_eq!((count(&store.snapshot()), consensus.peers().len()), (20, 1));
    consensus.shutdown().await;
}

#[tokio::test]
async fn a_directory_without_data_is_not_recovered() {
    let directory = tempfile::tempdir().unwrap();
    let path = peers_file(directory.path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!(r#"[{{"id":"{NODE_ID}","address":"127.0.0.1:8300"}}]"#)).unwrap();
    let refused = refusal(settings(Some(directory.path()))).await;
    assert!(refused.contains("no data of a cluster to recover"), "{refused}");
    fs::remove_file(&path).unwrap();
    let (consensus, _) = start(Some(directory.path())).await;
    consensus.shutdown().await;
}

#[tokio::test]
async fn a_damaged_log_is_not_rewritten() {
    let directory = filled().await;
    let log = directory.path().join("raft/raft.redb");
    let mut bytes = fs::read(&log).unwrap();
    bytes[4096..].fill(0xff);
    fs::write(&log, bytes).unwrap();
    let path = peers_file(directory.path());
    fs::write(&path, format!(r#"[{{"id":"{NODE_ID}","address":"127.0.0.1:8300"}}]"#)).unwrap();
    let refused = refusal(settings(Some(directory.path()))).await;
    assert!(refused.contains("raft.redb"), "{refused}");
    assert!(path.exists());
}
