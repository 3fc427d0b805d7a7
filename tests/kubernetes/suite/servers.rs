//! Three servers: who votes, restarting them one after the other under load, and losing a volume.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    chain,
    kubectl::{Cluster, SYSTEM, eventually},
    stream::Stream,
};

/// The servers' pods.
const PODS: [&str; 3] = ["lictor-server-0", "lictor-server-1", "lictor-server-2"];
/// How a client outside the mesh writes the key `rolling/$i`: once more when it does not work.
const WRITER: &str = r#"
put() {
  printf 'PUT /v1/kv/rolling/%s HTTP/1.1\r\nHost: lictor\r\nContent-Length: %s\r\nConnection: close\r\n\r\n%s' "$1" "${#1}" "$1" |
    timeout 8 openssl s_client -quiet -ign_eof -connect lictor-server.lictor.svc:8501 2>/dev/null | grep -q true
}
i=0; while :; do i=$((i + 1)); if put $i || put $i; then echo "ok $i"; else echo "failed $i"; fi; done"#;

/// What one server says about consensus.
#[derive(Debug, PartialEq, Eq)]
struct View {
    state: String,
    voters: BTreeSet<String>,
    learners: usize,
}

/// `lictor COMMAND` in a server's pod.
fn lictor(cluster: &Cluster, pod: &str, command: &[&str]) -> Result<String, String> {
    cluster.try_kubectl(&[&["-n", SYSTEM, "exec", pod, "--", "/lictor"], command].concat())
}

fn view(cluster: &Cluster, pod: &str) -> Result<View, String> {
    let info = lictor(cluster, pod, &["info"])?;
    let figure = |name: &str| {
        let found = info.lines().find_map(|line| line.trim().strip_prefix(&format!("{name} = ")));
        found.map(str::to_owned).ok_or_else(|| format!("{pod} does not tell {name}: {info}"))
    };
    let servers = figure("latest_configuration")?;
    let voter = |server: &str| {
        let id = server.strip_prefix("Voter ID:")?.split(' ').next()?;
        Some(id.to_owned())
    };
    let servers: Vec<&str> = servers.split("Suffrage:").skip(1).collect();
    let voters: BTreeSet<String> = servers.iter().filter_map(|server| voter(server)).collect();
    Ok(View { state: figure("state")?, learners: servers.len() - voters.len(), voters })
}

/// Waits until all three agree on three voters and one of them leads; gives the leader's pod and
/// the voters' IDs.
fn agreed(cluster: &Cluster, seconds: u64) -> (&'static str, BTreeSet<String>) {
    eventually("three voters and one leader", seconds, || {
        let views: Vec<View> =
            PODS.iter().map(|pod| view(cluster, pod)).collect::<Result<_, _>>()?;
        let leaders: Vec<&str> = PODS
            .into_iter()
            .zip(&views)
            .filter(|(_, view)| view.state == "Leader")
            .map(|(pod, _)| pod)
            .collect();
        let same = views.iter().all(|view| view.voters == views[0].voters && view.learners == 0);
        match leaders[..] {
            [leader] if same && views[0].voters.len() == 3 => Ok((leader, views[0].voters.clone())),
            _ => Err(format!("{views:?}")),
        }
    })
}

/// UIDs and addresses of the servers' pods.
fn incarnations(cluster: &Cluster) -> BTreeSet<String> {
    let label = "app.kubernetes.io/component=server";
    let each = "jsonpath={range .items[*]}{.metadata.uid} {.status.podIP}{\"\\n\"}{end}";
    let pods = cluster.kubectl(&["-n", SYSTEM, "get", "pods", "-l", label, "-o", each]);
    pods.split_whitespace().map(str::to_owned).collect()
}

