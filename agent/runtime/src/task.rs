//! Long-lived work has a name and an owner: [`Tasks`].
//!
//! INVARIANT: a task never dies unnoticed. A panic, or an end that nothing asked for, is logged at
//! error with the task's name, and then does what the task was started for: it fails the process
//! ([`Tasks::spawn`], [`Tasks::thread`]), the task starts again ([`Tasks::restart`]), or nothing
//! else depends on it ([`Tasks::spawn_transient`]).
//!
//! A failure does not end the process by itself: its `main` waits for [`Tasks::failed`] beside its
//! signals, gives back what it leads, and exits with the [`TaskFailed`] as its last line.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    backoff::Backoff,
    metrics::{Counter, Family},
    panics,
};

/// Pause before a task that died is started again, doubled up to the longest.
const MIN_RESTART_PAUSE: Duration = Duration::from_secs(1);
const MAX_RESTART_PAUSE: Duration = Duration::from_secs(30);
/// A task that lived this long is healthy: its next restart comes after the shortest pause.
const HEALTHY_INTERVAL: Duration = Duration::from_secs(60);
/// How long tasks that were aborted may take to be gone. Only one that blocks its thread needs it.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Times that a task was started again, by its name.
pub static RESTARTS: Family<Counter> = Family::new(&["task"]);

/// A task without which the process cannot go on is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {name:?} {cause}")]
pub struct TaskFailed {
    /// The task's name.
    pub name: &'static str,
    /// How it ended.
    pub cause: Cause,
}

/// How a task ended that should have lived until shutdown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// It panicked with this message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// It returned.
    #[error("ended unexpectedly")]
    Ended,
}

/// The tasks of one process, or of one agent in a test. Clones are handles of the same tasks.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    inner: Arc<Inner>,
    shutdown: CancellationToken,
    /// Those that were started by this handle and its clones.
    group: TaskTracker,
    /// Number of that group; 0 is the owner's own.
    group_id: u64,
}

#[derive(Debug, Default)]
struct Inner {
    tracker: TaskTracker,
    failed: watch::Sender<Option<TaskFailed>>,
    running: Mutex<Registry>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What runs. It is entered and left once per task: a task that is polled passes nothing that all
/// tasks share, such as a token, whose lock every poll would take.
#[derive(Debug, Default)]
struct Registry {
    last_id: u64,
    running: BTreeMap<u64, Entry>,
    /// Groups whose tasks are dropped, also those that start from now on.
    aborted: BTreeSet<u64>,
    all_aborted: bool,
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    group_id: u64,
    /// `None` for a thread, and until the task is spawned.
    abort: Option<AbortHandle>,
}

impl Tasks {
    /// Returns an owner without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an owner without tasks, whose tasks end when `shutdown` is cancelled.
    pub fn until(shutdown: CancellationToken) -> Self {
        Self { shutdown, ..Self::default() }
    }

    /// Returns a handle for tasks that may end before the others: when its own token is cancelled,
    /// or with the others. [`Tasks::failed`] and [`Tasks::stop`] hold for them as well.
    pub fn group(&self) -> Self {
        let group_id = lock(&self.inner.running).next_id();
        Self {
            inner: Arc::clone(&self.inner),
            shutdown: self.shutdown.child_token(),
            group: TaskTracker::new(),
            group_id,
        }
    }

    /// Returns the token that is cancelled when the tasks are to end.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Returns the tracker of every task, for servers that wait for their connections themselves.
    /// What is spawned there directly has no name.
    pub fn tracker(&self) -> &TaskTracker {
        &self.inner.tracker
    }

    /// Starts a task that must live until shutdown, and then ends by itself in its own time. If it
    /// panics, or ends before shutdown began, it is reported by [`Tasks::failed`].
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.clone();
        self.run(name, async move {
            let outcome = caught(name, task).await;
            tasks.note_end(name, outcome);
        });
    }

