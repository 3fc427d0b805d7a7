//! Servers that fail and return, tokens and roots that change, upstreams from a file.

use std::{path::Path, time::Duration};

use lictor_sidecar::{
    Config,
    config::{Credential, ServerTls, Servers, Source, Subject, Upstreams},
};
use tokio::time::timeout;

use crate::support::{
    Ca, HOUR, Pair, Server, TRUST_DOMAIN, config, echo, eventually, ready, start, unused,
};

#[tokio::test]
async fn new_connections_are_served_while_the_servers_are_away_and_changes_follow_their_return() {
    let mut pair = Pair::of("web", "echo").await;
    assert!(pair.echoes().await);
    pair.server.kill();
    for _ in 0..5 {
        assert!(pair.echoes().await);
    }
    assert_eq!(pair.source.handle.check(), Ok(()));

    pair.list(&[]);
    pair.server.restart();
    eventually("the change made meanwhile has arrived", || async { !pair.echoes().await }).await;
}

/// Returns the configuration of a sidecar in a pod: TLS with pinned roots and a token file.
fn pod_config(server: &Server, folder: &Path, name: &str) -> Config {
    Config {
        source: Source::Servers(Servers {
            uris: vec![format!("https://localhost:{}", server.address.port()).parse().unwrap()],
            tls: Some(ServerTls {
                roots_file: folder.join("roots.pem"),
                server_name: name.to_owned(),
            }),
            credential: Credential::TokenFile(folder.join("token")),
            subject: Subject::Service("web".to_owned()),
        }),
        ..config(server.address, "web")
    }
}

#[tokio::test]
async fn token_and_roots_are_read_again_and_a_server_of_another_name_is_refused() {
    let server = Server::start_tls();
    *server.mesh.token.lock().unwrap() = Some("fresh");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "stale\n").unwrap();
    let foreign = Ca::new(TRUST_DOMAIN);
    std::fs::write(folder.path().join("roots.pem"), foreign.pem()).unwrap();

    let web = start(pod_config(&server, folder.path(), "server.dc1.consul"));
    let misled = start(pod_config(&server, folder.path(), "server.dc2.consul"));
    std::fs::write(folder.path().join("roots.pem"), server.mesh.ca.pem()).unwrap();
    std::fs::write(folder.path().join("token"), "fresh\n").unwrap();
    ready(&web).await;
    // It has the same token and roots; only the name is not the servers'.
    let deceived = timeout(Duration::from_secs(1), misled.handle.ready()).await;
    assert!(deceived.is_err() && misled.handle.certificate().is_none());
}

#[tokio::test]
async fn upstreams_follow_the_annotations_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("annotations");
    let write = |list: &str| {
        // A rename, as kubelet's symbolic link: the file is never seen half written.
        let next = folder.path().join("next");
        let line = format!("lictor.dev/connect-service-upstreams=\"{list}\"\n");
        std::fs::write(&next, line).unwrap();
        std::fs::rename(next, &file).unwrap();
    };
    let pair = Pair::start(Server::start(HOUR), "web", "echo", echo().await, |config| {
        let Upstreams::Fixed(list) = &config.upstreams else { panic!("a fixed list") };
        let bind = list[0].bind();
        write(&format!("echo:{}:local_bind_address={}", bind.port(), bind.ip()));
        config.upstreams = Upstreams::Annotations(file.clone());
    })
    .await;
    assert!(pair.echoes().await);

    let late = unused();
    write(&format!("late:{}:local_bind_address={}", late.port(), late.ip()));
    eventually("the new upstream is open", || async {
        pair.source.handle.upstream_address("late") == Some(late)
    })
    .await;
}
