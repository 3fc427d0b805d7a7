//! Anti-entropy: makes the catalog entries of this node follow local state.
//!
//! [`plan`] is pure: it compares local state with the catalog and returns each difference once, so
//! no record of earlier syncs can be wrong. [`run`] applies the steps: a partial sync of the
//! agent's own entries after each change, and a full sync about once a minute that also removes
//! foreign entries on this node. An instance and its checks are written in one command, so it is
//! never visible without them.

use std::{sync::Arc, time::Duration};

use lictor_api::contract::{CONSUL_SERVICE, SERF_CHECK_ID};
use lictor_api::{
    CheckId, ServiceId,
    types::{
        catalog::{DeregisterRequest, Node, NodeService, RegisterRequest},
        health::HealthCheck,
    },
};
use lictor_core::{
    fsm::Command,
    state::{Catalog, State, Topic, WatchSet, catalog::fold},
};
use lictor_runtime::backoff::Backoff;
use lictor_store::Store;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    LocalCheck, LocalState, Table,
    registrar::{RegisterError, Registrar},
};
use crate::server::ServerError;

const DEBOUNCE_INTERVAL: Duration = Duration::from_millis(2);
const FULL_SYNC_INTERVAL: Duration = Duration::from_secs(60);
const MIN_RETRY_INTERVAL: Duration = Duration::from_millis(200);
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// How long a client agent waits for its view before it syncs without one.
const VIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// One difference between local state and the catalog.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The node itself differs.
    Node,
    /// An instance or some of its checks differ.
    Service(NodeService, Vec<HealthCheck>),
    /// A check differs.
    Check(HealthCheck),
    /// The agent does not, or no longer, have this instance.
    DeregisterService(ServiceId),
    /// The agent does not, or no longer, have this check.
    DeregisterCheck(CheckId),
}

/// How much is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The agent's own entries, removed ones included.
    Own,
    /// All entries of its node.
    Everything,
}

/// Returns the steps that make the catalog follow local state.
pub fn plan(
    local: &Table,
    node: &Node,
    catalog: &Catalog,
    scope: Scope,
    now: Instant,
) -> Vec<Step> {
    let mut steps = Vec::new();
    if !catalog.node(&node.name).is_some_and(|known| same_node(known, node)) {
        steps.push(Step::Node);
    }
    for id in gone_services(local, node, catalog, scope) {
        steps.push(Step::DeregisterService(id));
    }
    for local_service in local.services() {
        let id = &local_service.service.id;
        let known = catalog.service(&node.name, id);
        let wanted = wanted_service(&local_service.service, known.map(|known| &**known));
        let service_differs = known.is_none_or(|known| !known.same_registration(&wanted));
        let checks: Vec<HealthCheck> = local
            .service_checks(id)
            .filter(|check| differs(check, node, catalog, now))
            .map(|check| check.check.clone())
            .collect();
        if service_differs {
            steps.push(Step::Service(wanted, checks));
        } else {
            steps.extend(checks.into_iter().map(Step::Check));
        }
    }
    let of_node = local.checks().filter(|check| check.check.service_id.is_empty());
    steps.extend(
        of_node
            .filter(|check| differs(check, node, catalog, now))
            .map(|check| Step::Check(check.check.clone())),
    );
    for id in gone_checks(local, node, catalog, scope, &steps) {
        steps.push(Step::DeregisterCheck(id));
    }
    steps
}

fn same_node(known: &Node, wanted: &Node) -> bool {
    let indexes = (known.create_index, known.modify_index);
    let wanted = Node { create_index: indexes.0, modify_index: indexes.1, ..wanted.clone() };
    *known == wanted
}

/// Returns the instance to register: with `EnableTagOverride` the catalog's tags win.
fn wanted_service(local: &NodeService, known: Option<&NodeService>) -> NodeService {
    let mut wanted = local.clone();
    if let Some(known) = known.filter(|_| local.enable_tag_override) {
        wanted.tags.clone_from(&known.tags);
    }
    wanted
}

fn differs(local: &LocalCheck, node: &Node, catalog: &Catalog, now: Instant) -> bool {
    let Some(known) = catalog.check(&node.name, &local.check.check_id) else { return true };
    let mut wanted = local.check.clone();
    wanted.service_tags.clone_from(&known.service_tags);
    if local.output_sync_at.is_some_and(|at| at > now) && wanted.status == known.status {
        wanted.output.clone_from(&known.output);
    }
    !known.same_check(&wanted)
}

fn gone_services(local: &Table, node: &Node, catalog: &Catalog, scope: Scope) -> Vec<ServiceId> {
    catalog
        .node_services(&node.name)
        .map(|service| service.id.clone())
        .filter(|id| local.service(id).is_none() && *id != CONSUL_SERVICE)
        .filter(|id| scope == Scope::Everything || local.removed_services().contains(id))
        .collect()
}

/// Returns the checks to deregister, without those of instances that are deregistered anyway.
fn gone_checks(
    local: &Table,
    node: &Node,
    catalog: &Catalog,
    scope: Scope,
    steps: &[Step],
) -> Vec<CheckId> {
    let goes_along = |check: &HealthCheck| {
        !check.service_id.is_empty()
            && steps.contains(&Step::DeregisterService(check.service_id.clone()))
    };
    catalog
        .node_checks(&node.name)
        .filter(|check| check.service_id != CONSUL_SERVICE && !goes_along(check))
        .map(|check| check.check_id.clone())
        .filter(|id| local.check(id).is_none() && *id != SERF_CHECK_ID)
        .filter(|id| scope == Scope::Everything || local.removed_checks().contains(id))
        .collect()
}