/// Ready means: one leads, three vote, gossip knows all.
pub(crate) fn three_vote(cluster: &Cluster) {
    let (leader, _) = agreed(cluster, 5);
    println!("  {leader} leads");
    for pod in PODS {
        let members = lictor(cluster, pod, &["members"]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(members.matches(" alive ").count(), 3, "{pod}: {members}");
    }
}

/// `kubectl rollout restart` while a client writes and the mesh carries calls.
pub(crate) fn rolling_restart(cluster: &Cluster) {
    let before = incarnations(cluster);
    let writes = Stream::exec("client", WRITER);
    writes.wait_for("a write is acknowledged", 20, |line| line == "ok 1");
    let call = chain::CALL;
    let calls = Stream::exec(
        "client",
        &format!("while :; do {call} || {call} || echo failed; echo; sleep 0.1; done"),
    );
    calls.wait_for("calls succeed", 10, |line| line == "HashiCorp Japan");

    let restart = Instant::now();
    cluster.kubectl(&["-n", SYSTEM, "rollout", "restart", "statefulset/lictor-server"]);
    let status = ["-n", SYSTEM, "rollout", "status", "statefulset/lictor-server", "--timeout=150s"];
    cluster.kubectl(&status);
    println!("  all servers restarted in {:.1} s", restart.elapsed().as_secs_f32());
    assert!(incarnations(cluster).is_disjoint(&before), "every pod and every address is new");
    agreed(cluster, 30);

    let calls = calls.arrived();
    let failed = calls.iter().filter(|(_, line)| line == "failed").count();
    println!("  {} calls, {failed} failed", calls.len());
    assert_eq!(failed, 0, "calls do not depend on the servers");
    let writes = writes.arrived();
    let failed: Vec<_> = writes.iter().filter(|(_, line)| line.starts_with("failed")).collect();
    let pause = writes.windows(2).map(|pair| pair[1].0 - pair[0].0).max();
    println!("  {} writes, {} failed, longest pause {pause:?}", writes.len(), failed.len());
    assert!(failed.is_empty(), "a client that tries twice sees no error: {failed:?}");
    let acknowledged = writes.iter().filter_map(|(_, line)| line.strip_prefix("ok "));
    holds_all(cluster, PODS[0], &["1"].into_iter().chain(acknowledged).collect::<Vec<_>>());
}

/// Every server has every acknowledged write, read from what it holds itself.
fn holds_all(cluster: &Cluster, pod: &str, acknowledged: &[&str]) {
    let read = ["kv", "get", "-stale", "-recurse", "rolling/"];
    eventually("all acknowledged writes are there", 10, || {
        let held = lictor(cluster, pod, &read)?;
        let held: BTreeMap<&str, &str> = held
            .lines()
            .filter_map(|line| line.strip_prefix("rolling/")?.split_once(':'))
            .collect();
        let lost: Vec<_> = acknowledged.iter().filter(|key| held.get(*key) != Some(*key)).collect();
        if lost.is_empty() { Ok(()) } else { Err(format!("{pod} lacks {lost:?}")) }
    });
}

/// A server that comes back with nothing but its name is a new server: it is taken in, learns all,
/// and votes in place of the old one.
pub(crate) fn lost_volume(cluster: &Cluster) {
    let (leader, voters) = agreed(cluster, 5);
    let held = lictor(cluster, leader, &["kv", "get", "-keys", "rolling/"]);
    let held = held.unwrap_or_else(|error| panic!("{error}"));
    let keys: Vec<&str> = held.lines().filter_map(|line| line.strip_prefix("rolling/")).collect();
    assert!(keys.len() > 10, "there is something to learn: {held}");

    let lost = Instant::now();
    let claim = format!("data-{leader}");
    let uid = |kind: &str, name: &str| {
        cluster.try_kubectl(&["-n", SYSTEM, "get", kind, name, "-o", "jsonpath={.metadata.uid}"])
    };
    let old = uid("pvc", &claim).unwrap_or_else(|error| panic!("{error}"));
    cluster.kubectl(&["-n", SYSTEM, "delete", "pvc", &claim, "--wait=false"]);
    cluster.kubectl(&["-n", SYSTEM, "delete", "pod", leader]);
    eventually("the server is there again", 90, || {
        let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        match cluster.try_kubectl(&["-n", SYSTEM, "get", "pod", leader, "-o", ready])?.as_str() {
            "True" if uid("pvc", &claim)? != old => Ok(()),
            ready => Err(format!("Ready is {ready:?}")),
        }
    });
    println!("  {leader} without its volume is ready after {:.1} s", lost.elapsed().as_secs_f32());
    let (_, now) = agreed(cluster, 60);
    println!("  three vote after {:.1} s", lost.elapsed().as_secs_f32());
    assert_eq!(now.intersection(&voters).count(), 2, "one voter is new: {voters:?}, {now:?}");
    holds_all(cluster, leader, &keys);
    assert!(lost.elapsed() < Duration::from_secs(120), "it takes less than two minutes");
}
