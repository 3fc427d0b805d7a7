//! TTL checks: the client reports; without a report within the TTL the check turns critical.

use lictor_api::types::health::CheckStatus;
use tokio::time::{Instant, sleep_until};

use crate::local::{LocalCheck, LocalState};

/// Turns the check critical at each deadline; every report moves the deadline.
pub(super) async fn run(local: &LocalState, check: &LocalCheck) {
    let id = &check.check.check_id;
    let mut changes = local.changes();
    loop {
        let table = local.snapshot();
        let Some(current) = table.check(id).filter(|now| now.generation == check.generation) else {
            return;
        };
        let Some(deadline) = current.ttl_deadline else { return };
        sleep_until(deadline).await;
        changes.mark_unchanged();
        let table = local.snapshot();
        let Some(current) = table.check(id) else { return };
        if current.ttl_deadline.is_some_and(|deadline| deadline > Instant::now()) {
            continue;
        }
        let last = &current.check.output;
        let output = match last.as_str() {
            "" => "TTL expired".to_owned(),
            _ if last.starts_with("TTL expired") => last.clone(),
            last => format!("TTL expired (last output before timeout follows): {last}"),
        };
        local.update_check(id, check.generation, CheckStatus::Critical, &output);
        // Expired: the next report changes local state.
        loop {
            if changes.changed().await.is_err() {
                return;
            }
            let table = local.snapshot();
            let deadline = table.check(id).and_then(|current| current.ttl_deadline);
            if deadline.is_none_or(|deadline| deadline > Instant::now()) {
                break;
            }
        }
    }
}
