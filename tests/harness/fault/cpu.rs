//! An agent that gets little of the processor, by the `cpu` controller of cgroups.

use std::{fs, path::PathBuf};

use super::{Proof, proof};
use crate::{leftovers, machine::Machine, wait::pause};

/// A group with little processor time; left when dropped.
#[derive(Debug)]
pub struct Starved {
    group: PathBuf,
    pid: u32,
}

// === impl Starved ===

impl Starved {
    /// Gives the agent `percent` of one processor, or `None` without the controller (cgroup v1).
    ///
    /// # Panics
    /// When no agent runs, or the group cannot be made.
    pub fn start(machine: &Machine, percent: u32) -> Option<Self> {
        let root = PathBuf::from("/sys/fs/cgroup/cpu");
        if !root.join("cgroup.procs").exists() {
            return None;
        }
        let pid = machine.agent.as_ref().expect("an agent runs").id();
        let group = root.join(leftovers::name(machine.name()));
        fs::create_dir_all(&group).expect("root may make groups");
        let write = |file: &str, value: u32| {
            fs::write(group.join(file), value.to_string()).expect("root may set groups");
        };
        write("cpu.cfs_period_us", 100_000);
        write("cpu.cfs_quota_us", percent * 1000);
        write("cgroup.procs", pid);
        Some(Self { group, pid })
    }

    /// What the kernel counted: how often the agent was kept waiting.
    ///
    /// # Errors
    /// When it was not within two seconds.
    pub fn proof(&self) -> Proof {
        let mut throttled = 0;
        for _ in 0..100 {
            let stat = fs::read_to_string(self.group.join("cpu.stat")).unwrap_or_default();
            let line = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
            throttled = line.and_then(|count| count.parse().ok()).unwrap_or(0);
            if throttled > 0 {
                break;
            }
            pause(std::time::Duration::from_millis(20));
        }
        proof(throttled > 0, format!("kept waiting {throttled} times"))
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        fs::write("/sys/fs/cgroup/cpu/cgroup.procs", self.pid.to_string()).ok();
        fs::remove_dir(&self.group).ok();
    }
}
