//! Why a pool did not start, was not joined, or kept its tags.
//!
//! INVARIANT: the engine's error types stay in this crate. What serf or memberlist reports leaves
//! it as an [`EngineError`], text for a person; callers branch on our variants only.

use std::{fmt, io, net::SocketAddr};

/// What serf or memberlist reported, on one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(String);

// === impl EngineError ===

impl EngineError {
    /// Takes the text of an engine's error; its lists of errors span lines.
    pub(super) fn new(error: &impl fmt::Display) -> Self {
        let text = error.to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Self(lines.collect::<Vec<_>>().join("; "))
    }
}

/// Why a pool did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Binding TCP or UDP on the address failed: it is in use or not one of this host's.
    #[error("listening for gossip on {address}")]
    Listen {
        /// The address of the configuration.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// The tags do not fit in one packet; the configuration must be changed.
    #[error("the tags of this agent have {0} bytes when encoded; 512 are possible")]
    Tags(usize),
    /// The engine was built without encryption although a key is configured.
    #[error("gossip would not be encrypted although there are keys")]
    NotEncrypted,
    /// The engine refused to start: its options contradict each other, or another process took
    /// the port after it was found free. Starting again may succeed in the second case.
    #[error("starting gossip on {address}")]
    Engine {
        /// The address that is advertised.
        address: SocketAddr,
        /// The engine's error.
        source: EngineError,
    },
}

/// Why joining failed. This agent stays a member of the pool it knows; joining can be repeated
/// except after [`JoinError::Stopped`].
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No address was reached, or every agent there refused this one; no member was learned.
    /// COMPAT: the text is Consul's, one sentence per address.
    #[error("{}", sentences(.0))]
    Unreachable(Vec<ContactError>),
    /// Other members still hold another agent of this name for alive and refuse this one. The pool
    /// goes on asking in the background until they accept it.
    #[error(
        "node name {name} is still used by {node_id} at {address}; this agent takes it over when that one is gone"
    )]
    NameInUse {
        /// The name of both agents.
        name: String,
        /// UUID of the other agent.
        node_id: String,
        /// Gossip address of the other agent.
        address: SocketAddr,
    },
    /// The pool has been shut down or superseded; it cannot be joined any more.
    #[error("this agent has left the pool")]
    Stopped,
}

/// Why one address was not joined.
#[derive(Debug, thiserror::Error)]
#[error("Failed to join {address}: {reason}")]
pub struct ContactError {
    /// The address that was tried.
    pub address: SocketAddr,
    /// The engine's error.
    pub reason: EngineError,
}

/// Why the tags did not change. The old tags stay in force.
#[derive(Debug, thiserror::Error)]
pub enum TagsError {
    /// The tags do not fit in one packet.
    #[error("the tags of this agent have {0} bytes when encoded; 512 are possible")]
    TooLarge(usize),
    /// The pool has been shut down or superseded; no member would learn of new tags.
    #[error("this agent has left the pool")]
    Stopped,
}

pub(super) fn sentences(errors: &[ContactError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
