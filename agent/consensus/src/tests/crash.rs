//! kill -9 at any moment loses nothing that was answered.
//!
//! The victim is this test binary again, writing from several tasks while it takes snapshots; it
//! prints every acknowledged write on its standard output. The suite in the member `tests` does the
//! same with the real agent and real clients.
//!
//! Each round kills after a random number of lines. They are printed before the round: a run that
//! failed is repeated with the list in `LICTOR_TEST_CRASH_LINES`.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command as Process, Stdio},
};

use super::*;

const ROUNDS: usize = 12;
const WRITERS: u64 = 8;
const DIRECTORY: &str = "LICTOR_TEST_CRASH_DIRECTORY";
const ROUND: &str = "LICTOR_TEST_CRASH_ROUND";
/// Comma-separated lines after which each round is killed; random without it.
const LINES: &str = "LICTOR_TEST_CRASH_LINES";

#[tokio::test]
#[ignore = "the victim of the test below, which starts it"]
async fn victim() {
    let (Ok(directory), Ok(round)) = (std::env::var(DIRECTORY), std::env::var(ROUND)) else {
        return;
    };
    let (consensus, store) = start(Some(Path::new(&directory))).await;
    println!("\nstart {}", store.snapshot().index);
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (consensus, round) = (consensus.clone(), round.clone());
        tasks.spawn(async move {
            for n in 0_u64.. {
                let key = format!("k/{round}/{writer}/{n}");
                let index = consensus.propose(set(&key, &key.repeat(20))).await.unwrap().index;
                println!("done {key} {index}");
            }
        });
    }
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            consensus.engine.trigger().snapshot().await.unwrap();
        }
    });
    tasks.join_all().await;
}

/// Returns the number of lines after which each round is killed.
fn kill_after_lines() -> Vec<usize> {
    match std::env::var(LINES) {
        Ok(list) => list.split(',').map(|lines| lines.trim().parse().unwrap()).collect(),
        Err(_) => (0..ROUNDS).map(|_| rand::random_range(10..400)).collect(),
    }
}

/// Lets a victim write until it has printed `kill_after` lines, kills it, and returns its whole
/// lines.
fn run_victim(directory: &Path, round: usize, kill_after: usize) -> Vec<String> {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut victim = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::victim"), "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(victim.stdout.take().unwrap());
    let mut text = String::new();
    let mut seen = 0;
    while seen < kill_after && output.read_line(&mut text).unwrap() > 0 {
        seen += 1;
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    output.read_to_string(&mut text).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost_when_the_process_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut answered: Vec<(String, u64)> = Vec::new();
    let mut newest = 0;
    let rounds = kill_after_lines();
    println!("{LINES}={}", rounds.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
    for (round, kill_after) in rounds.iter().enumerate() {
        let lines = run_victim(directory.path(), round, *kill_after);
        let begun = newest;
        for line in &lines {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["start", index] => {
                    let index: u64 = index.parse().unwrap();
                    assert!(index >= begun, "round {round} began at {index}, after {begun}");
                }
                ["done", key, index] => {
                    let index: u64 = index.parse().unwrap();
                    newest = newest.max(index);
                    answered.push((key.to_owned(), index));
                }
                _ => {}
            }
        }
    }
    assert!(answered.len() > rounds.len(), "the victims wrote {} keys", answered.len());
    let (consensus, store) = start(Some(directory.path())).await;
    let state = store.snapshot();
    for (key, index) in &answered {
        let pair = state.kv.get(key).unwrap_or_else(|| panic!("{key} is lost"));
        assert_eq!((pair.modify_index, &pair.value[..]), (*index, key.repeat(20).as_bytes()));
    }
    consensus.shutdown().await;
}
