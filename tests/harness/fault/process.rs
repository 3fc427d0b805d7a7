//! Crashes and pauses of an agent.

use std::{fs, time::Duration};

use nix::sys::signal::Signal;

use super::{Proof, proof};
use crate::{machine::Machine, wait::within};

/// kill -9.
///
/// # Errors
/// When the agent's process is there still.
///
/// # Panics
/// When no agent runs.
pub fn kill(machine: &mut Machine) -> Proof {
    let pid = machine.agent.as_ref().expect("an agent runs").id();
    machine.kill();
    proof(state(pid).is_none(), format!("process {pid} is gone"))
}

/// SIGSTOP.
///
/// # Errors
/// When the agent does not stop.
///
/// # Panics
/// When no agent runs.
pub fn pause(machine: &Machine) -> Proof {
    let pid = machine.agent.as_ref().expect("an agent runs").id();
    machine.signal(Signal::SIGSTOP);
    let what = format!("process {pid} to stop");
    within(Duration::from_secs(5), &what, || (state(pid) == Some('T')).then_some(()));
    Ok(format!("process {pid} is stopped"))
}

/// SIGCONT.
///
/// # Panics
/// When no agent runs.
pub fn resume(machine: &Machine) {
    machine.signal(Signal::SIGCONT);
}

/// The kernel's letter for what a process does: R, S, T, ...
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim().chars().next()
}
