//! Pools on loopback addresses, with timings short enough to wait for.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    JoinError, Key, KeyOperation, Keyring, Member, MemberStatus, Pool, Profile, Query, Settings,
    StartError, TagsError, Timing,
    join::{self, Target},
};

const FIRST: &str = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=";
const SECOND: &str = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";
/// Longer than anything here takes on a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

fn settings(name: &str) -> Settings {
    let mut settings =
        Settings::new(name, &format!("id-{name}"), "127.0.0.1:0".parse().unwrap(), Profile::Lan);
    settings.tags = [("dc", "dc1"), ("role", "consul"), ("port", "8300"), ("build", "1.21.4")]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    settings.timing = Timing {
        probe_interval: Duration::from_millis(200),
        probe_timeout: Duration::from_millis(100),
        suspicion_mult: 2,
        gossip_interval: Duration::from_millis(20),
        push_pull_interval: Duration::from_secs(1),
        reconnect_interval: Duration::from_millis(300),
        reap_interval: Duration::from_millis(200),
        leave_propagate: Duration::from_millis(200),
        connect_timeout: Duration::from_secs(2),
        ..Timing::of(Profile::Lan)
    };
    settings
}

async fn start(name: &str) -> Pool {
    Pool::start(settings(name)).await.unwrap()
}

async fn joined(names: &[&str]) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    for name in names {
        let pool = start(name).await;
        if let Some(first) = pools.first() {
            assert_eq!(pool.join(&[first.local_address()]).await.unwrap(), 1);
        }
        pools.push(pool);
    }
    for pool in &pools {
        until(pool, |members| members.iter().filter(|m| m.is_alive()).count() == names.len()).await;
    }
    pools
}

async fn until(pool: &Pool, wanted: impl Fn(&[Member]) -> bool) -> Arc<Vec<Member>> {
    let mut changes = pool.changes();
    let found = timeout(TEST_TIMEOUT, changes.wait_for(|members| wanted(members))).await;
    found.unwrap_or_else(|_| panic!("members are {:?}", pool.members())).unwrap().clone()
}

async fn until_status(pool: &Pool, name: &str, status: MemberStatus) {
    until(pool, |members| members.iter().any(|m| m.name == name && m.status == status)).await;
}

async fn stop(pools: impl IntoIterator<Item = Pool>) {
    for pool in pools {
        pool.shutdown().await;
    }
}

#[tokio::test]
async fn members_know_each_other_with_their_tags() {
    let pools = joined(&["a", "b", "c"]).await;
    let members = pools[0].members();
    assert_eq!(members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    let c = &members[2];
    assert_eq!(c.address, pools[2].local_address());
    assert_eq!(c.server_address(), Some("127.0.0.1:8300".parse().unwrap()));
    assert_eq!(
        (c.node_id(), c.datacenter(), c.build(), c.is_server()),
        ("id-c", "dc1", "1.21.4", true)
    );
    let mut tags = pools[2].tags();
    tags.insert("build".into(), "2.0.0".into());
    pools[2].set_tags(tags).await.unwrap();
    until(&pools[1], |members| members.iter().any(|m| m.build() == "2.0.0")).await;
    stop(pools).await;
}

#[tokio::test]
async fn tags_that_fit_no_packet_are_refused() {
    let pool = start("a").await;
    let mut tags = pool.tags();
    tags.insert("long".into(), "x".repeat(500));
    assert!(pool.set_tags(tags.clone()).await.is_err());
    let settings = Settings { tags, ..settings("b") };
    assert!(matches!(Pool::start(settings).await, Err(StartError::Tags(_))));
    pool.shutdown().await;
}

#[tokio::test]
async fn a_pool_that_was_shut_down_keeps_its_tags() {
    let pool = start("a").await;
    pool.shutdown().await;
    let before = pool.tags();
    let mut tags = before.clone();
    tags.insert("build".into(), "2.0.0".into());
    assert!(matches!(pool.set_tags(tags).await, Err(TagsError::Stopped)));
    assert_eq!(pool.tags(), before);
}

#[tokio::test]
async fn every_address_that_was_not_joined_is_named() {
    let pool = start("a").await;
    let closed = start("b").await;
    let address = closed.local_address();
    closed.shutdown().await;
    let error = pool.join(&[address]).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, JoinError::Unreachable(errors) if errors[0].address == address));
    assert!(text.starts_with(&format!("Failed to join {address}: ")), "{text}");
    assert!(!text.contains('\n'), "{text}");
    pool.shutdown().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let pool = start("a").await;
    let bind = pool.local_address();
    let refused = Pool::start(Settings { bind, ..settings("b") }).await.err().unwrap();
    assert_eq!(refused.to_string(), format!("listening for gossip on {bind}"));
    pool.shutdown().await;
}

