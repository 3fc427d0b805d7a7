//! Script checks: exit code 0 passes, 1 warns, anything else is critical; the check's output is
//! what the program prints.
//!
//! The program gets its own process group, which is killed as a whole at the timeout or when the
//! check is removed. Standard output and error share one pipe; its last bytes are kept.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use lictor_api::{
    GoDuration,
    types::{agent::CheckDefinition, health::CheckStatus},
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{io::AsyncReadExt, net::unix::pipe, process::Command, time::timeout};

use super::Outcome;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the pipe is read after the program has exited; a child that it left in the background
/// may keep the pipe open forever.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// The last bytes of a program's output.
struct Tail {
    kept: Vec<u8>,
    limit: usize,
    total: usize,
}

impl Tail {
    fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), limit, total: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len();
        self.kept.extend_from_slice(&bytes[bytes.len().saturating_sub(self.limit)..]);
        let excess = self.kept.len().saturating_sub(self.limit);
        self.kept.drain(..excess);
    }

    fn into_text(self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        if self.total > self.limit {
            format!("Captured {} of {} bytes\n...\n{text}", self.limit, self.total)
        } else {
            text.into_owned()
        }
    }
}

/// Kills the process group on drop unless the program has exited.
struct Group(Option<Pid>);

impl Group {
    fn kill(&mut self) {
        if let Some(group) = self.0.take()
            && let Err(error) = killpg(group, Signal::SIGKILL)
        {
            tracing::debug!(target: "agent", %group, %error, "script check had ended before it was killed");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs the check's program once.
pub(super) async fn run(definition: &CheckDefinition) -> Outcome {
    let limit = match definition.timeout {
        GoDuration(Duration::ZERO) => DEFAULT_TIMEOUT,
        GoDuration(given) => given,
    };
    let mut tail = Tail::new(definition.output_max_size as usize);
    match execute(&definition.args, limit, &mut tail).await {
        Err(error) => Outcome::critical(error),
        Ok(None) => Outcome::critical(format!("Timed out ({}) running check", GoDuration(limit))),
        Ok(Some(exit)) => {
            let status = match exit.code() {
                Some(0) => CheckStatus::Passing,
                Some(1) => CheckStatus::Warning,
                _ => CheckStatus::Critical,
            };
            Outcome { status, output: tail.into_text() }
        }
    }
}

/// Runs a program. Returns `Ok(None)` at the timeout, after its process group was killed.
async fn execute(
    args: &[String],
    limit: Duration,
    tail: &mut Tail,
) -> Result<Option<ExitStatus>, String> {
    let (program, rest) = args.split_first().ok_or("no program to run")?;
    let failed = |error: io::Error| {
        let text = error.to_string().to_lowercase();
        let text = text.split(" (os error").next().unwrap_or_default().to_owned();
        format!("fork/exec {program}: {text}")
    };
    let (reader, writer) = io::pipe().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    let mut child = command.spawn().map_err(failed)?;
    // The command holds the pipe's write end; the reader sees the end only without it.
    drop(command);
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let mut group = Group(pid);
    let mut output = pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?;
    let finished = timeout(limit, async {
        tokio::select! {
            exit = child.wait() => exit,
            // All write ends are closed: the program is about to exit.
            () = read_to_end(&mut output, tail) => child.wait().await,
        }
    })
    .await;
    match finished {
        Ok(exit) => {
            group.0 = None;
            if timeout(DRAIN_TIMEOUT, read_to_end(&mut output, tail)).await.is_err() {
                tracing::debug!(target: "agent", program, "script check left a process that holds its output open");
            }
            exit.map(Some).map_err(failed)
        }
        Err(_) => {
            group.kill();
            child.wait().await.map_err(failed)?;
            Ok(None)
        }
    }
}

async fn read_to_end(output: &mut pipe::Receiver, tail: &mut Tail) {
    let mut buffer = [0; 4096];
    loop {
        match output.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => tail.push(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(line: &str, timeout: Duration) -> CheckDefinition {
        CheckDefinition {
            args: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            timeout: GoDuration(timeout),
            output_max_size: 4096,
            ..CheckDefinition::default()
        }
    }

    #[tokio::test]
    async fn s1_8_exit_codes_of_nagios_plugins_become_states() {
        use CheckStatus::{Critical, Passing, Warning};
        for (code, status) in [(0, Passing), (1, Warning), (2, Critical), (3, Critical)] {
            let line = format!("echo DISK; echo OK >&2; exit {code}");
            let outcome = run(&script(&line, DEFAULT_TIMEOUT)).await;
            assert_eq!(outcome, Outcome { status, output: "DISK\nOK\n".to_owned() }, "{code}");
        }
    }

    #[tokio::test]
    async fn output_is_kept_up_to_the_limit_and_its_end_beyond_it() {
        let line = |count| format!("head -c {count} /dev/zero | tr '\\0' x");
        assert_eq!(run(&script(&line(4096), DEFAULT_TIMEOUT)).await.output, "x".repeat(4096));
        let kept = "x".repeat(4096);
        assert_eq!(
            run(&script(&line(4097), DEFAULT_TIMEOUT)).await.output,
            format!("Captured 4096 of 4097 bytes\n...\n{kept}")
        );
    }

    #[tokio::test]
    async fn the_whole_process_group_is_gone_after_the_timeout() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let line = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
        let outcome = run(&script(&line, Duration::from_millis(300))).await;
        assert_eq!(outcome, Outcome::critical("Timed out (300ms) running check"));
        let child = std::fs::read_to_string(&pid_file).unwrap();
        let gone = || {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
            state.map_or(true, |stat| stat.contains(") Z"))
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while !gone() {
            assert!(tokio::time::Instant::now() < deadline, "the script's child still runs");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_daemon_that_the_script_leaves_does_not_delay_the_result() {
        let outcome = run(&script("sleep 2 & echo started", Duration::from_secs(1))).await;
        assert_eq!(outcome, Outcome::passing("started\n"));
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_named() {
        let check = CheckDefinition {
            args: vec!["/nonexistent/check".to_owned()],
            ..script("", DEFAULT_TIMEOUT)
        };
        assert_eq!(
            run(&check).await,
            Outcome::critical("fork/exec /nonexistent/check: no such file or directory")
        );
    }
}
