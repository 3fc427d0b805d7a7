//! Several servers in one process, over real sockets: writes, reads and elections from outside.

mod simulation;
mod snapshots;

use std::{net::SocketAddr, path::Path};

use lictor_consensus::{LogWrites, Peer, Settings};
use lictor_core::fsm::KvCommand;
use lictor_runtime::Tasks;
use lictor_transport::listener::{Bounds, serve};
use lictor_transport::servers::{KnownServer, Servers};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::rpc;

const DEADLINE: Duration = Duration::from_secs(30);

/// One server with its RPC port.
struct Member {
    server: Arc<Server>,
    known: KnownServer,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

/// Servers that know each other without gossip.
#[derive(Default)]
struct Cluster {
    directory: Arc<Servers>,
    members: Vec<Member>,
}

impl Member {
    async fn start(name: &str, directory: &Arc<Servers>, data_dir: Option<&Path>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let peers = PeerDirectory { servers: directory.clone(), ..PeerDirectory::none("dc1") };
        let node_id = Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()).to_string();
        let settings = Settings {
            node_id: node_id.clone(),
            node_name: name.to_owned(),
            address,
            data_dir: data_dir.map(Path::to_owned),
            bootstrap_expect: 0,
            multiplier: 1,
            compaction: lictor_consensus::Compaction::default(),
            log_writes: LogWrites::Thread,
            peers: peers.clone(),
        };
        let store = Arc::new(Store::default());
        let consensus = Consensus::start(settings, store.clone()).await.unwrap();
        let server = Arc::new(Server::new(store, consensus, peers, Duration::from_secs(7)));
        let shutdown = CancellationToken::new();
        let routes = rpc::consensus_services(&server);
        let bounds = Bounds { connections: 0, handshake: DEADLINE, open_path: "" };
        let tls = Arc::default();
        let serving = serve(listener, tls, routes, bounds, Tasks::until(shutdown.clone()));
        let known = KnownServer {
            datacenter: "dc1".to_owned(),
            name: name.to_owned(),
            id: node_id,
            address,
            expect: 0,
            started: 1,
        };
        Self { server, known, shutdown, serving: tokio::spawn(serving) }
    }

    fn peer(&self) -> Peer {
        Peer {
            node_id: self.known.id.clone(),
            node_name: self.known.name.clone(),
            address: self.known.address,
            voter: true,
        }
    }

    /// Without a word to the others.
    async fn stop(self) {
        self.shutdown.cancel();
        self.server.consensus().shutdown().await;
        self.serving.await.unwrap();
    }
}

impl Cluster {
    async fn start(names: &[&str]) -> Self {
        let mut cluster = Self::default();
        for name in names {
            cluster.add(name).await;
        }
        let peers: Vec<Peer> = cluster.members.iter().map(Member::peer).collect();
        cluster.members[0].server.consensus().found(&peers).await.unwrap();
        cluster
    }

    async fn add(&mut self, name: &str) -> usize {
        self.members.push(Member::start(name, &self.directory, None).await);
        self.announce();
        self.members.len() - 1
    }

    fn announce(&self) {
        self.directory.replace(self.members.iter().map(|member| member.known.clone()).collect());
    }

