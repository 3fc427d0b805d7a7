//! What goes wrong in a simulation: one server at a time, so that a majority remains.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// What it says and what is said to it is lost.
    CutOff,
    /// What it says is lost.
    Mute,
    /// What it says and what is said to it arrives when the fault is over.
    Delayed,
    /// It begins again, with what is on its disk.
    Crashed,
}

/// Something that happens at a time.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: Duration,
    /// `None` is the end of a fault.
    begins: Option<Fault>,
    /// `None` is the leader at that time.
    victim: Option<usize>,
}

/// Faults and their ends between two times.
pub(super) fn plan(random: &mut SmallRng, from: Duration, until: Duration) -> VecDeque<Event> {
    let (mut events, mut at) = (VecDeque::new(), from);
    loop {
        at += Duration::from_millis(random.random_range(200..3000));
        let end = at + Duration::from_millis(random.random_range(200..5000));
        if end >= until {
            return events;
        }
        let kinds = [Fault::CutOff, Fault::Mute, Fault::Delayed, Fault::Crashed];
        let begins = Some(kinds[random.random_range(0..kinds.len())]);
        let victim = random.random_bool(0.4).then(|| random.random_range(0..3));
        events.push_back(Event { at, begins, victim });
        events.push_back(Event { at: end, begins: None, victim: None });
        at = end;
    }
}

impl Simulation {
    pub(super) fn strike(&mut self, event: Event) {
        match event.begins {
            Some(fault) => {
                let leads = |host: &Arc<Host>| host.server().is_some_and(|it| it.is_leader());
                let leader = || self.hosts.iter().position(leads).unwrap_or_default();
                let victim = event.victim.unwrap_or_else(leader);
                self.begin_fault(fault, victim);
                self.current = Some((fault, victim));
            }
            None => {
                if let Some((fault, victim)) = self.current.take() {
                    self.end_fault(fault, victim);
                }
            }
        }
    }

    fn others(&self, victim: usize) -> impl Iterator<Item = &str> {
        let names = self.hosts.iter().map(|host| host.known.name.as_str()).enumerate();
        names.filter(move |(place, _)| *place != victim).map(|(_, name)| name)
    }

    fn begin_fault(&mut self, fault: Fault, victim: usize) {
        let host = self.hosts[victim].clone();
        let name = host.known.name.as_str();
        if fault == Fault::Crashed {
            *host.server.lock().unwrap() = None;
            self.sim.crash(name);
        }
        for other in self.others(victim) {
            match fault {
                Fault::CutOff => self.sim.partition(name, other),
                Fault::Mute => self.sim.partition_oneway(name, other),
                Fault::Delayed => self.sim.hold(name, other),
                Fault::Crashed => {}
            }
        }
    }

    fn end_fault(&mut self, fault: Fault, victim: usize) {
        let host = self.hosts[victim].clone();
        let name = host.known.name.as_str();
        for other in self.others(victim) {
            match fault {
                Fault::CutOff => self.sim.repair(name, other),
                Fault::Mute => self.sim.repair_oneway(name, other),
                Fault::Delayed => self.sim.release(name, other),
                Fault::Crashed => {}
            }
        }
        if fault == Fault::Crashed {
            self.sim.bounce(name);
        }
    }
}
