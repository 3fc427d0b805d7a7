//! Network namespaces for tests with several machines: a switch, and a namespace per machine.
//!
//! The switch is a bridge in a namespace of its own, so that a test may use any addresses, those
//! of a tutorial for example, whatever the host's network is. Nothing is added to the host's own
//! namespace. Names carry the test's process id; what a killed test left is removed by the next.
//!
//! INVARIANT: one network at a time per test process: machines of two scenarios would only steal
//! each other's two cores and make each other's deadlines miss.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use crate::{binary::binary, leftovers, machine::Machine, tools};

/// Where `ip` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";
/// Where `ip netns exec` looks for files that replace those in `/etc`.
const REPLACED: &str = "/etc/netns";

/// A network namespace; removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

// === impl Namespace ===

impl Namespace {
    fn add(name: String) -> Self {
        tools::must("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file, for `setns`.
    pub fn path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(&self.name)
    }

    /// Where files of this namespace's `/etc` lie.
    pub fn etc(&self) -> PathBuf {
        Path::new(REPLACED).join(&self.name)
    }

    /// A command that runs inside; its process id is the program's own.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// `ip` on this namespace.
    ///
    /// # Panics
    /// When it fails.
    pub fn ip(&self, arguments: &[&str]) {
        let mut all = vec!["-n", &self.name];
        all.extend_from_slice(arguments);
        tools::must("ip", &all);
    }

    /// Runs `work` on a thread inside; the sockets it makes stay there.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or `work` panics.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        let run = move || {
            enter(&path);
            work()
        };
        thread::scope(|scope| scope.spawn(run).join().expect("the work did not panic"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        tools::run("ip", &["netns", "del", &self.name]);
        fs::remove_dir_all(self.etc()).ok();
    }
}

/// Moves the calling thread into a namespace.
///
/// # Panics
/// When it is gone.
pub fn enter(path: &Path) {
    let file = File::open(path).expect("the namespace is there");
    setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
}

/// A switch and what machines share.
#[derive(Debug)]
pub struct Network {
    hub: Namespace,
    dir: TempDir,
    machines: AtomicUsize,
    _alone: MutexGuard<'static, ()>,
}

// === impl Network ===

impl Network {
    /// A network, or `None` where namespaces cannot be made.
    ///
    /// # Panics
    /// In CI, where they must be.
    pub fn new() -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        static NETWORKS: AtomicUsize = AtomicUsize::new(0);
        let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !possible() {
            return None;
        }
        leftovers::sweep();
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let hub = Namespace::add(leftovers::name(&format!("{number}-hub")));
        hub.ip(&["link", "add", "switch", "type", "bridge"]);
        hub.ip(&["link", "set", "switch", "up"]);
        let dir = tempfile::Builder::new()
            .prefix(&leftovers::name(""))
            .tempdir()
            .expect("a temporary directory can be made");
        fs::create_dir(dir.path().join("bin")).expect("the test's directory is writable");
        symlink(binary("lictor"), dir.path().join("bin/consul")).expect("a link can be made");
        Some(Self { hub, dir, machines: AtomicUsize::new(0), _alone: alone })
    }

    /// The directory of everything in this network.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A machine with a host name and an address (in a /24), plugged into the switch.
    ///
    /// # Panics
    /// When the machine cannot be made.
    pub fn machine(&self, name: &str, address: Ipv4Addr) -> Machine {
        let number = self.machines.fetch_add(1, Ordering::Relaxed);
        let hub = &self.hub.name;
        let namespace = Namespace::add(format!("{}-{number}", hub.trim_end_matches("-hub")));
        let port = format!("port{number}");
        self.hub.ip(&[
            "link",
            "add",
            &port,
            "type",
            "veth",
            "peer",
            "eth0",
            "netns",
            &namespace.name,
        ]);
        self.hub.ip(&["link", "set", &port, "master", "switch", "up"]);
        namespace.ip(&["link", "set", "eth0", "up"]);
        namespace.ip(&["addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        fs::create_dir_all(namespace.etc()).expect("/etc is writable for root");
        let write = |file: &str, text: &str| {
            fs::write(namespace.etc().join(file), text).expect("/etc is writable for root");
        };
        write("hosts", &format!("127.0.0.1 localhost\n{address} {name}\n"));
        // Nobody answers there: a name that is not in `hosts` fails at once.
        write("resolv.conf", "nameserver 127.0.0.1\n");
        let dir = self.dir.path().join(format!("{number}-{name}"));
        Machine::new(name, address, namespace, dir, &self.dir.path().join("bin"))
    }
}

/// Whether this process may make namespaces.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn possible() -> bool {
    let missing = if !nix::unistd::geteuid().is_root() {
        Some("network namespaces need root".to_owned())
    } else {
        ["ip", "nft", "tc", "mkfs.ext4"]
            .into_iter()
            .find(|program| !tools::has(program))
            .map(|program| format!("{program} is not installed"))
            .or_else(|| {
                let name = leftovers::name("try");
                let made = tools::run("ip", &["netns", "add", &name]);
                tools::run("ip", &["netns", "del", &name]);
                (!made.status.success()).then(|| String::from_utf8_lossy(&made.stderr).into_owned())
            })
    };
    if let Some(reason) = &missing {
        assert!(std::env::var_os("CI").is_none(), "network namespaces are needed in CI: {reason}");
        println!("skipped: {reason}");
    }
    missing.is_none()
}