    /// Waits until all servers agree on the leader and returns its place.
    async fn leader(&self) -> usize {
        let agreed = async {
            loop {
                let leaders: Vec<Option<String>> = self
                    .members
                    .iter()
                    .map(|member| member.server.current_leader().ok().map(|it| it.node_id))
                    .collect();
                let at = self.members.iter().position(|member| {
                    leaders.iter().all(|leader| leader.as_ref() == Some(&member.known.id))
                });
                if let Some(at) = at {
                    return at;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(DEADLINE, agreed).await.expect("a leader that everybody knows")
    }

    fn follower_of(&self, leader: usize) -> usize {
        (0..self.members.len()).find(|at| *at != leader).unwrap()
    }

    async fn stop(self) {
        for member in self.members {
            member.stop().await;
        }
    }
}

fn set(key: &str, value: &str) -> Command {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Command::Kv(KvCommand::Set { key: key.to_owned(), flags: 0, value })
}

async fn get(server: &Server, key: &str, consistency: Consistency) -> Option<Bytes> {
    let options = QueryOptions { consistency, ..QueryOptions::default() };
    let (_, value) = server
        .query(&options, |state, _| state.kv.get(key).map(|pair| pair.value.clone()))
        .await
        .unwrap();
    value
}

async fn until(what: impl Fn() -> bool) {
    let reached = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, reached).await.expect("the condition to hold");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_takes_writes_and_reads_what_another_was_told() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    cluster.leader().await;
    for (round, consistency) in
        [Consistency::Default, Consistency::Consistent].into_iter().cycle().take(30).enumerate()
    {
        let writer = &cluster.members[round % 3].server;
        let value = format!("v{round}");
        assert!(writer.propose(set("k", &value)).await.unwrap());
        for reader in &cluster.members {
            let read = get(&reader.server, "k", consistency).await.unwrap();
            assert_eq!(read, value.as_bytes(), "{consistency:?} at {}", reader.known.name);
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_leads_when_the_leader_is_gone() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let leader = cluster.leader().await;
    cluster.members[leader].server.propose(set("before", "1")).await.unwrap();
    cluster.members.remove(leader).stop().await;
    cluster.announce();
    // The request waits for the election instead of failing.
    assert!(cluster.members[0].server.propose(set("after", "2")).await.unwrap());
    for member in &cluster.members {
        assert_eq!(get(&member.server, "before", Consistency::Default).await.unwrap(), "1");
        assert_eq!(get(&member.server, "after", Consistency::Default).await.unwrap(), "2");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_hands_over_without_an_election_timeout() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let leader = cluster.leader().await;
    let begun = Instant::now();
    cluster.members[leader].server.hand_over().await;
    assert!(!cluster.members[leader].server.is_leader());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(cluster.members[leader].server.propose(set("k", "v")).await.unwrap());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_quorum_answers_no_default_read() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let leader = cluster.leader().await;
    cluster.members[leader].server.propose(set("k", "v")).await.unwrap();
    let alone = cluster.members.remove(leader);
    cluster.stop().await;
    let options = QueryOptions::default();
    let read = |state: &State, _: &mut WatchSet| state.index;
    // What the others confirmed before they stopped holds for a moment: its lease.
    let refused = async {
        loop {
            match alone.server.query(&options, read).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => return error,
            }
        }
    };
    assert_eq!(timeout(DEADLINE, refused).await.unwrap(), ServerError::NoLeader);
    let stale = QueryOptions { consistency: Consistency::Stale, ..options };
    let (meta, _) = alone.server.query(&stale, read).await.unwrap();
    assert!(!meta.known_leader);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_server_learns_everything_and_becomes_a_voter() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let leader = cluster.leader().await;
    for key in 0..100 {
        cluster.members[leader].server.propose(set(&format!("k/{key}"), "v")).await.unwrap();
    }
    let new = cluster.add("d").await;
    let consensus = cluster.members[leader].server.consensus();
    let learner = Peer { voter: false, ..cluster.members[new].peer() };
    consensus.add_learner(&learner).await.unwrap();
    let last = consensus.last_index();
    until(|| cluster.members[new].server.consensus().applied_index() >= last).await;
    consensus.promote(&learner.node_id).await.unwrap();
    assert_eq!(consensus.peers().iter().filter(|peer| peer.voter).count(), 4);
    let read = get(&cluster.members[new].server, "k/99", Consistency::Default).await;
    assert_eq!(read.unwrap(), "v");
    consensus.remove(&learner.node_id).await.unwrap();
    assert_eq!(consensus.peers().len(), 3);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_servers_beside_one_with_data_found_no_cluster_of_their_own() {
    let mut cluster = Cluster::start(&["a"]).await;
    cluster.leader().await;
    for name in ["b", "c"] {
        cluster.add(name).await;
    }
    for member in &mut cluster.members {
        member.known.expect = 3;
    }
    cluster.announce();
    let known = cluster.directory.known();
    let new = &cluster.members[1];
    let attempt = bootstrap::attempt(&new.server, &new.known.id, 3, &known).await;
    let refusal = attempt.expect_err("it is the turn of b, which has the lowest ID");
    assert_eq!(refusal.to_string(), "a has data; its cluster will take this server in");
    assert!(cluster.members[1..].iter().all(|it| !it.server.consensus().has_data()));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_query_on_a_follower_wakes_when_another_writes() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let leader = cluster.leader().await;
    let follower = cluster.members[cluster.follower_of(leader)].server.clone();
    cluster.members[leader].server.propose(set("k", "1")).await.unwrap();
    let read = |state: &State, topics: &mut WatchSet| {
        topics.add(lictor_core::state::Topic::KvKey("k".into()));
        state.kv.get("k").map(|pair| pair.value.clone())
    };
    let (first, _) = follower.query(&QueryOptions::default(), read).await.unwrap();
    let waiting = {
        let follower = follower.clone();
        let wait = Some(DEADLINE);
        let options = QueryOptions { index: first.index, wait, ..QueryOptions::default() };
        tokio::spawn(async move { follower.query(&options, read).await.unwrap() })
    };
    until(|| follower.store().sleepers() > 0).await;
    cluster.members[leader].server.propose(set("k", "2")).await.unwrap();
    let (meta, value) = timeout(DEADLINE, waiting).await.unwrap().unwrap();
    assert_eq!(value.unwrap(), "2");
    assert!(meta.index > first.index);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_called_now_and_then_only() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let leader = cluster.leader().await;
    let gone = cluster.members.remove(cluster.follower_of(leader));
    let address = gone.known.address;
    gone.stop().await;
    let listener = TcpListener::bind(address).await.unwrap();
    let mut calls = 0;
    let count = async {
        loop {
            drop(listener.accept().await.unwrap());
            calls += 1;
        }
    };
    let second = timeout(Duration::from_secs(1), count).await;
    assert!(second.is_err(), "counting does not end by itself");
    assert!((1..50).contains(&calls), "{calls} calls in a second");
    cluster.stop().await;
}

#[tokio::test]
async fn a_blocking_query_waits_as_long_as_it_is_let() {
    let cluster = Cluster::start(&["a"]).await;
    let leader = cluster.leader().await;
    let server = &cluster.members[leader].server;
    server.propose(set("k", "1")).await.unwrap();
    let read = |state: &State, topics: &mut WatchSet| {
        topics.add(lictor_core::state::Topic::KvKey("k".into()));
        state.index
    };
    let (now, _) = server.query(&QueryOptions::default(), read).await.unwrap();
    let wait = Duration::from_secs(20 * 60);
    let options = QueryOptions {
        index: now.index,
        wait: Some(wait),
        consistency: Consistency::Stale,
        ..QueryOptions::default()
    };
    tokio::time::pause();
    let begun = Instant::now();
    server.query(&options, read).await.unwrap();
    let waited = begun.elapsed();
    tokio::time::resume();
    assert!(waited >= wait && waited <= wait.mul_f64(1.07), "{waited:?}");
    cluster.stop().await;
}
