//! Alias checks: mirror the worst check of another instance, local or on another node.

use lictor_api::{
    ServiceId,
    types::health::{CheckStatus, HealthCheck},
};
use lictor_core::state::{Topic, catalog::fold};
use lictor_store::Store;

use super::Outcome;
use crate::local::{LocalCheck, LocalState};

/// Follows the aliased instance until dropped.
pub(super) async fn run(local: &LocalState, store: &Store, check: &LocalCheck) {
    let node = &check.definition.alias_node;
    let own = local.node();
    if node.is_empty() || node.eq_ignore_ascii_case(&own.name) {
        follow_local(local, check).await;
    } else {
        follow_node(local, store, check).await;
    }
}

async fn follow_local(local: &LocalState, check: &LocalCheck) {
    let mut changes = local.changes();
    loop {
        changes.mark_unchanged();
        let table = local.snapshot();
        let alias = &check.definition.alias_service;
        let outcome = if !alias.is_empty() && table.service(alias).is_none() {
            missing(alias, &local.node().name)
        } else {
            let checks: Vec<&HealthCheck> = table
                .checks()
                .filter(|other| other.check.check_id != check.check.check_id)
                .map(|other| &other.check)
                .collect();
            worst(alias, &checks)
        };
        report(local, check, &outcome);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn follow_node(local: &LocalState, store: &Store, check: &LocalCheck) {
    let (node, alias) = (&check.definition.alias_node, &check.definition.alias_service);
    let mut index = 0;
    loop {
        let (changed, outcome) = store
            .read_after(index, |state, watch| {
                watch.add(Topic::Node(fold(node)));
                if !alias.is_empty() && state.catalog.service(node, alias).is_none() {
                    return missing(alias, node);
                }
                let checks: Vec<&HealthCheck> =
                    state.catalog.node_checks(node).map(|check| &**check).collect();
                worst(alias, &checks)
            })
            .await;
        index = changed;
        report(local, check, &outcome);
    }
}

fn report(local: &LocalState, check: &LocalCheck, outcome: &Outcome) {
    local.update_check(&check.check.check_id, check.generation, outcome.status, &outcome.output);
}

fn missing(service: &ServiceId, node: &str) -> Outcome {
    Outcome::critical(format!("Service {service} could not be found on node {node}"))
}

/// Returns the worst result of the instance's checks and of the node's own checks.
fn worst(service: &ServiceId, checks: &[&HealthCheck]) -> Outcome {
    let relevant = |check: &&&HealthCheck| {
        check.service_id.is_empty() || (!service.is_empty() && check.service_id == *service)
    };
    match checks.iter().filter(relevant).max_by_key(|check| check.status) {
        None => Outcome::passing("No checks found."),
        Some(check) if check.status == CheckStatus::Passing => {
            Outcome::passing("All checks passing.")
        }
        Some(check) => Outcome {
            status: check.status,
            output: format!("Aliased check \"{}\" failing: {}", check.name, check.output),
        },
    }
}
