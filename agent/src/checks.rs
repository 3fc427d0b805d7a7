//! The check runners: each determines the status of one registered check.
//!
//! INVARIANT: exactly one task runs per registered check and generation; a reload that does not
//! change a check does not restart its task. Outputs are bounded before they are stored.
//! Source: Consul's "Health checks" page.

pub mod alias;
pub mod http;
pub mod interval;
pub mod script;
pub mod tcp;
pub mod ttl;
pub mod udp;

use std::{collections::HashMap, sync::Arc, time::Duration};

use lictor_api::{CheckId, types::health::CheckStatus};
use lictor_runtime::Tasks;
use lictor_store::Store;
use tokio::time::{Instant, interval_at};
use tokio_util::sync::DropGuard;

use crate::dial::Dialer;
use crate::local::{LocalCheck, LocalState, RegistrationError};

const REAP_INTERVAL: Duration = Duration::from_secs(30);
/// The task name of every runner.
const RUNNER: &str = "checks.runner";

/// The result of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The status.
    pub status: CheckStatus,
    /// The output to show.
    pub output: String,
}

impl Outcome {
    /// Returns a critical result; `output` states why.
    pub fn critical(output: impl Into<String>) -> Self {
        Self { status: CheckStatus::Critical, output: output.into() }
    }

    /// Returns a passing result.
    pub fn passing(output: impl Into<String>) -> Self {
        Self { status: CheckStatus::Passing, output: output.into() }
    }
}

/// A check's task; cancelled on drop.
struct Running {
    generation: u64,
    _stop: DropGuard,
}

/// What every runner uses.
#[derive(Clone)]
struct Context {
    local: Arc<LocalState>,
    store: Arc<Store>,
    dialer: Arc<Dialer>,
}

/// Runs every registered check, and deregisters instances that were critical for too long, until
/// shutdown of `tasks`. They wait for the runners, so that no script is left running.
pub async fn run(local: Arc<LocalState>, store: Arc<Store>, tasks: Tasks) {
    let context = Context { local, store, dialer: Arc::new(Dialer::new()) };
    let mut definitions = context.local.definitions();
    let mut running: HashMap<CheckId, Running> = HashMap::new();
    let mut reap = interval_at(Instant::now() + REAP_INTERVAL, REAP_INTERVAL);
    loop {
        definitions.mark_unchanged();
        follow(&context, &mut running, &tasks);
        tokio::select! {
            () = tasks.shutdown().cancelled() => return,
            changed = definitions.changed() => if changed.is_err() { return },
            _ = reap.tick() => reap_critical(&context.local).await,
        }
    }
}

/// Starts the missing runners, and stops those of checks that are no longer registered.
fn follow(context: &Context, running: &mut HashMap<CheckId, Running>, tasks: &Tasks) {
    let table = context.local.snapshot();
    running.retain(|id, task| {
        table.check(id).is_some_and(|local| local.generation == task.generation)
    });
    for local in table.checks().filter(|local| local.is_run()) {
        let id = &local.check.check_id;
        if running.contains_key(id) {
            continue;
        }
        let runner = tasks.group();
        let stop = runner.shutdown().clone().drop_guard();
        running.insert(id.clone(), Running { generation: local.generation, _stop: stop });
        let (context, local) = (context.clone(), local.clone());
        // A restart begins as after the registration; the check keeps its status meanwhile.
        runner.restart_until_shutdown(RUNNER, move || run_one(context.clone(), local.clone()));
    }
}

/// Runs one check for as long as its registration is unchanged.
async fn run_one(context: Context, local: Arc<LocalCheck>) {
    #[cfg(test)]
    crate::plant::panic_if_planted(RUNNER, local.check.check_id.as_ref());
    match local.check.check_type.as_str() {
        "ttl" => ttl::run(&context.local, &local).await,
        "alias" => alias::run(&context.local, &context.store, &local).await,
        _ => interval::run(&context.local, context.dialer, &local).await,
    }
}

/// Deregisters instances whose check was critical for its `deregister_critical_service_after`.
async fn reap_critical(local: &Arc<LocalState>) {
    let now = Instant::now();
    for check in local.snapshot().checks() {
        let after = check.definition.deregister_critical_service_after.0;
        let expired = check.critical_since.is_some_and(|since| now - since >= after);
        if after.is_zero() || !expired || check.check.service_id.is_empty() {
            continue;
        }
        let (local, service) = (local.clone(), check.check.service_id.clone());
        let id = service.clone();
        let removed = tokio::task::spawn_blocking(move || local.deregister_service(&id)).await;
        match removed {
            Ok(Ok(())) => {
                tracing::info!(target: "agent", check = %check.check.check_id, %service, "deregistered service that was critical for too long");
            }
            Ok(Err(RegistrationError::UnknownService(_))) => {}
            Ok(Err(error)) => {
                tracing::error!(target: "agent", %service, %error, "failed to deregister a service that was critical for too long");
            }
            Err(error) => {
                tracing::error!(target: "agent", %service, %error, "deregistration ended early");
            }
        }
    }
}

#[cfg(test)]
mod tests;
