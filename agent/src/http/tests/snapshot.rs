use super::*;
use crate::archive;

const GZIP: (&str, &str) = ("content-type", "application/x-gzip");

#[tokio::test]
async fn a_saved_state_is_restored_and_everything_written_since_is_gone() {
    let agent = TestAgent::start().await;
    agent.register_redis().await;
    agent.send("PUT /v1/kv/a", "one").await;
    let saved = agent.get("/v1/snapshot").await;
    assert_eq!((saved.status, saved.header(GZIP.0)), (200, Some(GZIP.1)));
    let archive = archive::unpack(&saved.body[..]).unwrap();
    assert_eq!(archive.meta.index, saved.index());
    assert_eq!(archive.meta.configuration.servers.len(), 1);
    agent.send("PUT /v1/kv/a", "two").await;
    agent.send("PUT /v1/kv/b", "new").await;
    agent.send("PUT /v1/catalog/deregister", r#"{"Node":"foo"}"#).await;
    let seen = agent.get("/v1/kv/a").await.index();
    let restored = agent.send("PUT /v1/snapshot", saved.body).await;
    assert_eq!((restored.status, restored.text()), (200, ""));
    agent.check("GET /v1/kv/a?raw", "", 200, &[], "one").await;
    agent.check("GET /v1/kv/b", "", 404, &[], "").await;
    let redis = agent.get("/v1/health/service/redis").await;
    assert_eq!(redis.json().as_array().unwrap().len(), 2);
    assert!(agent.get("/v1/kv/a").await.index() > seen);
    agent.stop().await;
}

#[tokio::test]
async fn a_blocking_query_is_answered_by_a_restore() {
    let agent = TestAgent::start().await;
    agent.send("PUT /v1/kv/a", "one").await;
    let saved = agent.get("/v1/snapshot").await.body;
    agent.send("PUT /v1/kv/a", "two").await;
    let index = agent.get("/v1/kv/a").await.index();
    let path = format!("/v1/kv/a?index={index}&wait=10m&raw");
    let restore = async {
        agent.until_someone_blocks().await;
        agent.send("PUT /v1/snapshot", saved).await
    };
    let (answer, _) = tokio::join!(agent.get(&path), restore);
    assert_eq!(answer.text(), "one");
    assert!(answer.index() > index);
    agent.stop().await;
}

#[tokio::test]
async fn a_state_of_a_longer_lived_cluster_is_taken_with_its_indexes() {
    let old = TestAgent::start().await;
    for n in 0..200 {
        old.send(&format!("PUT /v1/kv/{n}"), "x").await;
    }
    let last = old.get("/v1/kv/199").await.json()[0]["ModifyIndex"].as_u64().unwrap();
    let saved = old.get("/v1/snapshot").await.body;
    old.stop().await;
    let agent = TestAgent::start().await;
    assert_eq!(agent.send("PUT /v1/snapshot", saved).await.status, 200);
    assert_eq!(agent.get("/v1/kv/199").await.json()[0]["ModifyIndex"], last);
    agent.check(&format!("PUT /v1/kv/199?cas={last}"), "y", 200, &[], "true").await;
    assert!(agent.get("/v1/kv/199").await.json()[0]["ModifyIndex"].as_u64().unwrap() > last);
    agent.stop().await;
}

#[tokio::test]
async fn what_is_not_a_usable_archive_changes_nothing() {
    let agent = TestAgent::start().await;
    agent.send("PUT /v1/kv/a", "one").await;
    let saved = agent.get("/v1/snapshot").await.body.to_vec();
    let before = agent.get("/v1/kv/a").await.index();
    let mut damaged = saved.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for bytes in [Vec::new(), b"hello".to_vec(), saved[..saved.len() - 9].to_vec(), damaged] {
        let refused = agent.send("PUT /v1/snapshot", bytes).await;
        assert_eq!(refused.status, 500);
        assert!(refused.text().starts_with("failed to read snapshot file: "), "{}", refused.text());
    }
    assert_eq!(agent.get("/v1/kv/a").await.index(), before);
    agent.stop().await;
}

#[tokio::test]
async fn an_archive_may_be_larger_than_other_bodies() {
    let agent = TestAgent::start().await;
    // Does not shrink much when compressed.
    let noise = |seed: u32| -> Vec<u8> {
        let mut x = seed;
        let next = |_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        };
        (0..500_000).map(next).collect()
    };
    for n in 0..8 {
        agent.send(&format!("PUT /v1/kv/{n}"), noise(n)).await;
    }
    let saved = agent.get("/v1/snapshot").await.body;
    assert!(saved.len() > 3_000_000);
    agent.send("DELETE /v1/kv/?recurse", "").await;
    assert_eq!(agent.send("PUT /v1/snapshot", saved).await.status, 200);
    assert_eq!(agent.get("/v1/kv/7?raw").await.body, noise(7));
    agent.stop().await;
}
