//! `lictor lock`: run a command while a lock, or one of several slots, is held.
//!
//! COMPAT: the keys, their flags and the semaphore's document are those of HashiCorp's Go client,
//! so that holders of both kinds respect each other.
//!
//! The lock can be lost while the command runs (the agent is unreachable for too long, an operator
//! intervenes); the command is then ended. What it changes elsewhere is safe only if that place
//! compares the key's LockIndex.

mod child;
mod keys;
mod mutex;
mod semaphore;
mod session;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use lictor_api::{GoDuration, client::Client};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Verb, api_flags::ApiFlags, output};
use child::Child;
use mutex::Mutex;
use semaphore::Semaphore;
use session::LockSession;

/// Name of the key under the prefix that all contenders of a lock share.
const LOCK_KEY: &str = ".lock";

/// Flags of `lock`.
#[derive(Debug, clap::Args)]
pub struct LockVerb {
    /// Exit with 2 if the command fails
    #[arg(long)]
    child_exit_code: bool,
    /// How often to retry when the agent does not respond while the lock is held
    #[arg(long, default_value_t = 3, allow_hyphen_values = true)]
    monitor_retry: i64,
    /// How many may hold the lock at the same time
    #[arg(long, default_value_t = 1, allow_hyphen_values = true)]
    n: i64,
    /// Name of the lock's session
    #[arg(long, default_value = "")]
    name: String,
    /// Let the command read stdin
    #[arg(long)]
    pass_stdin: bool,
    /// Run the command with a shell
    #[arg(long, default_value_t = true)]
    shell: bool,
    /// How long to wait for the lock; forever by default
    #[arg(long, default_value = "0s")]
    timeout: GoDuration,
    /// The same as -timeout
    #[arg(long = "try", default_value = "0s", hide = true)]
    attempt: GoDuration,
    /// Print each step
    #[arg(long)]
    verbose: bool,
    /// Where in the key/value store the lock is
    prefix: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    #[command(flatten)]
    api: ApiFlags,
}

/// A lock for one holder or for several.
enum Lock {
    Mutex(Mutex),
    Semaphore(Semaphore),
}

impl Verb for LockVerb {
    const PATH: &'static str = "lock";
    const ABOUT: &'static str = "Run a command while holding a lock";
    const DETAILS: &'static str = "\
Examples:
  lictor lock service/backup ./backup.sh
  lictor lock -n 2 -timeout=30s jobs/render -shell=false render --all";

    async fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(self.n > 0, "Lock holder limit must be positive");
        anyhow::ensure!(self.monitor_retry >= 0, "Number for 'monitor-retry' must be >= 0");
        let prefix = self.prefix.strip_prefix('/').unwrap_or(&self.prefix).to_owned();
        let client = self.api.client()?;
        client
            .get("/v1/agent/self", &[])
            .await
            .and_then(lictor_api::client::Answer::success)
            .context("Error querying Consul agent")?;
        let mut stop = Stop::new()?;
        let session = self.session(&client, &prefix).await.context("Lock setup failed")?;
        let lock = self.lock(&client, &session, &prefix);
        self.log_step("Attempting lock acquisition");
        let acquired = tokio::select! {
            acquired = lock.acquire() => acquired,
            () = stop.wait() => Ok(false),
        };
        if !matches!(acquired, Ok(true)) {
            lock.withdraw().await;
            session.destroy().await;
            acquired.context("Lock acquisition failed")?;
            anyhow::bail!("Shutdown triggered or timeout during lock acquisition");
        }
        let failed = self.supervise(&lock, &mut stop).await;
        let released = lock.release().await;
        session.destroy().await;
        released.context("Lock release failed")?;
        if !lock.clean_up().await.context("Lock cleanup failed")? {
            self.log_step("Cleanup aborted, lock in use");
        }
        let code = if failed && self.child_exit_code { 2 } else { 0 };
        Ok(ExitCode::from(code))
    }
}

impl LockVerb {
    fn log_step(&self, text: &str) {
        if self.verbose {
            output::line(text);
        }
    }

    async fn session(&self, client: &Client, prefix: &str) -> anyhow::Result<LockSession> {
        let name = if self.name.is_empty() {
            format!("Consul lock for '{}' at '{prefix}'", self.command.join(" "))
        } else {
            self.name.clone()
        };
        // A contender's key proves that it is alive: it is deleted with its session.
        let behavior = if self.n == 1 { "release" } else { "delete" };
        LockSession::create(client.clone(), &name, behavior).await
    }

    fn lock(&self, client: &Client, session: &LockSession, prefix: &str) -> Lock {
        let wait = if self.timeout.is_zero() { self.attempt } else { self.timeout };
        let keys = keys::Keys {
            client: client.clone(),
            session: session.id().to_owned(),
            timeout: (!wait.is_zero()).then_some(wait.0),
            retries: u32::try_from(self.monitor_retry).unwrap_or(u32::MAX),
        };
        if self.n == 1 {
            let key = keys::join(prefix, LOCK_KEY);
            self.log_step(&format!("Setting up lock at path: {key}"));
            return Lock::Mutex(Mutex { keys, key });
        }
        self.log_step(&format!("Setting up semaphore (limit {}) at prefix: {prefix}", self.n));
        Lock::Semaphore(Semaphore { keys, prefix: prefix.to_owned(), limit: self.n })
    }

    /// Runs the command until it ends, the lock is lost or a signal arrives. Returns whether the
    /// command failed.
    async fn supervise(&self, lock: &Lock, stop: &mut Stop) -> bool {
        let mut child = match Child::start(&self.command, self.shell, self.pass_stdin) {
            Ok(child) => child,
            Err(error) => {
                output::error_line(format!("Error running {:?}: {error}", self.command.join(" ")));
                return true;
            }
        };
        let reason = tokio::select! {
            succeeded = child.wait() => {
                self.log_step("Child terminated, releasing lock");
                return !succeeded;
            }
            () = lock.lost() => "Lock lost, killing child",
            () = stop.wait() => "Shutdown triggered, killing child",
        };
        self.log_step(reason);
        !child.end().await
    }
}

impl Lock {
    /// Waits for the lock. Returns false after the timeout.
    async fn acquire(&self) -> anyhow::Result<bool> {
        match self {
            Self::Mutex(lock) => lock.acquire().await,
            Self::Semaphore(lock) => lock.acquire().await,
        }
    }

    /// Waits until the lock is no longer held.
    async fn lost(&self) {
        match self {
            Self::Mutex(lock) => lock.lost().await,
            Self::Semaphore(lock) => lock.lost().await,
        }
    }

    async fn release(&self) -> anyhow::Result<()> {
        match self {
            Self::Mutex(lock) => lock.release().await,
            Self::Semaphore(lock) => lock.release().await,
        }
    }

    /// Releases an attempt that may have succeeded at the last moment. A key that this fails to
    /// release goes with the session.
    async fn withdraw(&self) {
        if let Err(error) = self.release().await {
            tracing::debug!(%error, "withdrawing from the lock");
        }
    }

    /// Deletes the lock's key unless it is in use. Returns false if it is.
    async fn clean_up(&self) -> anyhow::Result<bool> {
        match self {
            Self::Mutex(lock) => lock.clean_up().await,
            Self::Semaphore(lock) => lock.clean_up().await,
        }
    }
}

/// The signals that stop this process.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The longest wait of one blocking read, so that a lock that takes long is read now and then.
const MAX_WAIT: Duration = Duration::from_secs(15);
