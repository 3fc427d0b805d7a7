//! Intentions are enforced at the destination, on open connections as well as on new ones.

use std::time::Duration;

use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::support::{Pair, eventually, round_trip};

#[tokio::test]
async fn a_denied_intention_resets_open_connections_and_refuses_new_ones() {
    let pair = Pair::of("web", "echo").await;
    let mesh = &pair.server.mesh;
    let mut open = pair.connect().await;
    round_trip(&mut open, b"one").await;

    mesh.set_intentions("echo", true, &[("api", false)]);
    round_trip(&mut open, b"two").await;

    mesh.set_intentions("echo", true, &[("web", false)]);
    let cut = timeout(Duration::from_secs(1), open.read(&mut [0; 3])).await;
    assert!(cut.expect("cut within a second").is_err(), "a reset, not an orderly end");
    assert!(!pair.echoes().await);

    mesh.set_intentions("echo", true, &[]);
    eventually("connections are allowed again", || pair.echoes()).await;
}