    /// Starts a task that must live until shutdown, and has nothing to finish then: it is dropped
    /// where it waits. Otherwise as [`Tasks::spawn`].
    pub fn spawn_until_shutdown(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let shutdown = self.shutdown.clone();
        self.spawn(name, async move {
            shutdown.run_until_cancelled_owned(task).await;
        });
    }

    /// Starts a task that is safe to start again, by `make`. After a panic or an unexpected end it
    /// is started again, after 1 s at first and 30 s at most. At shutdown it ends by itself in its
    /// own time.
    pub fn restart<F>(&self, name: &'static str, mut make: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        let restarts = async move {
            let mut backoff = Backoff::new(MIN_RESTART_PAUSE, MAX_RESTART_PAUSE);
            loop {
                let started = Instant::now();
                let outcome = caught(name, async { make().await }).await;
                if shutdown.is_cancelled() {
                    return;
                }
                if started.elapsed() >= HEALTHY_INTERVAL {
                    backoff.reset();
                }
                let pause = backoff.next_pause();
                RESTARTS.with(&[name]).increment();
                if outcome.is_ok() {
                    tracing::error!(task = name, "task ended unexpectedly");
                }
                tracing::info!(task = name, ?pause, "task starts again after a pause");
                if shutdown.run_until_cancelled(sleep(pause)).await.is_none() {
                    return;
                }
            }
        };
        self.run(name, restarts);
    }

    /// Starts a task that is safe to start again, and has nothing to finish at shutdown: it is
    /// dropped where it waits. Otherwise as [`Tasks::restart`].
    pub fn restart_until_shutdown<F>(
        &self,
        name: &'static str,
        mut make: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.restart(name, move || {
            let (shutdown, task) = (shutdown.clone(), make());
            async move {
                shutdown.run_until_cancelled(task).await;
            }
        });
    }

    /// Starts a task that may end at any time: a connection, a request, a job. A panic is logged
    /// and counted, and has no other effect.
    pub fn spawn_transient(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.run(name, async move {
            // A panic was logged, and that is all that it does here.
            drop(caught(name, task).await);
        });
    }

    /// Starts a thread that must live until shutdown, and then ends by itself. Its panic or early
    /// end is reported by [`Tasks::failed`].
    ///
    /// # Errors
    /// The system refused another thread; nothing was started.
    pub fn thread(
        &self,
        name: &'static str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let (tasks, tracked) = (self.clone(), self.inner.tracker.token());
        let running = Running::enter(&self.inner, name, self.group_id);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(body))
                .map_err(|payload| panics::caught(name, &*payload));
            tasks.note_end(name, outcome);
            drop(running);
            drop(tracked);
        })?;
        lock(&self.inner.threads).push(thread);
        Ok(())
    }

    /// Waits for the first task that failed the process; for ever if none does.
    ///
    /// # Cancel safety
    /// Cancel safe: a failure is kept, and each caller receives the same one.
    pub async fn failed(&self) -> TaskFailed {
        let mut failed = self.inner.failed.subscribe();
        let failure = match failed.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone(),
            Err(_) => None,
        };
        match failure {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Ends the tasks of a [`Tasks::group`] and waits until they have ended. Those of groups within
    /// it are told to end, and not waited for.
    pub async fn end(&self) {
        self.shutdown.cancel();
        self.group.close();
        self.group.wait().await;
    }

    /// Begins shutdown, waits until all tasks and threads have ended, and joins the threads. After
    /// `grace` the remaining tasks are dropped where they wait. Returns the names of those that
    /// had not ended until then.
    pub async fn stop(&self, grace: Duration) -> Vec<&'static str> {
        let inner = &self.inner;
        self.shutdown.cancel();
        inner.tracker.close();
        let mut late = Vec::new();
        if timeout(grace, inner.tracker.wait()).await.is_err() {
            late = lock(&inner.running).abort_all();
            tracing::warn!(tasks = late.join(" "), "tasks did not end in time");
            if timeout(ABORT_TIMEOUT, inner.tracker.wait()).await.is_err() {
                tracing::warn!("some tasks block their thread and cannot be ended");
            }
        }
        for thread in std::mem::take(&mut *lock(&inner.threads)) {
            // Waiting for one that still runs would block; a panic was reported where it happened.
            if late.is_empty() || thread.is_finished() {
                drop(thread.join());
            }
        }
        late
    }

    /// Returns how many tasks of this group run.
    pub(crate) fn group_len(&self) -> usize {
        self.group.len()
    }

    /// Waits until all tasks of this group have ended, and after `grace` drops those that have not.
    /// Returns how many were dropped. Does not tell them to end.
    pub(crate) async fn drain_group(&self, grace: Duration) -> usize {
        self.group.close();
        if timeout(grace, self.group.wait()).await.is_ok() {
            return 0;
        }
        let late = self.group.len();
        lock(&self.inner.running).abort_group(self.group_id);
        if timeout(ABORT_TIMEOUT, self.group.wait()).await.is_err() {
            tracing::warn!("some tasks block their thread and cannot be ended");
        }
        late
    }

    /// Runs a wrapped task under its name, until it ends or is aborted.
    fn run(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let running = Running::enter(&self.inner, name, self.group_id);
        let (id, member) = (running.id, self.group.token());
        // The tracker waits for the task, and the wrapper has its outcome.
        let spawned = self.inner.tracker.spawn(async move {
            task.await;
            drop(running);
            drop(member);
        });
        lock(&self.inner.running).set_abort(id, spawned.abort_handle());
    }

    /// Reports the end of a task that should have lived until shutdown.
    fn note_end(&self, name: &'static str, outcome: Result<(), String>) {
        let cause = match outcome {
            Err(message) => Cause::Panicked(message),
            Ok(()) if self.shutdown.is_cancelled() => return,
            Ok(()) => {
                tracing::error!(task = name, "task ended unexpectedly");
                Cause::Ended
            }
        };
        self.inner.failed.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(TaskFailed { name, cause });
            is_first
        });
    }
}