#[tokio::test]
async fn a_member_that_leaves_has_left_and_one_that_is_killed_has_failed() {
    let pools = joined(&["a", "b", "c"]).await;
    pools[1].leave().await;
    pools[1].shutdown().await;
    until_status(&pools[0], "b", MemberStatus::Left).await;
    pools[2].shutdown().await;
    until_status(&pools[0], "c", MemberStatus::Failed).await;
    assert!(pools[0].force_leave("c", false).await);
    until_status(&pools[0], "c", MemberStatus::Left).await;
    assert!(pools[0].force_leave("c", true).await);
    until(&pools[0], |members| members.iter().all(|m| m.name != "c")).await;
    assert!(!pools[0].force_leave("unknown", false).await);
    pools[0].shutdown().await;
}

#[tokio::test]
async fn a_failed_member_comes_back_under_another_address_and_another_id() {
    let pools = joined(&["a", "b", "c"]).await;
    pools[2].shutdown().await;
    until_status(&pools[0], "c", MemberStatus::Failed).await;
    let mut again = settings("c");
    (again.bind, again.node_id) = ("127.0.0.3:0".parse().unwrap(), "id-other".into());
    again.advertise = again.bind;
    let again = Pool::start(again).await.unwrap();
    again.join(&[pools[0].local_address()]).await.unwrap();
    for pool in &pools[..2] {
        let members = until(pool, |members| {
            members.iter().any(|m| m.node_id() == "id-other" && m.is_alive())
        })
        .await;
        assert_eq!(members.len(), 3);
        assert_eq!(members[2].address, again.local_address());
    }
    stop(pools.into_iter().chain([again])).await;
}

/// Probes so rarely that failures are learned from announcements alone.
fn unobservant(name: &str) -> Settings {
    let mut settings = settings(name);
    settings.timing.probe_interval = Duration::from_secs(600);
    settings
}

#[tokio::test]
async fn a_member_that_withdraws_has_failed_at_once_and_comes_back_under_another_address() {
    let a = Pool::start(unobservant("a")).await.unwrap();
    let b = Pool::start(unobservant("b")).await.unwrap();
    b.join(&[a.local_address()]).await.unwrap();
    until(&a, |members| members.len() == 2).await;
    b.withdraw().await;
    b.shutdown().await;
    until_status(&a, "b", MemberStatus::Failed).await;
    let mut again = unobservant("b");
    again.bind = "127.0.0.3:0".parse().unwrap();
    again.advertise = again.bind;
    let again = Pool::start(again).await.unwrap();
    again.join(&[a.local_address()]).await.unwrap();
    let there = again.local_address();
    until(&a, |members| members.iter().any(|m| m.address == there && m.is_alive())).await;
    stop([a, again]).await;
}

#[tokio::test]
async fn a_name_is_kept_by_the_agent_that_was_started_later() {
    let pools = joined(&["a", "b", "c"]).await;
    let mut newer = settings("c");
    (newer.bind, newer.node_id) = ("127.0.0.3:0".parse().unwrap(), "id-newer".into());
    newer.advertise = newer.bind;
    let newer = Pool::start(newer).await.unwrap();
    // Refused, or already let in, depending on how soon the others find the previous holder dead.
    if let Err(error) = newer.join(&[pools[0].local_address()]).await {
        assert!(matches!(error, JoinError::NameInUse { .. }), "{error}");
    }
    let mut superseded = pools[2].superseded();
    let newer_agent = timeout(TEST_TIMEOUT, superseded.wait_for(Option::is_some)).await;
    let by = newer_agent.unwrap().unwrap().clone();
    assert_eq!(by.unwrap().address, newer.local_address());
    until(&pools[1], |members| members.iter().any(|m| m.node_id() == "id-newer" && m.is_alive()))
        .await;
    assert!(newer.superseded().borrow().is_none());
    stop(pools.into_iter().chain([newer])).await;
}

