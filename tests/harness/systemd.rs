//! A machine whose first process is a real systemd, so that units and packages can be tried.
//!
//! It lives in the machine's network namespace and in pid, mount, uts, ipc and cgroup namespaces of
//! its own. Its root is a tmpfs with overlays of this host's `/usr`, `/etc` and `/var`: programs and
//! the package database are there, and what changes stays over a reboot and goes with the test. Of
//! what this host starts at boot only journald is left (`systemd/boot.sh`).
//!
//! INVARIANT: this host's own systemd, units and file systems are never touched.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    leftovers,
    machine::Machine,
    process::Process,
    tools,
    wait::{pause, within},
};

/// How long a boot or an end may take.
const SOON: Duration = Duration::from_secs(30);

/// A machine's systemd; ended with all it started when dropped.
pub struct Systemd<'a> {
    machine: &'a Machine,
    disk: PathBuf,
    group: PathBuf,
    boots: usize,
    /// The parent of the first process, which ends with it.
    parent: Option<Process>,
}

// === impl Systemd ===

impl<'a> Systemd<'a> {
    /// Boots a machine on which no agent runs, or `None` where that cannot be.
    ///
    /// # Panics
    /// When it does not come up; in CI, where it must be possible.
    pub fn boot(machine: &'a Machine) -> Option<Self> {
        if !["systemctl", "setpriv"].into_iter().all(tools::has) {
            return None;
        }
        let Some(groups) = groups() else {
            skip("no cgroup2 is mounted");
            return None;
        };
        let disk = machine.dir().join("disk");
        fs::create_dir(&disk).expect("the test's directory is writable");
        tools::must("mount", &["-t", "tmpfs", "tmpfs", &disk.display().to_string()]);
        let group = groups.join(leftovers::name(machine.name()));
        let mut systemd = Self { machine, disk, group, boots: 0, parent: None };
        systemd.start();
        Some(systemd)
    }

    fn start(&mut self) {
        fs::create_dir_all(&self.group).expect("root may make groups");
        self.boots += 1;
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.group);
        command.args(["ip", "netns", "exec", self.machine.namespace().name()]);
        command.args(["unshare", "--mount", "--uts", "--ipc", "--cgroup", "--pid", "--fork"]);
        command.args(["--kill-child", "sh", "-c", include_str!("systemd/boot.sh"), "boot.sh"]);
        command.arg(&self.disk).arg(self.machine.name());
        let log = self.machine.dir().join(format!("boot-{}.log", self.boots));
        self.parent = Some(Process::start(&mut command, &log));
        let what = format!("{} to boot", self.machine.name());
        within(SOON, &what, || self.is_up().then_some(()));
    }

    fn is_up(&mut self) -> bool {
        let parent = self.parent.as_mut().expect("it was started");
        assert!(parent.is_running(), "the boot ended:\n{}", parent.log());
        // Before that, a command would still see the host's files and its systemd.
        let is_systemd = self.first().is_some_and(|first| {
            fs::read_to_string(format!("/proc/{first}/comm")).is_ok_and(|name| name == "systemd\n")
        });
        // What else of this host's cannot run there is of no interest.
        is_systemd
            && ["running", "degraded"].contains(&&*self.stdout("systemctl is-system-running"))
    }

    /// The first process, as this host counts.
    fn first(&self) -> Option<u32> {
        let parent = self.parent.as_ref()?.id();
        let children = format!("/proc/{parent}/task/{parent}/children");
        fs::read_to_string(children).ok()?.trim().parse().ok()
    }

    /// Ends it as `systemctl reboot` does, and boots it again.
    ///
    /// # Panics
    /// When it does not end, ends otherwise, or does not come up.
    pub fn reboot(&mut self) {
        self.sh("systemctl reboot");
        let status = self.parent.take().expect("it runs").wait(SOON);
        // What the kernel says of a pid namespace that called for a reboot.
        assert_eq!(status.signal(), Some(Signal::SIGHUP as i32), "{status}");
        self.start();
    }

    /// Where a file of the machine lies here, if it is below none of `/etc`, `/usr` and `/var`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.disk.join(path.trim_start_matches('/'))
    }

    /// Runs a shell command on the machine to its end.
    ///
    /// # Panics
    /// When the machine is not up.
    pub fn sh(&self, command: &str) -> Output {
        let first = self.first().expect("the machine is up").to_string();
        let enter = ["--target", &first, "--all", "env", "-i"];
        let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        tools::run("nsenter", &[&enter[..], &[path, "sh", "-c", command]].concat())
    }

    /// What a shell command printed on stdout, without the last line's end.
    ///
    /// # Panics
    /// When the machine is not up.
    pub fn stdout(&self, command: &str) -> String {
        String::from_utf8_lossy(&self.sh(command).stdout).trim_end().to_owned()
    }

    /// The same of a command that must not fail.
    ///
    /// # Panics
    /// With what it printed when it fails.
    pub fn must(&self, command: &str) -> String {
        let output = self.sh(command);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{command}: {stdout}{stderr}");
        stdout
    }
}

impl Drop for Systemd<'_> {
    /// A failed test shows the end of the journal.
    #[expect(clippy::print_stderr, reason = "a failed test keeps its logs")]
    fn drop(&mut self) {
        if std::thread::panicking() && self.first().is_some() {
            eprintln!("{}", self.stdout("journalctl --no-pager -n 60"));
        }
        self.parent = None;
        remove_group(&self.group);
        tools::run("umount", &["-l", &self.disk.display().to_string()]);
    }
}

/// Where cgroups of version 2 are mounted.
pub(crate) fn groups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    mounts.find(|cells| cells.get(2) == Some(&"cgroup2")).map(|cells| PathBuf::from(cells[1]))
}

/// Removes a group with those below it, once their processes, which were killed, are gone.
pub(crate) fn remove_group(group: &Path) {
    for _ in 0..250 {
        remove_empty(group);
        if !group.exists() {
            break;
        }
        pause(Duration::from_millis(20));
    }
}

fn remove_empty(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_empty(&entry.path());
        }
    }
    fs::remove_dir(group).ok();
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "a systemd is needed in CI: {reason}");
    println!("skipped: {reason}");
}
