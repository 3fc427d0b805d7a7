//! Settings that a pool is started with. Every timing of the engine is set here: its own profiles
//! differ from Consul's (memberlist's LAN profile has probe interval and timeout the other way
//! round).

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use super::Keyring;

/// One of the two pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// All agents of one datacenter.
    Lan,
    /// The servers of all datacenters.
    Wan,
}

// === impl Profile ===

impl Profile {
    /// Returns the name of the pool in Consul's log lines and responses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lan => "LAN",
            Self::Wan => "WAN",
        }
    }
}

/// Intervals and factors of failure detection and spreading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two probes of a member.
    pub probe_interval: Duration,
    /// How long a probe may take.
    pub probe_timeout: Duration,
    /// A silent member is suspected for `suspicion_mult * log(N) * probe_interval`.
    pub suspicion_mult: usize,
    /// Between two rounds of gossip.
    pub gossip_interval: Duration,
    /// Members that receive one round of gossip.
    pub gossip_nodes: usize,
    /// How long gossip is still sent to a dead member, so that it can refute its death.
    pub gossip_to_the_dead: Duration,
    /// A message is retransmitted `retransmit_mult * log(N)` times.
    pub retransmit_mult: usize,
    /// Between two exchanges of the whole state.
    pub push_pull_interval: Duration,
    /// Between two attempts to reach a failed member.
    pub reconnect_interval: Duration,
    /// Between two rounds of removing members that failed or left long ago.
    pub reap_interval: Duration,
    /// How long a failed member stays in the list.
    pub reconnect_timeout: Duration,
    /// How long a member that left stays in the list.
    pub tombstone_timeout: Duration,
    /// How long a leave waits until its message was broadcast.
    pub leave_broadcast: Duration,
    /// How long a leaving agent stays after the broadcast, so that the message spreads.
    pub leave_propagate: Duration,
    /// How long a connection to a member may take.
    pub connect_timeout: Duration,
}

// === impl Timing ===

impl Timing {
    /// Returns Consul's values for a pool.
    pub fn of(profile: Profile) -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        let lan = Self {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            suspicion_mult: 4,
            gossip_interval: Duration::from_millis(200),
            gossip_nodes: 3,
            gossip_to_the_dead: Duration::from_secs(30),
            retransmit_mult: 4,
            push_pull_interval: Duration::from_secs(30),
            reconnect_interval: Duration::from_secs(30),
            reap_interval: Duration::from_secs(15),
            reconnect_timeout: 3 * day,
            tombstone_timeout: 3 * day,
            leave_broadcast: Duration::from_millis(2_500),
            leave_propagate: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(10),
        };
        match profile {
            Profile::Lan => lan,
            Profile::Wan => Self {
                probe_interval: Duration::from_secs(5),
                probe_timeout: Duration::from_secs(3),
                suspicion_mult: 6,
                gossip_interval: Duration::from_millis(500),
                gossip_nodes: 4,
                gossip_to_the_dead: Duration::from_secs(60),
                push_pull_interval: Duration::from_secs(60),
                connect_timeout: Duration::from_secs(30),
                ..lan
            },
        }
    }
}

/// Settings of one pool.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This agent's name in the pool.
    pub name: String,
    /// This agent's UUID; the tag `id`.
    pub node_id: String,
    /// TCP and UDP address to listen on. Port 0 takes a free one.
    pub bind: SocketAddr,
    /// The address that other members use. Port 0 stands for the bound port.
    pub advertise: SocketAddr,
    /// The pool, which decides who may enter.
    pub profile: Profile,
    /// Tags that this agent announces; at most 512 bytes encoded. In the LAN pool, members with
    /// another `dc` are refused.
    pub tags: BTreeMap<String, String>,
    /// The keys; without any, gossip is plain text.
    pub keyring: Option<Keyring>,
    /// With keys: refuse plain text.
    pub verify_incoming: bool,
    /// With keys: encrypt outgoing messages.
    pub verify_outgoing: bool,
    /// File of the other members' addresses; `None` keeps them in memory.
    pub snapshot: Option<PathBuf>,
    /// Keep that file after a graceful leave.
    pub rejoin_after_leave: bool,
    /// Intervals and factors of the protocol.
    pub timing: Timing,
}

// === impl Settings ===

impl Settings {
    /// Returns Consul's defaults for a pool: no keys, no file, no tags.
    pub fn new(name: &str, node_id: &str, bind: SocketAddr, profile: Profile) -> Self {
        Self {
            name: name.to_owned(),
            node_id: node_id.to_owned(),
            bind,
            advertise: bind,
            profile,
            tags: BTreeMap::new(),
            keyring: None,
            verify_incoming: true,
            verify_outgoing: true,
            snapshot: None,
            rejoin_after_leave: false,
            timing: Timing::of(profile),
        }
    }
}