#[tokio::test]
async fn another_datacenter_stays_out_of_the_lan_pool() {
    let a = start("a").await;
    let mut other = settings("b");
    other.tags.insert("dc".into(), "dc2".into());
    let other = Pool::start(other).await.unwrap();
    let refused = other.join(&[a.local_address()]).await.unwrap_err().to_string();
    assert!(refused.contains("datacenter"), "{refused}");
    assert_eq!(a.members().len(), 1);
    stop([a, other]).await;
}

#[tokio::test]
async fn members_that_failed_for_long_are_forgotten() {
    let mut short = settings("a");
    short.timing.reconnect_timeout = Duration::from_millis(500);
    let a = Pool::start(short).await.unwrap();
    let b = start("b").await;
    b.join(&[a.local_address()]).await.unwrap();
    until(&a, |members| members.len() == 2).await;
    b.shutdown().await;
    until(&a, |members| members.len() == 1).await;
    a.shutdown().await;
}

fn encrypted(name: &str, key: &str, directory: &Path) -> Settings {
    let file = directory.join(name).join("serf/local.keyring");
    Settings { keyring: Keyring::open(Some(&file), Some(key)).unwrap(), ..settings(name) }
}

#[tokio::test]
async fn a_wrong_key_and_plain_text_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let a = Pool::start(encrypted("a", FIRST, directory.path())).await.unwrap();
    assert!(a.is_encrypted());
    let wrong = Pool::start(encrypted("b", SECOND, directory.path())).await.unwrap();
    assert!(wrong.join(&[a.local_address()]).await.is_err());
    let plain = start("c").await;
    assert!(plain.join(&[a.local_address()]).await.is_err());
    assert_eq!(a.members().len(), 1);
    stop([a, wrong, plain]).await;
}

#[tokio::test]
async fn keys_are_changed_everywhere_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let a = Pool::start(encrypted("a", FIRST, directory.path())).await.unwrap();
    let b = Pool::start(encrypted("b", FIRST, directory.path())).await.unwrap();
    b.join(&[a.local_address()]).await.unwrap();
    until(&a, |members| members.len() == 2).await;
    let second = Key::parse(SECOND).unwrap();
    let report = a.keys(KeyOperation::Use(second), 0).await.unwrap();
    assert_eq!((report.nodes, report.answered, report.errors.len()), (2, 2, 2));
    for operation in [
        KeyOperation::Install(second),
        KeyOperation::Use(second),
        KeyOperation::Remove(Key::parse(FIRST).unwrap()),
    ] {
        let report = a.keys(operation, 1).await.unwrap();
        assert_eq!((report.answered, report.errors.len()), (2, 0), "{operation:?} {report:?}");
    }
    let report = b.keys(KeyOperation::List, 0).await.unwrap();
    assert_eq!(report.keys.into_iter().collect::<Vec<_>>(), [(SECOND.to_owned(), 2)]);
    assert_eq!(report.primary_keys.into_iter().collect::<Vec<_>>(), [(SECOND.to_owned(), 2)]);
    assert_eq!(b.local_keys().keys.len(), 1);
    let file = directory.path().join("b/serf/local.keyring");
    assert_eq!(std::fs::read_to_string(file).unwrap(), format!("[\n  \"{SECOND}\"\n]"));
    stop([a, b]).await;
}

#[tokio::test]
async fn keys_of_a_pool_without_encryption_are_an_error_of_each_member() {
    let a = start("a").await;
    let report = a.keys(KeyOperation::List, 0).await.unwrap();
    assert_eq!(report.errors["a"], "gossip is not encrypted on this agent");
    a.shutdown().await;
}

