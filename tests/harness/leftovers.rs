//! Names that carry the test's process id, and the removal of what dead tests left.

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{systemd, tools};

const PREFIX: &str = "lictor-test";

/// A name for something outside the test's directory.
pub(crate) fn name(what: &str) -> String {
    format!("{PREFIX}-{}-{what}", std::process::id())
}

/// Whether `name` is of a test whose process is gone.
fn is_left(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-'));
    let pid = rest.and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// Ends the agents of dead tests and removes their namespaces, groups, mounts and directories.
pub(crate) fn sweep() {
    for name in entries(Path::new("/run/netns")) {
        let pids = tools::stdout("ip", &["netns", "pids", &name]);
        for pid in pids.lines().filter_map(|pid| pid.trim().parse().ok()) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        tools::run("ip", &["netns", "del", &name]);
        fs::remove_dir_all(Path::new("/etc/netns").join(&name)).ok();
    }
    if let Some(groups) = systemd::groups() {
        for name in entries(&groups) {
            systemd::remove_group(&groups.join(name));
        }
    }
    let directory = std::env::temp_dir();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for name in entries(&directory) {
        let root = directory.join(&name);
        let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for target in mounted.filter(|target| Path::new(target).starts_with(&root)) {
            tools::run("umount", &["-l", target]);
        }
        fs::remove_dir_all(&root).ok();
    }
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_left(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_test_named_is_left() {
        assert!(!is_left(&name("0-hub")), "this test lives");
        assert!(is_left("lictor-test-4194305-0-hub"), "beyond the largest process id");
        for other in ["lictor-test-", "lictor-test-x-hub", "other-4194305-hub", "lictor"] {
            assert!(!is_left(other), "{other}");
        }
    }
}
