//! `lictor lock` and `kv put -acquire` on a real agent, as scripts use them.

use std::process::{Command, Output, Stdio};

use harness::{Agent, binary::binary, eventually};
use serde_json::json;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// `lictor lock` in the background.
fn lock(agent: &Agent, arguments: &[&str]) -> std::process::Child {
    Command::new(binary("lictor"))
        .arg("lock")
        .args(arguments)
        .env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", agent.ports.http))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// An agent whose node has the check that sessions rest on.
fn agent() -> Agent {
    let agent = Agent::dev(json!({}));
    eventually("serfHealth", || {
        agent.get("/v1/health/node/node1").contains("serfHealth").then_some(())
    });
    agent
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn keys_are_locked_and_unlocked_by_hand() {
    let agent = agent();
    let session = |body: &str| {
        let created: serde_json::Value =
            serde_json::from_str(&agent.put("/v1/session/create", body)).unwrap();
        created["ID"].as_str().unwrap().to_owned()
    };
    let (one, two) = (session("{}"), session("{}"));
    for (arguments, expected, message) in [
        (vec!["-acquire", "-session", &one, "k", "v"], 0, "Success! Lock acquired on: k"),
        (vec!["-acquire", "-session", &two, "k", "v"], 1, "Error! Did not acquire lock"),
        (vec!["-release", "-session", &two, "k", "v"], 1, "Error! Did not release lock"),
        (vec!["-release", "-session", &one, "k", "v"], 0, "Success! Lock released on: k"),
        (
            vec!["-acquire", "k", "v"],
            1,
            "Error! Missing -session (required with -acquire and -release)",
        ),
    ] {
        let output = agent.cli(&[&["kv", "put"], &arguments[..]].concat());
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!((code(&output), said.as_str()), (Some(expected), message), "{arguments:?}");
    }
}

#[test]
fn a_command_runs_under_the_lock_and_everything_is_cleaned_up() {
    let agent = agent();
    let output = agent.cli(&["lock", "-verbose", "jobs/a", "echo held=$CONSUL_LOCK_HELD"]);
    assert_eq!(
        text(&output.stdout),
        "Setting up lock at path: jobs/a/.lock\nAttempting lock acquisition\nheld=true\n\
         Child terminated, releasing lock",
        "{}",
        text(&output.stderr)
    );
    assert_eq!(code(&output), Some(0));
    let output = agent.cli(&["lock", "-n=3", "-shell=false", "jobs/b", "echo", "$HOME"]);
    assert_eq!((code(&output), text(&output.stdout)), (Some(0), "$HOME".to_owned()));
    assert_eq!(
        (agent.get("/v1/kv/?keys"), agent.get("/v1/session/list")),
        ("[]".into(), "[]".into())
    );
    assert_eq!(code(&agent.cli(&["lock", "x", "exit 7"])), Some(0));
    assert_eq!(code(&agent.cli(&["lock", "-child-exit-code", "x", "exit 7"])), Some(2));
    let output = agent.cli(&["lock", "-n", "0", "x", "true"]);
    assert_eq!(
        (code(&output), text(&output.stderr).as_str()),
        (Some(1), "Lock holder limit must be positive")
    );
}

#[test]
fn only_as_many_as_allowed_hold_a_lock() {
    let agent = agent();
    let mut holder = lock(&agent, &["m", "exec sleep 60"]);
    eventually("the lock", || agent.get("/v1/kv/m/.lock").contains("Session").then_some(()));
    let refused = agent.cli(&["lock", "-timeout=200ms", "m", "true"]);
    assert_eq!(code(&refused), Some(1));
    assert!(text(&refused.stderr).contains("timeout during lock acquisition"));
    let mut slots: Vec<_> =
        (0..2).map(|_| lock(&agent, &["-n", "2", "s", "exec sleep 60"])).collect();
    eventually("both slots", || {
        let document = agent.get("/v1/kv/s/.lock?raw");
        (document.matches("true").count() == 2).then_some(())
    });
    assert_eq!(code(&agent.cli(&["lock", "-n=2", "-timeout=200ms", "s", "true"])), Some(1));
    let limit = agent.cli(&["lock", "-n=3", "-timeout=5s", "s", "true"]);
    assert!(text(&limit.stderr).contains("semaphore limit conflict (lock: 2, local: 3)"));
    let conflict = agent.cli(&["lock", "-timeout=5s", "s", "true"]);
    assert!(text(&conflict.stderr).contains("Existing key does not match lock use"));
    // Asked to stop, a holder ends its command and gives the lock back.
    for child in slots.iter_mut().chain([&mut holder]) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(agent.get("/v1/session/list"), "[]");
    assert_eq!(code(&agent.cli(&["lock", "-timeout=5s", "m", "true"])), Some(0));
}

#[test]
fn a_command_ends_when_its_lock_is_lost() {
    let agent = agent();
    let holder = lock(&agent, &["-verbose", "-child-exit-code", "m", "sleep 60; true"]);
    eventually("the lock", || agent.get("/v1/kv/m/.lock").contains("Session").then_some(()));
    let sessions = agent.get_json("/v1/session/list");
    let id = sessions[0]["ID"].as_str().unwrap();
    assert_eq!(sessions[0]["Name"], "Consul lock for 'sleep 60; true' at 'm'");
    assert_eq!(agent.put(&format!("/v1/session/destroy/{id}"), ""), "true");
    let output = holder.wait_with_output().unwrap();
    assert!(text(&output.stdout).contains("Lock lost, killing child"), "{}", text(&output.stdout));
    assert_eq!(code(&output), Some(2));
    // Its lock-delay holds.
    assert_eq!(code(&agent.cli(&["lock", "-timeout=200ms", "m", "true"])), Some(1));
}
