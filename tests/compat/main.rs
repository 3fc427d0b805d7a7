//! HashiCorp's own Go client tests against our binary: the outside judge of the HTTP API.
//!
//! The client is an ordinary Go module, pinned in go.mod, and its tests start real agents by the
//! name `consul` from PATH. Without Go the suite is skipped with a message, except in CI.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod lock;
mod prometheus;

use std::{
    os::unix::{fs::symlink, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use harness::{binary::binary, tools};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// Areas that must pass: a name, and the tests it stands for.
const AREAS: [(&str, &str); 13] = [
    (
        "kv",
        "^TestAPI_(Client(PutGetDelete|List_DeleteRecurse|DeleteCAS|CAS|WatchGet|WatchList|Keys_DeleteRecurse|AcquireRelease)|KVClientTxn)$",
    ),
    ("session", "^TestAPI_Session"),
    ("txn", "^TestAPI_ClientTxn$"),
    ("lock", "^TestAPI_(Lock|Semaphore)"),
    ("status", "^TestAPI_Status"),
    ("health", "^TestAPI_Health(Node|Checks|Service|Connect|State)"),
    ("connect_ca", "^TestAPI_ConnectCA"),
    ("coordinate", "^TestAPI_Coordinate"),
    ("event", "^TestAPI_Event"),
    ("snapshot", "^TestAPI_Snapshot$"),
    ("operator", "^TestAPI_Operator(Autopilot|Keyring|Raft)"),
    ("members", "^TestAPI_Agent(Join|Leave|ForceLeave|Members)"),
    ("metrics", "^TestAPI_AgentMetrics$"),
];

#[test]
fn the_go_client_is_satisfied() {
    if !tools::has("go") {
        return;
    }
    let bin = tempfile::tempdir().unwrap();
    symlink(binary("lictor"), bin.path().join("consul")).unwrap();
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
    let pattern = AREAS.map(|(_, pattern)| pattern).join("|");
    let tests = Command::new("go")
        .args(["test", "github.com/hashicorp/consul/api", "-run", &pattern])
        .args(["-count=1", "-timeout=10m", "-parallel=4", "-v"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("compat"))
        .env("PATH", path)
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let group = Pid::from_raw(i32::try_from(tests.id()).unwrap());
    let output = tests.wait_with_output().unwrap();
    // A test that panics leaves its agents behind; they are of our process group.
    killpg(group, Signal::SIGKILL).ok();
    let log = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let count = |prefix: &str| log.lines().filter(|line| line.starts_with(prefix)).count();
    let (passed, failed) = (count("--- PASS"), count("--- FAIL"));
    log.lines().filter(|line| line.starts_with("--- ")).for_each(|line| println!("{line}"));
    assert!(
        output.status.success() && failed == 0 && passed >= 88,
        "{passed} passed, {failed} failed:\n{log}"
    );
}
