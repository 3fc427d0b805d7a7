//! Injects faults, one after the other, and takes them back; counts those that proved themselves.

mod faults;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use harness::{fault::Proof, wait::pause};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{workload::Counters, world::World};

/// How long after the end of a fault writes may take to be accepted again.
const RECOVERY: Duration = Duration::from_secs(45);

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// kill -9 of an agent, and its restart.
    Kill,
    /// SIGSTOP, and SIGCONT.
    Pause,
    /// A machine, or the leader, cut off in both directions.
    Partition,
    /// The leader cut off in one direction.
    OneWay,
    /// A machine loses part of what arrives.
    Loss,
    /// A machine sends slowly.
    SlowLink,
    /// A server loses power, and what it had not synced.
    PowerCut,
    /// A server's disk takes few writes per second.
    SlowDisk,
    /// A server's disk is full.
    FullDisk,
    /// A server's wall clock is an hour off.
    Clock,
    /// An agent gets little processor time.
    Starve,
    /// The leader hands over.
    Transfer,
    /// SIGTERM, and a start.
    Stop,
    /// Every server loses power at once.
    Blackout,
    /// A server loses its data directory and joins again under its name.
    Replace,
    /// One more server joins, takes part, and leaves.
    Grow,
    /// Every agent is killed, and they start in any order.
    RestartAll,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 17] = [
        Self::Kill,
        Self::Pause,
        Self::Partition,
        Self::OneWay,
        Self::Loss,
        Self::SlowLink,
        Self::PowerCut,
        Self::SlowDisk,
        Self::FullDisk,
        Self::Clock,
        Self::Starve,
        Self::Transfer,
        Self::Stop,
        Self::Blackout,
        Self::Replace,
        Self::Grow,
        Self::RestartAll,
    ];
}

/// What was injected of one kind.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// Faults that proved themselves.
    pub(crate) proven: usize,
    /// Those that did not, with the reason of the last.
    pub(crate) unproven: usize,
    /// Why the last of them did not.
    pub(crate) reason: String,
    /// Time from the end of each fault to the next accepted write.
    pub(crate) recoveries: Vec<Duration>,
}

/// Injects faults by a seed.
pub(crate) struct Nemesis {
    rng: StdRng,
    counters: Arc<Counters>,
    kinds: Vec<Kind>,
    /// What happened, by kind.
    pub(crate) tallies: BTreeMap<Kind, Tally>,
}

// === impl Nemesis ===

impl Nemesis {
    pub(crate) fn new(seed: u64, kinds: &[Kind], counters: Arc<Counters>) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, counters, kinds: kinds.to_vec(), tallies: BTreeMap::new() }
    }

    /// Injects one fault, takes it back and waits for an accepted write; what went wrong.
    #[expect(clippy::print_stdout, reason = "a run of many minutes says what it does")]
    pub(crate) fn strike(&mut self, world: &mut World) -> Option<String> {
        let kind = *self.kinds.choose(&mut self.rng)?;
        let started = Instant::now();
        let (target, outcome) = self.inject(kind, world);
        let tally = self.tallies.entry(kind).or_default();
        match &outcome {
            Ok(_) => tally.proven += 1,
            Err(reason) => {
                tally.unproven += 1;
                tally.reason.clone_from(reason);
            }
        }
        println!("{kind:?} on {target}: {outcome:?}, {:?}", started.elapsed());
        self.recover(kind, &target)
    }

    /// Waits until a write is accepted that was not before.
    fn recover(&mut self, kind: Kind, target: &str) -> Option<String> {
        let before = self.counters.written.load(Ordering::Relaxed);
        let started = Instant::now();
        while self.counters.written.load(Ordering::Relaxed) < before + 2 {
            if started.elapsed() > RECOVERY {
                return Some(format!("no write within {RECOVERY:?} after {kind:?} on {target}"));
            }
            pause(Duration::from_millis(5));
        }
        self.tallies.entry(kind).or_default().recoveries.push(started.elapsed());
        None
    }

    /// A time between two numbers of milliseconds.
    fn hold(&mut self, from: u64, to: u64) {
        pause(Duration::from_millis(self.rng.random_range(from..to)));
    }

    /// A server's number: often the leader's.
    fn server(&mut self, world: &World) -> usize {
        let any = self.rng.random_range(0..world.servers);
        if self.rng.random_bool(0.6) { world.leader().unwrap_or(any) } else { any }
    }

    /// A machine's number: often the leader's.
    fn machine(&mut self, world: &World) -> usize {
        let any = self.rng.random_range(0..world.machines.len());
        if self.rng.random_bool(0.5) { world.leader().unwrap_or(any) } else { any }
    }
}

/// A fault's target and proof, for [`Nemesis::strike`].
type Struck = (String, Proof);
