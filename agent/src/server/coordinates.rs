//! Leader duty: copies the network coordinates that gossip has computed to the catalog.
//!
//! The leader receives every member's coordinate with the ack of its probe, so clients need not
//! send theirs. Only moved coordinates are written: they change constantly, and every write is a
//! log entry.

use std::{sync::Arc, time::Duration};

use lictor_api::{
    NodeName,
    types::coordinate::{Coordinate, Entry},
};
use lictor_core::{
    fsm::{Command, CoordinateCommand},
    state::State,
};
use lictor_membership::Pool;
use tokio_util::sync::CancellationToken;

use super::Server;

/// Interval of the rounds.
const WRITE_INTERVAL: Duration = Duration::from_secs(15);
/// A smaller move is not written, in seconds.
const MIN_MOVE_SECONDS: f64 = 0.000_1;
/// The most coordinates in one command.
const MAX_BATCH: usize = 512;

/// Writes coordinates until `until`, which ends when this server no longer leads.
pub async fn run(server: Arc<Server>, pool: Pool, until: CancellationToken) {
    loop {
        for batch in moved(&server.store().snapshot(), &pool).chunks(MAX_BATCH) {
            let command = Command::Coordinate(CoordinateCommand::Update(batch.to_vec()));
            if let Err(error) = server.propose(command).await {
                tracing::debug!(%error, "coordinates are written later");
                break;
            }
        }
        tokio::select! {
            () = until.cancelled() => return,
            () = tokio::time::sleep(WRITE_INTERVAL) => {}
        }
    }
}

fn moved(state: &State, pool: &Pool) -> Vec<Entry> {
    pool.members()
        .iter()
        .filter(|member| member.is_alive())
        .filter_map(|member| {
            let coord = pool.coordinate_of(&member.name)?;
            let name = NodeName::from(member.name.as_str());
            state.catalog.node(&name)?;
            let known = state.coordinates.get(&name);
            let is_new = known.is_none_or(|known| has_moved(&known.coord, &coord));
            is_new.then(|| Entry { node: member.name.clone(), segment: String::new(), coord })
        })
        .collect()
}

fn has_moved(before: &Coordinate, after: &Coordinate) -> bool {
    let apart: f64 = before.vec.iter().zip(&after.vec).map(|(a, b)| (a - b).powi(2)).sum();
    let changes = [
        apart.sqrt(),
        (before.height - after.height).abs(),
        (before.adjustment - after.adjustment).abs(),
    ];
    before.vec.len() != after.vec.len() || changes.iter().any(|change| *change > MIN_MOVE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rests_is_not_written() {
        let here = Coordinate::default();
        let mut there = here.clone();
        there.vec[0] += 0.000_05;
        assert!(!has_moved(&here, &there));
        there.height += 0.001;
        assert!(has_moved(&here, &there));
    }
}
