//! The agents of a scenario: servers on disks of their own, then client agents.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use harness::{Machine, Network, Process, fault::disk::Disk, local::Local, wait::pause, within};
use serde_json::{Value, json};

/// Megabytes of a server's disk.
const DISK: u32 = 96;
/// How long a cluster may take to be whole on a busy machine.
const CONVERGED: Duration = Duration::from_secs(60);
/// How long until exactly the right servers vote: autopilot removes one that gossip does not know
/// after a minute.
const SETTLED: Duration = Duration::from_secs(120);

/// Machines with agents, servers first.
pub(crate) struct World {
    /// All machines.
    pub(crate) machines: Vec<Machine>,
    /// One more server, which does not run.
    pub(crate) spare: Machine,
    /// The servers' disks.
    pub(crate) disks: Vec<Disk>,
    /// Servers; the rest are client agents.
    pub(crate) servers: usize,
    _network: Network,
}

// === impl World ===

impl World {
    /// Starts a cluster and waits until every agent sees a leader; `None` where it cannot be.
    pub(crate) fn start(servers: usize, clients: usize) -> Option<Self> {
        let network = Network::new()?;
        let address = |number: usize| Ipv4Addr::new(10, 0, 0, u8::try_from(number + 1).unwrap());
        let mut machines = Vec::new();
        let join: Vec<String> = (0..servers).map(|server| address(server).to_string()).collect();
        let count = servers + clients;
        for number in 0..=count {
            let machine = network.machine(&format!("node{}", number + 1), address(number));
            let mut config = json!({
                "bind_addr": address(number).to_string(), "retry_join": join, "retry_interval": "1s",
                "performance": {"raft_multiplier": 1},
                "autopilot": {"server_stabilization_time": "2s"},
            });
            config["server"] = json!(number < servers || number == count);
            if number < servers {
                config["bootstrap_expect"] = json!(servers);
            }
            machine.write_config("cluster.json", &config);
            machines.push(machine);
        }
        let mut spare = machines.pop()?;
        spare.prepare(&[]);
        let disks = machines[..servers].iter().map(|machine| Disk::mount(machine, DISK)).collect();
        for machine in &mut machines {
            machine.launch(&[]);
        }
        for machine in &mut machines {
            machine.wait_for_http();
        }
        let world = Self { machines, spare, disks, servers, _network: network };
        world.wait_for_leader();
        Some(world)
    }

    /// Waits until every agent names the same leader and takes a write.
    pub(crate) fn wait_for_leader(&self) {
        let settled = || {
            let leader = self.leader_on(0)?;
            let same = |number| self.leader_on(number) == Some(leader);
            let writes =
                |machine: &Machine| machine.put("/v1/kv/world/ready", machine.name()) == "true";
            ((1..self.machines.len()).all(same) && self.machines.iter().all(writes)).then_some(())
        };
        self.wait_for(CONVERGED, "one leader on every agent", || settled().is_some());
    }

    /// Waits until the servers that run are the voters, and nobody else is, as each of them sees it:
    /// one that has not heard of the end of a change still needs all whom the change is about.
    pub(crate) fn wait_for_voters(&self) {
        let running = &self.machines[..self.servers];
        self.wait_for(SETTLED, "a vote for every server", || {
            let ids: Vec<Value> = running.iter().map(Machine::node_id).collect();
            let agrees = |machine: &Machine| {
                let rows = machine.get_json("/v1/operator/raft/configuration?stale");
                let rows = rows["Servers"].as_array().cloned().unwrap_or_default();
                let votes =
                    |id: &Value| rows.iter().any(|row| row["ID"] == *id && row["Voter"] == true);
                rows.len() == ids.len() && ids.iter().all(votes)
            };
            running.iter().all(agrees)
        });
    }

    fn wait_for(&self, limit: Duration, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + limit;
        while !condition() {
            let late = Instant::now() > deadline;
            assert!(!late, "waited {limit:?} for {what}: {}", self.describe());
            pause(Duration::from_millis(20));
        }
    }

    /// What each agent says about leader and voters, for a failed test.
    fn describe(&self) -> String {
        let says = |machine: &Machine| {
            let leader = machine.get_json("/v1/status/leader");
            let voters = machine.get_json("/v1/operator/raft/configuration?stale");
            let pid = machine.agent.as_ref().map_or(0, Process::id);
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let state = status.lines().find(|line| line.starts_with("State")).unwrap_or("gone");
            format!("\n{}: {state}, leader {leader}, {}", machine.name(), voters["Servers"])
        };
        self.machines.iter().map(says).collect()
    }

    /// The leader's number, as an agent sees it.
    pub(crate) fn leader_on(&self, number: usize) -> Option<usize> {
        let answer = self.machines[number].get_json("/v1/status/leader");
        let address: Ipv4Addr = answer.as_str()?.split(':').next()?.parse().ok()?;
        self.machines.iter().position(|machine| machine.address() == address)
    }

    /// The leader's number, as the first agent sees it that sees one.
    pub(crate) fn leader(&self) -> Option<usize> {
        (0..self.servers).find_map(|number| self.leader_on(number))
    }

    /// Starts what has ended, or is about to, because it could not go on; as a service manager would.
    pub(crate) fn restart_ended(&mut self) {
        pause(Duration::from_millis(300));
        for machine in &mut self.machines {
            if machine.log().contains("agent cannot go on") {
                within(CONVERGED, "the end of an agent that cannot go on", || {
                    (!machine.is_running()).then_some(())
                });
            }
            if !machine.is_running() {
                machine.restart();
            }
        }
    }

    /// How many servers take part, as the first agent says.
    pub(crate) fn peers(&self) -> usize {
        let peers = self.machines[0].get_json("/v1/status/peers");
        peers.as_array().map_or(0, Vec::len)
    }

    /// Clients on every machine.
    pub(crate) fn locals(&self) -> Vec<Local> {
        self.machines.iter().map(Machine::local).collect()
    }
}
