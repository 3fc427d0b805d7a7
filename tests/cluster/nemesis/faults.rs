//! What each kind of fault does.

use std::time::{Duration, Instant};

use harness::{
    Machine,
    fault::{clock, cpu::Starved, net, process},
    wait::pause,
};
use nix::sys::signal::Signal;
use rand::{RngExt, seq::SliceRandom};

use super::{Kind, Nemesis, Struck};
use crate::world::World;

impl Nemesis {
    /// Injects a fault, holds it for a moment, and takes it back.
    pub(super) fn inject(&mut self, kind: Kind, world: &mut World) -> Struck {
        match kind {
            Kind::Kill => self.kill(world),
            Kind::Pause => self.pause(world),
            Kind::Partition => self.partition(world),
            Kind::OneWay => self.one_way(world),
            Kind::Loss => self.loss(world),
            Kind::SlowLink => self.slow_link(world),
            Kind::PowerCut => self.power_cut(world),
            Kind::SlowDisk => self.slow_disk(world),
            Kind::FullDisk => self.full_disk(world),
            Kind::Clock => self.clock(world),
            Kind::Starve => self.starve(world),
            Kind::Transfer => self.transfer(world),
            Kind::Stop => self.stop(world),
            Kind::Blackout => self.blackout(world),
            Kind::Replace => self.replace(world),
            Kind::Grow => self.grow(world),
            Kind::RestartAll => self.restart_all(world),
        }
    }

    fn kill(&mut self, world: &mut World) -> Struck {
        let number = self.machine(world);
        let machine = &mut world.machines[number];
        let proof = process::kill(machine);
        self.hold(100, 1500);
        machine.restart();
        (machine.name().to_owned(), proof)
    }

    fn pause(&mut self, world: &mut World) -> Struck {
        let number = self.machine(world);
        let machine = &world.machines[number];
        let proof = process::pause(machine);
        self.hold(200, 3000);
        process::resume(machine);
        (machine.name().to_owned(), proof)
    }

    fn partition(&mut self, world: &mut World) -> Struck {
        let number = self.machine(world);
        let (one, others) = apart(world, number);
        let proof = net::partition(&[one], &others);
        self.hold(300, 3000);
        heal(world);
        (world.machines[number].name().to_owned(), proof)
    }

    fn one_way(&mut self, world: &mut World) -> Struck {
        let number = self.server(world);
        let (one, others) = apart(world, number);
        let is_deaf = self.rng.random_bool(0.5);
        let proof =
            if is_deaf { net::one_way(&others, &[one]) } else { net::one_way(&[one], &others) };
        let target = format!("{} ({})", one.name(), if is_deaf { "deaf" } else { "mute" });
        self.hold(300, 3000);
        heal(world);
        (target, proof)
    }

    fn loss(&mut self, world: &mut World) -> Struck {
        let number = self.machine(world);
        let (one, others) = apart(world, number);
        let percent = self.rng.random_range(10..60);
        let proof = net::loss(one, others[0], percent);
        self.hold(500, 3000);
        heal(world);
        (format!("{} ({percent} %)", world.machines[number].name()), proof)
    }

    fn slow_link(&mut self, world: &mut World) -> Struck {
        let number = self.machine(world);
        let (one, others) = apart(world, number);
        let proof = net::slow_link(one, others[0], 256);
        self.hold(500, 2000);
        heal(world);
        (world.machines[number].name().to_owned(), proof)
    }

    fn power_cut(&mut self, world: &mut World) -> Struck {
        let number = self.server(world);
        let machine = &mut world.machines[number];
        let proof = world.disks[number].cut_power(machine);
        self.hold(100, 1000);
        machine.restart();
        (machine.name().to_owned(), proof)
    }

    fn slow_disk(&mut self, world: &mut World) -> Struck {
        let number = self.server(world);
        let disk = &world.disks[number];
        let proof = disk.slow(15).unwrap_or_else(|| Err("no throttle here".to_owned()));
        self.hold(500, 2500);
        disk.fast();
        (world.machines[number].name().to_owned(), proof)
    }

    fn full_disk(&mut self, world: &mut World) -> Struck {
        let number = self.server(world);
        let proof = world.disks[number].fill();
        self.hold(500, 2500);
        world.disks[number].free();
        // A server that could not write its log ends: it must not go on as if it had.
        world.restart_ended();
        (world.machines[number].name().to_owned(), proof)
    }

