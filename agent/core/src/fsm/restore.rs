//! Commands that replace the whole state by a saved one (Consul "Snapshot HTTP API").
//!
//! The saved state goes through the log in parts, so that every server, and every server that
//! joins later, gets it in the order of all other writes. The parts are staged inside the state and
//! take effect together with the last command, which names their length and checksum; until then
//! nothing else changes. A new restore drops what an unfinished one has staged.
//!
//! INVARIANT: indexes never go back. Raft's own index goes on (the log and the membership are not
//! restored), so the restored rows may carry higher indexes than the log has reached, or lower ones
//! than clients have seen. Two numbers compensate for it: `index_offset`, added to every Raft index
//! from then on, puts the restore itself past both the old state and the saved one, so that no
//! index is ever given twice and compare-and-set stays sound; and `index_floor`, the least index
//! of any topic, makes every answer newer than any before the restore, so that every blocking
//! query returns. Rows keep the indexes they were saved with.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Rejection, Response};
use crate::state::{Staging, State, watch::Touched};

/// The largest state that can be restored. Changing it would change the outcome of entries in old
/// logs.
pub const MAX_STATE_BYTES: u64 = 512 << 20;
/// The largest index of a saved state: no log reaches it, and a greater one could overflow.
const MAX_INDEX: u64 = 1 << 62;

/// One step of a restore.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestoreCommand {
    /// Drop all staged parts and begin a new restore.
    Begin {
        /// ID of the restore.
        id: String,
    },
    /// Stage the next part.
    Part {
        /// ID of the restore.
        id: String,
        /// Number of the part, from 0.
        number: u64,
        /// Bytes of the part.
        data: Bytes,
    },
    /// Replace the state by the staged one.
    Commit {
        /// ID of the restore.
        id: String,
        /// Bytes in all parts.
        length: u64,
        /// CRC-32 of all parts joined.
        checksum: u32,
    },
    /// Drop all staged parts.
    Abandon {
        /// ID of the restore.
        id: String,
    },
}

impl std::fmt::Debug for RestoreCommand {
    /// Omits contents: they stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Begin { id } => f.debug_tuple("Begin").field(id).finish(),
            Self::Part { id, number, .. } => f.debug_tuple("Part").field(id).field(number).finish(),
            Self::Commit { id, .. } => f.debug_tuple("Commit").field(id).finish(),
            Self::Abandon { id } => f.debug_tuple("Abandon").field(id).finish(),
        }
    }
}

pub(super) fn apply(state: &mut State, command: RestoreCommand, touched: &mut Touched) -> Response {
    let done = match command {
        RestoreCommand::Begin { id } => {
            state.staging = Some(Staging { id, ..Staging::default() });
            Ok(())
        }
        RestoreCommand::Part { id, number, data } => stage(state, &id, number, data),
        RestoreCommand::Commit { id, length, checksum } => {
            commit(state, &id, length, checksum, touched)
        }
        RestoreCommand::Abandon { id } => {
            state.staging.take_if(|staging| staging.id == id);
            Ok(())
        }
    };
    done.map_or_else(Response::Rejected, |()| Response::Done)
}

fn stage(state: &mut State, id: &str, number: u64, data: Bytes) -> Result<(), Rejection> {
    let staging = state.staging.as_mut().filter(|staging| staging.id == id);
    let staging = staging.ok_or(Rejection::NoRestore)?;
    if staging.parts.len() as u64 != number {
        return Err(Rejection::Unrestorable(format!("part {number} is out of order")));
    }
    let length = staging.length.saturating_add(data.len() as u64);
    if length > MAX_STATE_BYTES {
        let text = format!("it is larger than {MAX_STATE_BYTES} bytes");
        return Err(Rejection::Unrestorable(text));
    }
    staging.length = length;
    staging.parts.push_back(data);
    Ok(())
}

fn commit(
    state: &mut State,
    id: &str,
    length: u64,
    checksum: u32,
    touched: &mut Touched,
) -> Result<(), Rejection> {
    let staging = state.staging.take_if(|staging| staging.id == id).ok_or(Rejection::NoRestore)?;
    let bytes = staging.join();
    if bytes.len() as u64 != length || crc32fast::hash(&bytes) != checksum {
        return Err(Rejection::Unrestorable("a part of it is missing or damaged".to_owned()));
    }
    let saved = State::from_snapshot(&bytes);
    let saved = saved.map_err(|error| Rejection::Unrestorable(error.to_string()))?;
    if saved.index > MAX_INDEX {
        return Err(Rejection::Unrestorable(format!("its index {} is too high", saved.index)));
    }
    let raft_index = state.raft_index();
    let index = state.index.max(saved.index + 1);
    *state = State {
        index,
        index_offset: index - raft_index,
        index_floor: index,
        staging: None,
        ..saved
    };
    touched.touch_everything();
    Ok(())
}

#[cfg(test)]
mod tests;
