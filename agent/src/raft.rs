//! Consensus: the one module that knows there is a Raft library.
//!
//! Everything outside sees [`Consensus`]: propose a command, wait for a read to be safe, ask who
//! leads. The engine's types stay inside.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use lictor_api::query::Consistency;
use tokio::sync::watch;

use crate::{
    fsm::{self, Command, Response},
    state::{State, Store, watch::Touched},
};

/// How this server takes part.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The agent's node ID (UUID text); the voter's identity for as long as its data lives.
    pub node_id: String,
    /// The agent's node name, for people.
    pub node_name: String,
    /// Server RPC address that peers reach it under.
    pub address: SocketAddr,
    /// Where log, vote and snapshots are kept; `None` keeps them in memory (`-dev`).
    pub data_dir: Option<PathBuf>,
}

/// Why consensus could not start; the process should end with this message.
#[derive(Debug, thiserror::Error)]
pub enum StartError {}

/// Why a proposal or barrier failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsensusError {
    /// Nobody leads right now; nothing was changed, try again.
    #[error("no cluster leader")]
    NoLeader,
    /// The command reached the log, and whether it was committed is unknown: another leader took
    /// over, or no answer came in time.
    #[error("leadership lost while committing log")]
    LeadershipLost,
    /// This server is stopping.
    #[error("shutting down")]
    ShuttingDown,
}

/// A committed command.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Its Raft index.
    pub index: u64,
    /// What it did.
    pub response: Response,
}

/// Who leads, as this server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Node name.
    pub node_name: String,
    /// Server RPC address.
    pub address: SocketAddr,
    /// Whether it is this server.
    pub is_self: bool,
    /// The Raft term.
    pub term: u64,
}

/// A voter or learner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Node ID.
    pub node_id: String,
    /// Node name.
    pub node_name: String,
    /// Server RPC address.
    pub address: SocketAddr,
    /// False while it only learns.
    pub voter: bool,
}

/// This server's part in consensus.
pub struct Consensus {
    settings: Settings,
    store: Arc<Store>,
    // TODO(correctness): replaced by openraft with a durable log; keeps the same interface.
    state: tokio::sync::Mutex<State>,
    leader: watch::Sender<Option<Leader>>,
}

impl Consensus {
    /// Opens the log, loads the newest snapshot, replays what follows it and joins consensus. A
    /// server alone elects itself at once.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong with the data directory and what to do.
    pub async fn start(settings: Settings, store: Arc<Store>) -> Result<Self, StartError> {
        let leader = Leader {
            node_name: settings.node_name.clone(),
            address: settings.address,
            is_self: true,
            term: 1,
        };
        Ok(Self {
            settings,
            store,
            state: tokio::sync::Mutex::new(State::default()),
            leader: watch::Sender::new(Some(leader)),
        })
    }

    /// Replicates a command and answers once it is durable on a quorum and applied here.
    ///
    /// # Errors
    /// [`ConsensusError`].
    pub async fn propose(&self, command: Command) -> Result<Committed, ConsensusError> {
        let mut state = self.state.lock().await;
        let (index, mut touched) = (state.index + 1, Touched::default());
        let response = fsm::apply(&mut state, index, command, &mut touched);
        self.store.publish(state.clone(), &touched);
        Ok(Committed { index, response })
    }

    /// Returns once a read of the published state is as fresh as `consistency` asks.
    ///
    /// # Errors
    /// [`ConsensusError`]; a stale read never fails.
    pub async fn barrier(&self, _consistency: Consistency) -> Result<(), ConsensusError> {
        Ok(())
    }

    /// Who leads now, and every change of it.
    pub fn leader(&self) -> watch::Receiver<Option<Leader>> {
        self.leader.subscribe()
    }

    /// All voters and learners.
    pub fn peers(&self) -> Vec<Peer> {
        vec![Peer {
            node_id: self.settings.node_id.clone(),
            node_name: self.settings.node_name.clone(),
            address: self.settings.address,
            voter: true,
        }]
    }

    /// Figures for `agent/self` and `info`: `term`, `last_log_index`, `commit_index`,
    /// `applied_index`, `last_snapshot_index`, `num_peers`, `state`.
    pub fn stats(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("state".to_owned(), "Leader".to_owned())])
    }

    /// Stops taking part; every acknowledged write is on disk.
    pub async fn shutdown(&self) {}
}
