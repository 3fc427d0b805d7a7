//! Commands that change keys (Consul "KV Store HTTP API").

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Rejection, Response};
use crate::{
    planted::{Bug, is_planted},
    state::{State, watch::Change},
};

/// A change to one key or to all keys under a prefix.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCommand {
    /// Write a key.
    Set {
        /// The key.
        key: String,
        /// Flags: a number that the client chooses.
        flags: u64,
        /// The value.
        value: Bytes,
    },
    /// Write a key if its `ModifyIndex` is `expected`; 0 means that it must not exist.
    CheckAndSet {
        /// The key.
        key: String,
        /// Flags: a number that the client chooses.
        flags: u64,
        /// The value.
        value: Bytes,
        /// The `ModifyIndex` it must have.
        expected: u64,
    },
    /// Delete a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Delete a key if its `ModifyIndex` is `expected`.
    CheckAndDelete {
        /// The key.
        key: String,
        /// The `ModifyIndex` it must have; 0 succeeds without deleting, as in Consul.
        expected: u64,
    },
    /// Delete every key that begins with the prefix.
    DeleteTree {
        /// The prefix; empty means all keys.
        prefix: String,
    },
    /// Lock a key for a session and write it, unless another session holds it or a lock-delay runs.
    Lock {
        /// The key.
        key: String,
        /// Flags: a number that the client chooses.
        flags: u64,
        /// The value.
        value: Bytes,
        /// The session.
        session: String,
    },
    /// Unlock a key that the session holds and write it.
    Unlock {
        /// The key.
        key: String,
        /// Flags: a number that the client chooses.
        flags: u64,
        /// The value.
        value: Bytes,
        /// The session.
        session: String,
    },
}

impl std::fmt::Debug for KvCommand {
    /// Omits values: they stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (verb, key) = match self {
            Self::Set { key, .. } => ("Set", key),
            Self::CheckAndSet { key, .. } => ("CheckAndSet", key),
            Self::Delete { key } => ("Delete", key),
            Self::CheckAndDelete { key, .. } => ("CheckAndDelete", key),
            Self::DeleteTree { prefix } => ("DeleteTree", prefix),
            Self::Lock { key, .. } => ("Lock", key),
            Self::Unlock { key, .. } => ("Unlock", key),
        };
        f.debug_tuple(verb).field(key).finish()
    }
}

pub(super) fn apply(state: &mut State, change: &mut Change<'_>, command: KvCommand) -> Response {
    match command {
        KvCommand::Set { key, flags, value } => {
            state.kv.set(change, &key, flags, value);
            Response::Applied(true)
        }
        KvCommand::CheckAndSet { key, flags, value, expected } => {
            let holds = state.kv.get(&key).map_or(0, |pair| pair.modify_index) == expected
                || is_planted(Bug::CasWithoutComparison);
            if holds {
                state.kv.set(change, &key, flags, value);
            }
            Response::Applied(holds)
        }
        KvCommand::Delete { key } => {
            state.kv.delete(change, &key);
            Response::Applied(true)
        }
        KvCommand::CheckAndDelete { key, expected } => {
            let holds = match state.kv.get(&key) {
                None => true,
                Some(pair) => expected == 0 || pair.modify_index == expected,
            };
            if holds && expected != 0 {
                state.kv.delete(change, &key);
            }
            Response::Applied(holds)
        }
        KvCommand::DeleteTree { prefix } => {
            state.kv.delete_tree(change, &prefix);
            Response::Applied(true)
        }
        KvCommand::Lock { key, flags, value, session } => match valid_session(state, &session) {
            Ok(()) => Response::Applied(state.kv.lock(change, &key, flags, value, &session)),
            Err(rejection) => Response::Rejected(rejection),
        },
        KvCommand::Unlock { session, .. } if session.is_empty() => {
            Response::Rejected(Rejection::MissingSession)
        }
        KvCommand::Unlock { key, flags, value, session } => {
            Response::Applied(state.kv.unlock(change, &key, flags, value, &session))
        }
    }
}

/// Returns why a session cannot lock a key: it must exist.
pub(super) fn valid_session(state: &State, session: &str) -> Result<(), Rejection> {
    if session.is_empty() {
        return Err(Rejection::MissingSession);
    }
    match state.sessions.get(session) {
        Some(_) => Ok(()),
        None => Err(Rejection::InvalidSession(session.to_owned())),
    }
}
