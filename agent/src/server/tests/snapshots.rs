//! Snapshots and autopilot among several servers.

use lictor_api::types::operator::AutopilotConfiguration;
use lictor_membership::MemberStatus;

use tokio::sync::watch;

use super::*;
use crate::server::autopilot;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_asked_of_a_follower_reaches_every_server() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let leader = cluster.leader().await;
    let follower = &cluster.members[cluster.follower_of(leader)].server;
    for key in 0..50 {
        follower.propose(set(&format!("k/{key}"), "v")).await.unwrap();
    }
    let (meta, archive) = follower.save(Consistency::Default).await.unwrap();
    assert!(meta.index > 50);
    follower.propose(set("lost", "v")).await.unwrap();
    let seen = follower.store().snapshot().index;
    follower.restore(archive.into()).await.unwrap();
    for member in &cluster.members {
        assert_eq!(get(&member.server, "lost", Consistency::Default).await, None);
        assert_eq!(get(&member.server, "k/49", Consistency::Default).await.unwrap(), "v");
        assert!(member.server.store().snapshot().index > seen);
    }
    // Everything goes on: writes, and the same state on all of them.
    follower.propose(set("after", "v")).await.unwrap();
    for member in &cluster.members {
        get(&member.server, "after", Consistency::Default).await.unwrap();
    }
    let bytes = |at: usize| cluster.members[at].server.store().snapshot().to_snapshot().unwrap();
    assert!(bytes(0) == bytes(1) && bytes(1) == bytes(2));
    cluster.stop().await;
}

/// What gossip would say about these servers.
fn pool(members: &[&Member], status: MemberStatus) -> Vec<lictor_membership::Member> {
    let member = |member: &&Member| {
        let tags = [
            ("role", "consul".to_owned()),
            ("dc", "dc1".to_owned()),
            ("id", member.known.id.clone()),
            ("port", member.known.address.port().to_string()),
        ];
        lictor_membership::Member {
            name: member.known.name.clone(),
            address: member.known.address,
            status,
            tags: tags.map(|(tag, value)| (tag.to_owned(), value)).into(),
            protocol: 2,
            delegate: 4,
        }
    };
    members.iter().map(member).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_joins_votes_and_one_that_fails_is_removed() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let leader = cluster.leader().await;
    let server = cluster.members[leader].server.clone();
    let alive = |cluster: &Cluster| {
        Arc::new(pool(&cluster.members.iter().collect::<Vec<_>>(), MemberStatus::Alive))
    };
    let (gossip, members) = watch::channel(alive(&cluster));
    let looked_after = autopilot::Cluster {
        this: cluster.members[leader].known.id.clone(),
        datacenter: "dc1".to_owned(),
        members,
        defaults: AutopilotConfiguration::default(),
    };
    let until_deposed = CancellationToken::new();
    let duty = tokio::spawn(autopilot::run(server.clone(), looked_after, until_deposed.clone()));
    cluster.add("d").await;
    gossip.send_replace(alive(&cluster));
    let voters = || server.consensus().peers().iter().filter(|peer| peer.voter).count();
    until(|| voters() == 4).await;
    until(|| server.autopilot().load().as_ref().is_some_and(|report| report.servers.len() == 4))
        .await;

    let failing = cluster.members.pop().unwrap();
    let mut members = pool(&[&failing], MemberStatus::Failed);
    members.extend(alive(&cluster).iter().cloned());
    gossip.send_replace(Arc::new(members));
    failing.stop().await;
    until(|| voters() == 3).await;
    until(|| server.consensus().peers().len() == 3).await;
    assert!(server.propose(set("k", "v")).await.unwrap());
    until_deposed.cancel();
    duty.await.unwrap();
    assert!(server.autopilot().load().is_none());
    cluster.stop().await;
}