/// Runs `task`; a panic is logged, counted, and returned as its message.
async fn caught(name: &'static str, task: impl Future<Output = ()>) -> Result<(), String> {
    AssertUnwindSafe(task).catch_unwind().await.map_err(|payload| panics::caught(name, &*payload))
}

// === impl Registry ===

impl Registry {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Notes how a task is aborted, unless it has ended already.
    fn set_abort(&mut self, id: u64, abort: AbortHandle) {
        let Some(entry) = self.running.get_mut(&id) else { return };
        if self.all_aborted || self.aborted.contains(&entry.group_id) {
            abort.abort();
        }
        entry.abort = Some(abort);
    }

    /// Drops all tasks, also those that start from now on; returns the names of those that run.
    fn abort_all(&mut self) -> Vec<&'static str> {
        self.all_aborted = true;
        self.running.values().for_each(Entry::abort);
        let names: BTreeSet<_> = self.running.values().map(|entry| entry.name).collect();
        names.into_iter().collect()
    }

    /// Drops the tasks of a group, also those that start from now on.
    fn abort_group(&mut self, group_id: u64) {
        self.aborted.insert(group_id);
        let of_group = self.running.values().filter(|entry| entry.group_id == group_id);
        of_group.for_each(Entry::abort);
    }
}

impl Entry {
    fn abort(&self) {
        if let Some(abort) = &self.abort {
            abort.abort();
        }
    }
}

/// One running task or thread.
struct Running {
    inner: Arc<Inner>,
    id: u64,
}

impl Running {
    fn enter(inner: &Arc<Inner>, name: &'static str, group_id: u64) -> Self {
        let mut registry = lock(&inner.running);
        let id = registry.next_id();
        registry.running.insert(id, Entry { name, group_id, abort: None });
        drop(registry);
        Self { inner: Arc::clone(inner), id }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.inner.running).running.remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
