//! A command that goes on while the suite does something, its lines stamped as they arrive.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use crate::kubectl::DEMO;

/// A running `kubectl`; ended when dropped.
pub(crate) struct Stream {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Stream {
    /// Runs a shell line in a pod.
    pub(crate) fn exec(pod: &str, line: &str) -> Self {
        Self::kubectl(&["-n", DEMO, "exec", pod, "--", "sh", "-c", line])
    }

    /// Runs kubectl.
    pub(crate) fn kubectl(arguments: &[&str]) -> Self {
        let mut child = Command::new("kubectl")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl can be started");
        let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let (sender, lines) = sync_channel(4096);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line that satisfies `wanted`, and when it came; panics after `seconds` or at the end.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        seconds: u64,
        wanted: impl Fn(&str) -> bool,
    ) -> Instant {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let mut last = "nothing".to_owned();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((at, line)) if wanted(&line) => return at,
                Ok((_, line)) => last = line,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{what}: not within {seconds} s; last was {last:?}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{what}: the output ended; last was {last:?}")
                }
            }
        }
    }

    /// Everything that has arrived and was not looked at.
    pub(crate) fn arrived(&self) -> Vec<(Instant, String)> {
        self.lines.try_iter().collect()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().expect("a killed child can be waited for");
        }
    }
}
