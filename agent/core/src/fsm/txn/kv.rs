//! Operations of a transaction on keys.

use bytes::Bytes;
use lictor_api::types::kv::KvPair;
use serde::{Deserialize, Serialize};

use super::{TxnResult, may_write};
use crate::{
    fsm::kv::valid_session,
    state::{State, watch::Change},
};

/// Verb of an operation on a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvVerb {
    /// Write the key.
    Set,
    /// Write the key if its `ModifyIndex` is as given; 0 means that it must not exist.
    Cas,
    /// Lock the key and write it.
    Lock,
    /// Unlock the key and write it.
    Unlock,
    /// Read the key; it must exist.
    Get,
    /// Read the key; an empty pair if it does not exist.
    GetOrEmpty,
    /// Read all keys that begin with the key.
    GetTree,
    /// Require that the key's `ModifyIndex` is as given.
    CheckIndex,
    /// Require that the session has locked the key.
    CheckSession,
    /// Require that the key does not exist.
    CheckNotExists,
    /// Delete the key.
    Delete,
    /// Delete all keys that begin with the key.
    DeleteTree,
    /// Delete the key if its `ModifyIndex` is as given.
    DeleteCas,
}

impl KvVerb {
    /// Returns whether the verb changes nothing.
    pub fn is_read(self) -> bool {
        match self {
            Self::Get
            | Self::GetOrEmpty
            | Self::GetTree
            | Self::CheckIndex
            | Self::CheckSession
            | Self::CheckNotExists => true,
            Self::Set
            | Self::Cas
            | Self::Lock
            | Self::Unlock
            | Self::Delete
            | Self::DeleteTree
            | Self::DeleteCas => false,
        }
    }
}

/// An operation on a key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvOperation {
    /// Verb of the operation.
    pub verb: KvVerb,
    /// The key or prefix.
    pub key: String,
    /// Flags to write: a number that the client chooses.
    pub flags: u64,
    /// The value to write.
    pub value: Bytes,
    /// The `ModifyIndex` that it must have.
    pub index: u64,
    /// The session that locks, unlocks or must hold the lock.
    pub session: String,
}

impl std::fmt::Debug for KvOperation {
    /// Omits values: they stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvOperation")
            .field("verb", &self.verb)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

pub(super) fn run(
    state: &mut State,
    change: &mut Change<'_>,
    operation: KvOperation,
) -> Result<Vec<TxnResult>, String> {
    if operation.verb == KvVerb::GetTree {
        let pairs = state.kv.list(&operation.key);
        return Ok(pairs.map(|pair| TxnResult::Kv(Box::new((**pair).clone()))).collect());
    }
    let pair = if operation.verb.is_read() {
        read(state, &operation)?
    } else {
        write(state, change, operation)?
    };
    Ok(pair.map(|pair| TxnResult::Kv(Box::new(pair))).into_iter().collect())
}

fn read(state: &State, operation: &KvOperation) -> Result<Option<KvPair>, String> {
    let KvOperation { verb, key, index, session, .. } = operation;
    let pair = state.kv.get(key);
    match (verb, pair) {
        (KvVerb::Get, None) => Err(format!("key {key:?} doesn't exist")),
        (KvVerb::Get | KvVerb::GetOrEmpty, Some(pair)) => Ok(Some((**pair).clone())),
        (KvVerb::GetOrEmpty, None) => Ok(Some(KvPair { key: key.clone(), ..KvPair::default() })),
        (KvVerb::CheckNotExists, None) => Ok(None),
        (KvVerb::CheckNotExists, Some(_)) => Err(format!("key {key:?} exists")),
        (KvVerb::CheckSession, None) => {
            Err(format!("failed to check session, key {key:?} doesn't exist"))
        }
        (KvVerb::CheckSession, Some(pair)) if pair.session != *session => Err(format!(
            "failed session check for key {key:?}, current session {:?} != {session:?}",
            pair.session
        )),
        (KvVerb::CheckIndex, None) => {
            Err(format!("failed to check index, key {key:?} doesn't exist"))
        }
        (KvVerb::CheckIndex, Some(pair)) if pair.modify_index != *index => Err(format!(
            "failed index check for key {key:?}, current modify index {} != {index}",
            pair.modify_index
        )),
        (_, pair) => Ok(pair.map(|pair| without_value(pair))),
    }
}

/// Writes or deletes; returns the key as it is then.
fn write(
    state: &mut State,
    change: &mut Change<'_>,
    operation: KvOperation,
) -> Result<Option<KvPair>, String> {
    let KvOperation { verb, key, flags, value, index: expected, session } = operation;
    let current = state.kv.get(&key).map(|pair| pair.modify_index);
    match verb {
        KvVerb::Cas if !may_write(expected, current) => {
            return Err(format!("failed to set key {key:?}, index is stale"));
        }
        KvVerb::DeleteCas if current.is_some_and(|current| current != expected) => {
            return Err(format!("failed to delete key {key:?}, index is stale"));
        }
        KvVerb::Set | KvVerb::Cas => state.kv.set(change, &key, flags, value),
        KvVerb::Lock => {
            valid_session(state, &session).map_err(|rejection| rejection.to_string())?;
            if state.kv.delay(&key).is_some() {
                return Err(format!("failed to lock key {key:?} due to lock delay"));
            }
            if !state.kv.lock(change, &key, flags, value, &session) {
                return Err(format!("failed to lock key {key:?}, lock is already held"));
            }
        }
        KvVerb::Unlock if session.is_empty() => return Err("missing session".to_owned()),
        KvVerb::Unlock => {
            if !state.kv.unlock(change, &key, flags, value, &session) {
                return Err(format!(
                    "failed to unlock key {key:?}, lock isn't held, or is held by another session"
                ));
            }
        }
        KvVerb::DeleteTree => state.kv.delete_tree(change, &key),
        _ => {
            state.kv.delete(change, &key);
        }
    }
    Ok(state.kv.get(&key).map(|pair| without_value(pair)))
}

/// Returns the pair without its value: writes do not return values.
fn without_value(pair: &KvPair) -> KvPair {
    KvPair { value: Bytes::new(), ..pair.clone() }
}
