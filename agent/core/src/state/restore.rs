//! Staged parts of a restore that is not committed yet.
//!
//! It is part of the replicated state and of its snapshots, because a server that starts in the
//! middle of a restore must be able to complete it like the others.

use std::fmt;

use bytes::Bytes;
use imbl::Vector;
use serde::{Deserialize, Serialize};

/// The parts of a saved state, in order.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staging {
    /// ID of the restore, chosen by its proposer.
    pub(crate) id: String,
    /// Parts in order.
    pub(crate) parts: Vector<Bytes>,
    /// Bytes in all parts.
    pub(crate) length: u64,
}

impl Staging {
    /// Returns the parts joined.
    pub(crate) fn join(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.length).unwrap_or_default());
        self.parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }
}

impl fmt::Debug for Staging {
    /// Prints no contents: they stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staging").field("id", &self.id).field("length", &self.length).finish()
    }
}