    fn clock(&mut self, world: &mut World) -> Struck {
        let number = self.server(world);
        let machine = &world.machines[number];
        let seconds = if self.rng.random_bool(0.5) { 3600 } else { -3600 };
        let proof = clock::step(machine, seconds);
        self.hold(200, 1500);
        let back = clock::step(machine, 0);
        (format!("{} ({seconds} s)", machine.name()), proof.and_then(|proof| back.map(|_| proof)))
    }

    fn starve(&mut self, world: &mut World) -> Struck {
        let number = self.machine(world);
        let machine = &world.machines[number];
        let proof = match Starved::start(machine, 3) {
            None => Err("no cpu controller here".to_owned()),
            Some(starved) => {
                self.hold(500, 2500);
                starved.proof()
            }
        };
        (machine.name().to_owned(), proof)
    }

    fn transfer(&mut self, world: &mut World) -> Struck {
        let before = world.leader();
        let command = "consul operator raft transfer-leader";
        let output = world.machines[before.unwrap_or(0)].sh(command);
        self.hold(100, 500);
        let after = world.leader();
        let moved = output.status.success() && after.is_some() && before != after;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let proof = format!("leader {before:?}, then {after:?} {told}");
        ("the leader".to_owned(), if moved { Ok(proof) } else { Err(proof) })
    }

    fn stop(&mut self, world: &mut World) -> Struck {
        let number = self.machine(world);
        let machine = &mut world.machines[number];
        let code = machine.end(Signal::SIGTERM);
        self.hold(50, 1000);
        machine.restart();
        (machine.name().to_owned(), Ok(format!("exit code {code:?}")))
    }

    fn blackout(&mut self, world: &mut World) -> Struck {
        let servers = world.machines.iter_mut().zip(&mut world.disks);
        let proofs: Vec<_> = servers.map(|(machine, disk)| disk.cut_power(machine)).collect();
        self.hold(50, 1000);
        for machine in &mut world.machines[..world.servers] {
            machine.relaunch();
        }
        for machine in &mut world.machines[..world.servers] {
            machine.wait_for_http();
        }
        let proof: Result<Vec<String>, String> = proofs.into_iter().collect();
        ("all servers".to_owned(), proof.map(|proofs| proofs.join(", ")))
    }

    fn replace(&mut self, world: &mut World) -> Struck {
        // No second server may be lost before the first has a vote again.
        world.wait_for_voters();
        let number = self.server(world);
        let machine = &mut world.machines[number];
        let proof = process::kill(machine);
        machine.wipe();
        self.hold(100, 1000);
        machine.restart();
        world.wait_for_voters();
        (world.machines[number].name().to_owned(), proof)
    }

    fn grow(&mut self, world: &mut World) -> Struck {
        world.wait_for_voters();
        let before = world.peers();
        world.spare.restart();
        let grown = eventually(|| world.peers() > before);
        self.hold(100, 1000);
        let left = world.spare.sh("consul leave").status.success();
        let shrunk = eventually(|| world.peers() == before);
        if world.spare.is_running() {
            world.spare.kill();
        }
        world.spare.wipe();
        let proof = format!("grown: {grown}, left: {left}, shrunk: {shrunk}");
        (world.spare.name().to_owned(), if grown && shrunk { Ok(proof) } else { Err(proof) })
    }

    fn restart_all(&mut self, world: &mut World) -> Struck {
        let mut proofs = Vec::new();
        for machine in &mut world.machines {
            proofs.push(process::kill(machine));
        }
        self.hold(50, 1000);
        let mut order: Vec<usize> = (0..world.machines.len()).collect();
        order.shuffle(&mut self.rng);
        for number in &order {
            world.machines[*number].relaunch();
        }
        for number in &order {
            world.machines[*number].wait_for_http();
        }
        let proof: Result<Vec<String>, String> = proofs.into_iter().collect();
        (format!("all, started as {order:?}"), proof.map(|proofs| proofs.join(", ")))
    }
}

/// Whether a condition holds within the time that a change of the membership may take.
fn eventually(probe: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if probe() {
            return true;
        }
        pause(Duration::from_millis(50));
    }
    false
}

/// One machine and all others.
fn apart(world: &World, number: usize) -> (&Machine, Vec<&Machine>) {
    let others = world.machines.iter().enumerate().filter(|(other, _)| *other != number);
    (&world.machines[number], others.map(|(_, machine)| machine).collect())
}

fn heal(world: &World) {
    for machine in &world.machines {
        net::heal(machine);
    }
}
