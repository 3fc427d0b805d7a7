//! Intentions: how soon a deleted one is felt, by new and by open connections.

use std::time::{Duration, Instant};

use crate::{
    chain,
    kubectl::{Cluster, DEMO},
    stream::Stream,
    workloads,
};

/// Deletes `corp-app → japan-app` under calls and under an open connection, then puts it back.
pub(crate) fn deletion(cluster: &Cluster) {
    workloads::apply_holder(cluster);
    // an unfinished request keeps a connection open through both sidecars
    let hold = "mkfifo /tmp/held; (printf 'GET / HTTP/1.1\\r\\nHost: japan-app\\r\\n'; sleep 60) > /tmp/held & \
                echo open; nc 127.0.0.1 5000 < /tmp/held; echo closed; kill $!";
    let held = Stream::exec("holder", hold);
    held.wait_for("a connection is held", 10, |line| line == "open");
    let calls = Stream::exec(
        "client",
        &format!("for i in $(seq 300); do {} || echo error; echo; sleep 0.02; done", chain::CALL),
    );
    for _ in 0..20 {
        calls.wait_for("calls succeed", 10, |line| line == "HashiCorp Japan");
    }
    assert!(held.arrived().is_empty(), "the connection stays open while the intention is there");

    cluster.kubectl(&["-n", DEMO, "delete", "serviceintentions", "japan-app", "--wait=false"]);
    let deleted = Instant::now();
    let refused = calls.wait_for("calls fail", 10, |line| line == "error");
    let closed = held.wait_for("the open connection is closed", 10, |line| line == "closed");
    for (what, at) in [("calls fail", refused), ("the connection is closed", closed)] {
        let took = at.saturating_duration_since(deleted);
        println!("  {what} after {} ms", took.as_millis());
        assert!(took < Duration::from_secs(1), "{what} after {took:?}");
    }
    let later = calls.arrived();
    assert!(
        later.iter().all(|(_, line)| line != "HashiCorp Japan"),
        "no call succeeds after the first refusal"
    );
    drop(calls);

    cluster.apply(&chain::manifests(cluster)).unwrap_or_else(|error| panic!("{error}"));
    chain::answers(cluster);
    cluster.kubectl(&["-n", DEMO, "delete", "pod", "holder", "--wait=false"]);
}
