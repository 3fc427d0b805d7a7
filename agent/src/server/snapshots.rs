//! Saving the whole state as an archive, restoring an archive, and saving on schedule.
//!
//! A restore is verified completely before anything changes. It is replicated through the log in
//! parts that are applied together ([`lictor_core::fsm::restore`]), so every server receives it.
//! Raft's log, membership and leadership stay as they are.

mod schedule;

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use lictor_api::query::{Consistency, QueryMeta};
use lictor_core::fsm::{Command, RestoreCommand};
use tokio::task;
use uuid::Uuid;

use super::{Server, ServerError};
use crate::archive::{self, Archive, ArchiveError, Member};
pub use schedule::run;

/// Bytes in one log entry of a restore; far below the limit of a message between servers.
const PART_BYTES: usize = 512 << 10;

/// Why a state was not saved or not restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The servers failed or rejected the request.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The archive cannot be written or is invalid.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl Server {
    /// Saves the replicated state as an archive, as fresh as the requested consistency.
    ///
    /// # Errors
    /// [`SnapshotError`]; nothing was saved.
    pub async fn save(
        &self,
        consistency: Consistency,
    ) -> Result<(QueryMeta, Vec<u8>), SnapshotError> {
        self.barrier(consistency).await?;
        let state = self.store().snapshot();
        let peers = self.consensus().peers();
        let servers = peers.into_iter().map(|peer| Member {
            suffrage: u8::from(!peer.voter),
            id: peer.node_id,
            address: peer.address.to_string(),
        });
        let servers = servers.collect();
        let (term, now) = (self.consensus().term(), unix_millis());
        let index = state.index;
        // Encoding and compressing occupy a core for about one second per 50 MB.
        let packed = task::spawn_blocking(move || archive::pack(&state, term, servers, now)).await;
        let archive = packed.map_err(|panic| ArchiveError::Read(io::Error::other(panic)))??;
        Ok((self.meta(consistency, index), archive))
    }

    /// Restores the state of an archive on every server.
    ///
    /// # Errors
    /// [`SnapshotError`]; nothing was changed, except after [`ServerError::LeadershipLost`]: the
    /// caller must read the state.
    pub async fn restore(&self, archive: Bytes) -> Result<(), SnapshotError> {
        let unpacked = task::spawn_blocking(move || archive::unpack(&archive[..])).await;
        let unpacked = unpacked.map_err(|panic| ArchiveError::Read(io::Error::other(panic)))??;
        let Archive { meta, bytes, state } = unpacked;
        // The state was decoded to verify it; the servers decode it once more from the log.
        drop(state);
        let id = Uuid::new_v4().to_string();
        let restored = self.stage_and_commit(&id, &bytes).await;
        if let Err(error) = &restored {
            tracing::warn!(snapshot = meta.id, %error, "snapshot was not restored");
            let abandon = Command::Restore(RestoreCommand::Abandon { id });
            if let Err(error) = self.propose(abandon).await {
                tracing::debug!(%error, "what was staged stays until the next restore");
            }
        } else {
            tracing::info!(snapshot = meta.id, index = meta.index, "snapshot restored");
        }
        Ok(restored?)
    }

    async fn stage_and_commit(&self, id: &str, bytes: &Bytes) -> Result<(), ServerError> {
        let step = async |step: RestoreCommand| self.propose(Command::Restore(step)).await;
        let id = || id.to_owned();
        step(RestoreCommand::Begin { id: id() }).await?;
        let (mut rest, mut number) = (bytes.clone(), 0);
        while !rest.is_empty() {
            let data = rest.split_to(rest.len().min(PART_BYTES));
            step(RestoreCommand::Part { id: id(), number, data }).await?;
            number += 1;
        }
        let (length, checksum) = (bytes.len() as u64, crc32fast::hash(bytes));
        step(RestoreCommand::Commit { id: id(), length, checksum }).await?;
        Ok(())
    }
}

fn unix_millis() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
