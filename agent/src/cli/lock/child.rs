//! The command that runs while the lock is held.
//!
//! It gets a process group of its own, so that what a shell has started ends with it; only when it
//! reads the terminal it must stay in ours, and then it alone is ended.

use std::{io, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{process::Command, time::timeout};

/// Environment variable by which the command knows that the lock is held.
const HELD: (&str, &str) = ("CONSUL_LOCK_HELD", "true");
/// How long the command may take to end after SIGTERM.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A running command.
pub(super) struct Child {
    child: tokio::process::Child,
    own_group: bool,
}

impl Child {
    /// Starts the command.
    pub(super) fn start(words: &[String], shell: bool, pass_stdin: bool) -> io::Result<Self> {
        let mut command = if shell {
            let shell = std::env::var("SHELL").ok().filter(|shell| !shell.is_empty());
            let mut command = Command::new(shell.as_deref().unwrap_or("/bin/sh"));
            command.arg("-c").arg(words.join(" "));
            command
        } else {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            command
        };
        command.env(HELD.0, HELD.1);
        if !pass_stdin {
            command.stdin(Stdio::null()).process_group(0);
        }
        Ok(Self { child: command.spawn()?, own_group: !pass_stdin })
    }

    /// Waits for its end. Returns whether it succeeded.
    pub(super) async fn wait(&mut self) -> bool {
        self.child.wait().await.is_ok_and(|status| status.success())
    }

    /// Terminates it, by force after [`EXIT_TIMEOUT`]. Returns whether it succeeded nevertheless.
    pub(super) async fn end(&mut self) -> bool {
        self.signal(Signal::SIGTERM);
        if let Ok(succeeded) = timeout(EXIT_TIMEOUT, self.wait()).await {
            return succeeded;
        }
        self.signal(Signal::SIGKILL);
        self.wait().await
    }

    fn signal(&self, signal: Signal) {
        let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
        else {
            return;
        };
        let sent = if self.own_group { killpg(pid, signal) } else { kill(pid, signal) };
        if let Err(error) = sent {
            tracing::debug!(%pid, %error, "the command had ended before it was signaled");
        }
    }
}