#[tokio::test]
async fn events_reach_every_member_in_lamport_time() {
    let pools = joined(&["a", "b"]).await;
    let (mut here, mut there) = (pools[0].events(), pools[1].events());
    for number in 0..3u64 {
        let payload = Bytes::from(format!("payload {number}"));
        pools[0].fire("deploy", payload.clone()).await.unwrap();
        for events in [&mut here, &mut there] {
            let event = timeout(TEST_TIMEOUT, events.recv()).await.unwrap().unwrap();
            assert_eq!((event.name.as_str(), &event.payload), ("deploy", &payload));
            assert!(event.time >= number);
        }
    }
    let long = pools[0].fire("deploy", Bytes::from(vec![0; 512])).await.unwrap_err().to_string();
    assert_eq!(long, "user event exceeds configured limit of 512 bytes before encoding");
    stop(pools).await;
}

#[tokio::test]
async fn every_member_answers_a_query() {
    let pools = joined(&["a", "b", "c"]).await;
    for pool in &pools {
        let name = pool.name().to_owned();
        pool.handle_query("who", move |asked| {
            let answer = Bytes::from(format!("{}{name}", String::from_utf8_lossy(&asked)));
            Box::pin(std::future::ready(Some(answer)))
        });
    }
    let query = Query {
        name: "who",
        payload: Bytes::from_static(b"I am "),
        timeout: Some(Duration::from_secs(5)),
        relay_factor: 0,
    };
    let mut answers = pools[1].query(query).await.unwrap();
    let mut said = Vec::new();
    while said.len() < 3 {
        said.push(answers.next().await.unwrap().payload);
    }
    said.sort();
    assert_eq!(said, ["I am a", "I am b", "I am c"]);
    stop(pools).await;
}

#[tokio::test]
async fn coordinates_are_learned_from_probes() {
    let pools = joined(&["a", "b"]).await;
    let far = async {
        loop {
            if let Some(there) = pools[0].coordinate_of("b") {
                return pools[0].coordinate().distance_to(&there).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(TEST_TIMEOUT, far).await.unwrap() < Duration::from_secs(1));
    assert_eq!(pools[0].coordinate_of("unknown"), None);
    stop(pools).await;
}

#[tokio::test]
async fn peers_are_remembered_over_a_restart_and_forgotten_after_a_leave() {
    let directory = tempfile::tempdir().unwrap();
    let kept = || Settings {
        snapshot: Some(directory.path().join("serf/local.snapshot")),
        ..settings("b")
    };
    let a = start("a").await;
    let b = Pool::start(kept()).await.unwrap();
    b.join(&[a.local_address()]).await.unwrap();
    b.shutdown().await;
    let b = Pool::start(kept()).await.unwrap();
    assert_eq!(b.remembered(), [a.local_address()]);
    b.leave().await;
    b.shutdown().await;
    let b = Pool::start(kept()).await.unwrap();
    assert!(b.remembered().is_empty());
    stop([a, b]).await;
}

#[tokio::test]
async fn an_agent_alone_tries_its_targets_until_the_cluster_is_found() {
    let reserved: SocketAddr = {
        let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        listener.local_addr().unwrap()
    };
    let client = start("client").await;
    let until_stopped = CancellationToken::new();
    let search = join::Settings {
        resolver: Arc::new(join::target::NoLookup),
        targets: vec![Target::parse(&reserved.to_string(), 8301).unwrap()],
        retry_interval: Duration::from_millis(100),
        retry_max: 0,
    };
    let task = tokio::spawn(join::run(client.clone(), search, until_stopped.clone()));
    let late = Settings { bind: reserved, advertise: reserved, ..settings("server") };
    let server = Pool::start(late.clone()).await.unwrap();
    until_status(&client, "server", MemberStatus::Alive).await;
    server.leave().await;
    server.shutdown().await;
    until_status(&client, "server", MemberStatus::Left).await;
    let server = Pool::start(late).await.unwrap();
    until_status(&client, "server", MemberStatus::Alive).await;
    until_stopped.cancel();
    task.await.unwrap().unwrap();
    stop([client, server]).await;
}
