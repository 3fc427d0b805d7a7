use std::sync::mpsc;

use tracing::subscriber::set_default;

use super::*;
use crate::capture::Lines;

/// Longer than anything here takes in simulated time.
const LONG: Duration = Duration::from_secs(3600);

async fn fails(tasks: &Tasks) -> Option<TaskFailed> {
    timeout(LONG, tasks.failed()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn a_planted_panic_is_named_and_reported() {
    let (lines, tasks) = (Lines::default(), Tasks::new());
    let _logging = set_default(lines.json());
    tasks.spawn("raft.autopilot", async {
        sleep(Duration::from_secs(5)).await;
        panic!("planted: {}", 7);
    });
    let failure = fails(&tasks).await.unwrap();
    assert_eq!(failure.to_string(), "task \"raft.autopilot\" panicked: planted: 7");
    let events = lines.events("task panicked");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["level"], "ERROR");
    assert_eq!(events[0]["task"], "raft.autopilot");
    assert_eq!(events[0]["panic"], "planted: 7");
    assert!(panics::by_task().contains(&("raft.autopilot", 1)));
    assert!(panics::count() >= 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_before_shutdown_is_reported() {
    let (lines, tasks) = (Lines::default(), Tasks::new());
    let _logging = set_default(lines.json());
    tasks.spawn("local.anti_entropy", async {});
    let failure = fails(&tasks).await.unwrap();
    assert_eq!(failure.to_string(), "task \"local.anti_entropy\" ended unexpectedly");
    assert_eq!(lines.events("task ended unexpectedly")[0]["task"], "local.anti_entropy");
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_is_the_one_reported_to_each_caller() {
    let tasks = Tasks::new();
    tasks.spawn_until_shutdown("second", sleep(Duration::from_secs(2)));
    tasks.spawn_until_shutdown("first", sleep(Duration::from_secs(1)));
    assert!(timeout(Duration::from_millis(10), tasks.failed()).await.is_err());
    sleep(Duration::from_secs(3)).await;
    assert_eq!(fails(&tasks).await.unwrap().name, "first");
    assert_eq!(fails(&tasks.clone()).await.unwrap().name, "first");
}

#[tokio::test(start_paused = true)]
async fn an_end_after_shutdown_is_no_failure() {
    let tasks = Tasks::new();
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("graceful", async move {
        shutdown.cancelled().await;
        sleep(Duration::from_secs(2)).await;
    });
    tasks.spawn_until_shutdown("endless", std::future::pending());
    assert_eq!(tasks.stop(Duration::from_secs(5)).await, Vec::<&str>::new());
    assert_eq!(fails(&tasks).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_task_starts_again_after_growing_pauses_until_shutdown() {
    let (lines, tasks) = (Lines::default(), Tasks::new());
    let _logging = set_default(lines.json());
    let (starts, started) = mpsc::channel();
    tasks.restart("dns.udp", move || {
        starts.send(Instant::now()).unwrap();
        let is_odd = Instant::now().elapsed().is_zero();
        async move { assert!(!is_odd, "planted") }
    });
    sleep(Duration::from_secs(300)).await;
    assert_eq!(tasks.stop(Duration::from_secs(1)).await, Vec::<&str>::new());
    sleep(Duration::from_secs(300)).await;

    let starts: Vec<Instant> = started.iter().collect();
    let pauses: Vec<f64> = starts.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    for (pause, step) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]) {
        // Timers have a resolution of a millisecond.
        assert!(*pause >= step / 2.0 && *pause <= step + 0.01, "{pauses:?}");
    }
    assert!(pauses.len() >= 10, "{pauses:?}");
    assert_eq!(lines.events("task panicked").len(), starts.len());
    assert_eq!(fails(&tasks).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_lived_for_a_minute_starts_again_soon() {
    let tasks = Tasks::new();
    let (starts, started) = mpsc::channel();
    tasks.restart("flapping", move || {
        starts.send(Instant::now()).unwrap();
        sleep(HEALTHY_INTERVAL)
    });
    sleep(LONG).await;
    tasks.stop(Duration::from_secs(1)).await;
    let starts: Vec<Instant> = started.iter().collect();
    assert!(starts.len() > 50);
    for two in starts.windows(2) {
        assert!(two[1] - two[0] <= HEALTHY_INTERVAL + Duration::from_millis(1010));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_task_is_made_is_survived() {
    let tasks = Tasks::new();
    let mut attempts = 0;
    let (lived, mut lives) = tokio::sync::mpsc::unbounded_channel();
    tasks.restart("made", move || {
        attempts += 1;
        assert!(attempts > 2, "planted");
        lived.send(attempts).unwrap();
        std::future::pending()
    });
    assert_eq!(timeout(LONG, lives.recv()).await.unwrap(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_transient_task_neither_fails_nor_leaks() {
    let (lines, tasks) = (Lines::default(), Tasks::new());
    let _logging = set_default(lines.json());
    for _ in 0..10 {
        tasks.spawn_transient("http.connection", async { panic!("planted") });
        tasks.spawn_transient("http.connection", async {});
    }
    assert_eq!(fails(&tasks).await, None);
    assert!(tasks.tracker().is_empty());
    assert!(lock(&tasks.inner.running).running.is_empty());
    assert_eq!(lines.events("task panicked").len(), 10);
    assert!(panics::by_task().contains(&("http.connection", 10)));
}

#[tokio::test(start_paused = true)]
async fn stop_names_the_tasks_that_do_not_end_and_drops_them() {
    let tasks = Tasks::new();
    let (kept, dropped) = mpsc::channel::<()>();
    tasks.spawn("endless", async move {
        let _kept = kept;
        std::future::pending().await
    });
    tasks.spawn_transient("slow", sleep(Duration::from_secs(100)));
    tasks.spawn_transient("slow", sleep(Duration::from_secs(200)));
    tasks.spawn_transient("soon", sleep(Duration::from_secs(1)));
    let began = Instant::now();
    assert_eq!(tasks.stop(Duration::from_secs(5)).await, ["endless", "slow"]);
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    assert!(tasks.tracker().is_empty());
    assert_eq!(fails(&tasks).await, None);
}

#[tokio::test]
async fn a_panic_of_a_thread_is_reported() {
    let tasks = Tasks::new();
    tasks.thread("raft.log", || panic!("planted")).unwrap();
    let failure = tasks.failed().await;
    assert_eq!(failure.to_string(), "task \"raft.log\" panicked: planted");
}

#[tokio::test]
async fn a_thread_is_joined_at_stop_and_named_when_it_does_not_end() {
    let tasks = Tasks::new();
    let (stuck, release) = mpsc::channel::<()>();
    let shutdown = tasks.shutdown().clone();
    let (joined, ended) = mpsc::channel();
    let handle = tokio::runtime::Handle::current();
    let waiting = move || {
        handle.block_on(shutdown.cancelled());
        joined.send(()).unwrap();
    };
    tasks.thread("ends", waiting).unwrap();
    assert_eq!(tasks.stop(Duration::from_secs(60)).await, Vec::<&str>::new());
    assert_eq!(ended.try_recv(), Ok(()));

    let tasks = Tasks::new();
    tasks.thread("blocks", move || assert!(release.recv().is_err())).unwrap();
    assert_eq!(tasks.stop(Duration::from_millis(10)).await, ["blocks"]);
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn a_group_ends_alone_and_fails_with_the_others() {
    let tasks = Tasks::new();
    let (first, second) = (tasks.group(), tasks.group());
    first.spawn_until_shutdown("first", std::future::pending());
    second.spawn_until_shutdown("second", sleep(Duration::from_secs(9)));
    first.end().await;
    assert!(!tasks.shutdown().is_cancelled() && !second.shutdown().is_cancelled());
    assert_eq!(fails(&tasks).await.unwrap().name, "second");
    second.spawn_until_shutdown("third", std::future::pending());
    assert_eq!(tasks.stop(Duration::from_secs(5)).await, Vec::<&str>::new());
    assert!(second.shutdown().is_cancelled(), "a group ends with the others");
}