impl Step {
    fn command(&self, node: &Node) -> Command {
        let register = RegisterRequest {
            id: node.id.clone(),
            node: node.name.clone(),
            address: node.address.clone(),
            datacenter: node.datacenter.clone(),
            tagged_addresses: node.tagged_addresses.clone(),
            node_meta: node.meta.clone(),
            ..RegisterRequest::default()
        };
        let deregister = DeregisterRequest {
            node: node.name.clone(),
            datacenter: node.datacenter.clone(),
            ..DeregisterRequest::default()
        };
        match self {
            Self::Node => Command::Register(Box::new(register)),
            Self::Service(service, checks) => Command::Register(Box::new(RegisterRequest {
                service: Some(service.clone()),
                checks: checks.clone(),
                ..register
            })),
            Self::Check(check) => Command::Register(Box::new(RegisterRequest {
                check: Some(check.clone()),
                ..register
            })),
            Self::DeregisterService(id) => {
                Command::Deregister(DeregisterRequest { service_id: id.clone(), ..deregister })
            }
            Self::DeregisterCheck(id) => {
                Command::Deregister(DeregisterRequest { check_id: id.clone(), ..deregister })
            }
        }
    }

    fn log(&self) {
        match self {
            Self::Node => tracing::info!(target: "agent", "Synced node info"),
            Self::Service(service, checks) => {
                tracing::info!(target: "agent", service = %service.id, "Synced service");
                for check in checks {
                    tracing::debug!(target: "agent", check = %check.check_id, "Synced check");
                }
            }
            Self::Check(check) => {
                tracing::info!(target: "agent", check = %check.check_id, "Synced check");
            }
            Self::DeregisterService(id) => {
                tracing::info!(target: "agent", service = %id, "Deregistered service");
            }
            Self::DeregisterCheck(id) => {
                tracing::info!(target: "agent", check = %id, "Deregistered check");
            }
        }
    }
}

/// Compares once and applies every step. Returns when the next deferred output is due.
///
/// # Errors
/// [`RegisterError`]; the remaining steps were not applied.
pub async fn sync(
    local: &LocalState,
    registrar: &Registrar,
    store: &Store,
    scope: Scope,
) -> Result<Option<Instant>, RegisterError> {
    let (table, node, now) = (local.snapshot(), local.node(), Instant::now());
    #[cfg(test)]
    crate::plant::panic_if_planted("anti_entropy", node.name.as_ref());
    let steps = plan(&table, &node, &store.snapshot().catalog, scope, now);
    for step in steps {
        registrar.apply(step.command(&node)).await?;
        step.log();
    }
    let synced: Vec<CheckId> = table
        .checks()
        .filter(|check| check.output_sync_at.is_some_and(|at| at <= now))
        .map(|check| check.check.check_id.clone())
        .collect();
    local.note(|current| {
        current.forget_removed(&table);
        current.outputs_synced(&synced);
    });
    Ok(table.checks().filter_map(|check| check.output_sync_at).filter(|at| *at > now).min())
}

/// Waits until the catalog has this agent's registrations; the caller sets the timeout.
pub async fn synced(local: &LocalState, store: &Store) {
    store
        .wait_for(|state, topics| {
            let (table, node) = (local.snapshot(), local.node());
            topics.add(Topic::Node(fold(&node.name)));
            plan(&table, &node, &state.catalog, Scope::Own, Instant::now()).is_empty().then_some(())
        })
        .await;
}

/// Waits until a client agent has received its view; returns at once on a server.
async fn view_received(registrar: &Registrar, store: &Store) {
    if matches!(registrar, Registrar::Client(..)) {
        let heard = |state: &State, topics: &mut WatchSet| {
            // A view is replaced as a whole, which wakes every waiter.
            topics.add(Topic::Nodes);
            (state.index > 0).then_some(())
        };
        store.wait_for(heard).await;
    }
}

/// Runs anti-entropy until `shutdown`.
pub async fn run(
    local: Arc<LocalState>,
    registrar: Arc<Registrar>,
    store: Arc<Store>,
    shutdown: CancellationToken,
) {
    let mut changes = local.changes();
    let mut backoff = Backoff::new(MIN_RETRY_INTERVAL, MAX_RETRY_INTERVAL);
    let mut scope = Scope::Everything;
    tokio::select! {
        () = shutdown.cancelled() => return,
        // A client agent receives the view of its node after its first connection to a server;
        // without it, foreign entries cannot be detected.
        () = view_received(&registrar, &store) => {}
        () = sleep(VIEW_TIMEOUT) => {}
    }
    let mut full_at = Instant::now();
    loop {
        changes.mark_unchanged();
        let now = Instant::now();
        if now >= full_at {
            scope = Scope::Everything;
            full_at = now + FULL_SYNC_INTERVAL.mul_f64(rand::random_range(1.0..1.25));
        }
        let synced = tokio::select! {
            () = shutdown.cancelled() => return,
            synced = sync(&local, &registrar, &store, scope) => synced,
        };
        let is_synced = synced.is_ok();
        let wake_at = match synced {
            Ok(output_due) => {
                backoff.reset();
                scope = Scope::Own;
                output_due.map_or(full_at, |due| due.min(full_at))
            }
            Err(RegisterError::Server(ServerError::ShuttingDown)) => {
                return shutdown.cancelled().await;
            }
            Err(error) => {
                tracing::warn!(target: "agent", %error, "failed to sync changes, trying again");
                Instant::now() + backoff.next_pause()
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep_until(wake_at) => {}
            changed = changes.changed(), if is_synced => {
                if changed.is_err() {
                    return;
                }
                sleep(DEBOUNCE_INTERVAL).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
