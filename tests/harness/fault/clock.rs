//! Steps of one agent's wall clock.
//!
//! Time namespaces cover only the monotonic clocks, and nothing can be preloaded into a static
//! binary. But every process has its own copy of the kernel's vDSO, which is where it asks the
//! time; root may write into it through `/proc/PID/mem`. Its `clock_gettime` is replaced by one that
//! asks the kernel and adds a number to the seconds of the wall clock. x86-64 only.
//!
//! The proof is the time of a line in the agent's log.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    time::{Duration, SystemTime},
};

use nix::sys::signal::Signal;

use super::{Proof, proof};
use crate::{
    fault::process,
    machine::Machine,
    tools,
    wait::{pause, within},
};

/// `clock_gettime` with a number of seconds for the wall clock, which follows the code.
const CODE: [u8; 26] = [
    0xb8, 0xe4, 0x00, 0x00, 0x00, // mov eax, 228 (clock_gettime)
    0x0f, 0x05, // syscall
    0x85, 0xff, // test edi, edi (CLOCK_REALTIME is 0)
    0x75, 0x0e, // jnz to the end
    0x85, 0xc0, // test eax, eax
    0x75, 0x0a, // jnz to the end
    0x48, 0x8b, 0x0d, 0x0a, 0x00, 0x00, 0x00, // mov rcx, [rip + 10]: the number
    0x48, 0x01, 0x0e, // add [rsi], rcx
    0xc3, // ret
];
/// Where the number lies, behind the code and aligned, so that it can change while threads read it.
const NUMBER: u64 = 32;

/// Sets an agent's wall clock `seconds` ahead of the machine's (behind when negative).
///
/// # Errors
/// When its log does not show it, or this kernel's vDSO is not understood.
///
/// # Panics
/// When no agent runs.
pub fn step(machine: &Machine, seconds: i64) -> Proof {
    if !cfg!(target_arch = "x86_64") {
        return Err("clock steps are for x86-64".to_owned());
    }
    let pid = machine.agent.as_ref().expect("an agent runs").id();
    let path = format!("/proc/{pid}/mem");
    let memory = OpenOptions::new().read(true).write(true).open(path).map_err(|e| e.to_string())?;
    let (start, end) = vdso(pid).ok_or("the agent has no vDSO")?;
    let function = function(&memory, start, end).ok_or("the vDSO has no clock_gettime")?;
    let mut patched = Err(String::new());
    // A thread may just be asking the time; at another moment it is not.
    for _ in 0..20 {
        process::pause(machine)?;
        patched = patch(&memory, pid, (start, end), function, seconds);
        process::resume(machine);
        if patched.is_ok() {
            break;
        }
        pause(Duration::from_millis(3));
    }
    patched?;
    let ahead = ahead(machine).ok_or("no time in the agent's log")?;
    proof(ahead.abs_diff(seconds) <= 5, format!("its clock is {ahead} s ahead"))
}

/// How far an agent's clock is ahead, by the time of the line it logs when told to reload.
///
/// The `Date` of its answers would not do: hyper keeps it until a later time comes.
fn ahead(machine: &Machine) -> Option<i64> {
    let before = machine.log().len();
    machine.signal(Signal::SIGHUP);
    let time = within(Duration::from_secs(10), "a line in the log", || {
        let line =
            machine.log().get(before..)?.lines().find(|l| l.contains("signal=hangup"))?.to_owned();
        Some(line.split_once(' ')?.0.to_owned())
    });
    let theirs: i64 = tools::stdout("date", &["-d", &time, "+%s"]).parse().ok()?;
    let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(theirs - i64::try_from(ours).ok()?)
}

fn patch(
    memory: &File,
    pid: u32,
    vdso: (u64, u64),
    function: u64,
    seconds: i64,
) -> Result<(), String> {
    if is_inside(pid, vdso) {
        return Err("a thread is inside the vDSO".to_owned());
    }
    let write = |bytes: &[u8], at: u64| memory.write_all_at(bytes, at).map_err(|e| e.to_string());
    write(&CODE, function)?;
    write(&seconds.to_le_bytes(), function + NUMBER)
}

/// The address range of a process's vDSO.
fn vdso(pid: u32) -> Option<(u64, u64)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

/// Whether a thread's next instruction lies in the range.
fn is_inside(pid: u32, (start, end): (u64, u64)) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.into_iter().any(|thread| {
        let text = fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
        let pointer = text.split_whitespace().last().and_then(|text| text.strip_prefix("0x"));
        let pointer = pointer.and_then(|text| u64::from_str_radix(text, 16).ok());
        pointer.is_none_or(|pointer| (start..end).contains(&pointer))
    })
}

/// The address of `__vdso_clock_gettime`, from the ELF image's dynamic symbols.
fn function(memory: &File, start: u64, end: u64) -> Option<u64> {
    let mut image = vec![0; usize::try_from(end - start).ok()?];
    memory.read_exact_at(&mut image, start).ok()?;
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(image.get(at..at + bytes)?);
        usize::try_from(u64::from_le_bytes(value)).ok()
    };
    let (table, size, count) = (number(40, 8)?, number(58, 2)?, number(60, 2)?);
    let section = |index: usize| table + index * size;
    // Section type 11 is the table of dynamic symbols; its link is the table of their names.
    let symbols = (0..count).map(section).find(|at| number(at + 4, 4) == Some(11))?;
    let names = number(section(number(symbols + 40, 4)?) + 24, 8)?;
    let (first, bytes) = (number(symbols + 24, 8)?, number(symbols + 32, 8)?);
    let named = |at: usize| {
        let name = image.get(names + number(at, 4)?..)?;
        name.starts_with(b"__vdso_clock_gettime\0").then(|| number(at + 8, 8))?
    };
    let offset = (first..first + bytes).step_by(24).find_map(named)?;
    Some(start + u64::try_from(offset).ok()?)
}
