//! Disks that are full, slow or lose what was not synced: ext4 in a file, on a loop device.
//!
//! What the agent has not synced lies in the page cache above the loop device; the file below has
//! only what was written through. A copy of that file is therefore what a power cut leaves.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Proof, proof};
use crate::{machine::Machine, tools};

/// The disk under a machine's data directory; taken away when dropped.
#[derive(Debug)]
pub struct Disk {
    target: PathBuf,
    image: PathBuf,
    device: String,
    cuts: usize,
}

// === impl Disk ===

impl Disk {
    /// Puts a disk of `megabytes` under the data directory of a machine, whose agent must not run.
    ///
    /// # Panics
    /// When it cannot be made or mounted.
    pub fn mount(machine: &Machine, megabytes: u32) -> Self {
        let image = machine.dir().join("disk-0");
        let path = image.display().to_string();
        tools::must("truncate", &["-s", &format!("{megabytes}M"), &path]);
        tools::must("mkfs.ext4", &["-q", &path]);
        let mut disk = Self { target: machine.data(), image, device: String::new(), cuts: 0 };
        disk.attach();
        disk
    }

    fn attach(&mut self) {
        let image = self.image.display().to_string();
        self.device = tools::must("losetup", &["-f", "--show", &image]);
        tools::must("mount", &[&self.device, &self.target.display().to_string()]);
    }

    fn detach(&self) {
        // An agent that just ended may hold it for a moment; lazily it goes when nobody does.
        tools::run("umount", &["-l", &self.target.display().to_string()]);
        tools::run("losetup", &["-d", &self.device]);
    }

    /// Fills it to the last block.
    ///
    /// # Errors
    /// When a byte more can be written.
    ///
    /// # Panics
    /// When the filler cannot be made.
    pub fn fill(&self) -> Proof {
        let mut filler = File::create(self.filler()).expect("the disk is mounted");
        for bytes in [1 << 16, 1 << 12, 1] {
            while filler.write_all(&vec![b'x'; bytes]).is_ok() {}
        }
        filler.sync_all().ok();
        let error = fs::write(self.target.join("one-more"), vec![b'x'; 4096]).err();
        fs::remove_file(self.target.join("one-more")).ok();
        proof(error.is_some(), format!("one more block: {error:?}"))
    }

    /// Gives the room back, for good: a later power cut must not bring the filler again.
    pub fn free(&self) {
        fs::remove_file(self.filler()).ok();
        tools::run("sync", &["-f", &self.target.display().to_string()]);
    }

    fn filler(&self) -> PathBuf {
        self.target.join("filler")
    }

    /// Lets it write `per_second` times; `None` where the kernel has no throttle (cgroup v1).
    ///
    /// # Errors
    /// When a few synced writes are faster.
    pub fn slow(&self, per_second: u32) -> Option<Proof> {
        self.throttle(per_second)?;
        let started = Instant::now();
        let file = self.target.join("probe");
        let writes = 3;
        for _ in 0..writes {
            let mut probe = OpenOptions::new().create(true).append(true).open(&file).ok()?;
            probe.write_all(b"x").and_then(|()| probe.sync_all()).ok()?;
        }
        let took = started.elapsed();
        fs::remove_file(&file).ok();
        let least = Duration::from_secs(1) * writes / per_second;
        Some(proof(took >= least, format!("{writes} synced writes took {took:?}")))
    }

    /// Ends [`Disk::slow`].
    pub fn fast(&self) {
        self.throttle(0);
    }

    fn throttle(&self, per_second: u32) -> Option<()> {
        let control = Path::new("/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device");
        let name = self.device.strip_prefix("/dev/")?;
        let number = fs::read_to_string(format!("/sys/block/{name}/dev")).ok()?;
        let line = format!("{} {per_second}", number.trim());
        OpenOptions::new().write(true).open(control).ok()?.write_all(line.as_bytes()).ok()
    }

    /// Cuts the power: the agent is killed, and the disk has what was synced before.
    ///
    /// # Errors
    /// When a file that was not synced is there afterwards.
    ///
    /// # Panics
    /// When no agent runs, or the disk cannot be mounted again.
    pub fn cut_power(&mut self, machine: &mut Machine) -> Proof {
        let marker = self.target.join("not-synced");
        fs::write(&marker, "x").expect("the disk is mounted");
        machine.kill();
        self.cuts += 1;
        let copy = self.image.with_file_name(format!("disk-{}", self.cuts));
        let (from, to) = (self.image.display().to_string(), copy.display().to_string());
        loop {
            let before = self.writes();
            tools::must("cp", &["--sparse=always", &from, &to]);
            // The kernel may write by itself; then the copy is of two moments.
            if self.writes() == before {
                break;
            }
        }
        self.detach();
        fs::remove_file(&self.image).ok();
        self.image = copy;
        self.attach();
        let lost = !marker.exists();
        fs::remove_file(&marker).ok();
        proof(lost, format!("a file that was not synced is lost: {lost}"))
    }

    /// The kernel's counters of the device.
    fn writes(&self) -> String {
        let name = self.device.trim_start_matches("/dev/");
        let stat = fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap_or_default();
        stat.split_whitespace().skip(4).take(5).collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.throttle(0);
        self.detach();
    }
}
