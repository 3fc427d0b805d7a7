//! The table of this agent's own services and checks, and the changes to it.
//!
//! Pure: time is an argument. INVARIANT: a check of an instance is in the table only as long as
//! that instance is; an unchanged definition keeps its status, its output and its runner
//! (`generation`).

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use imbl::OrdMap;
use lictor_api::{
    CheckId, NodeName, ServiceId,
    types::{
        agent::{CheckDefinition, ServiceDefinition},
        catalog::NodeService,
        health::{CheckStatus, HealthCheck},
    },
};
use std::sync::Arc;
use tokio::time::Instant;

use super::{
    error::RegistrationError,
    registration::{self, ScriptPolicy, Source},
    sidecar,
};

/// One of the agent's own services.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalService {
    /// As registered in the catalog.
    pub service: NodeService,
    /// The definition with defaults filled in, without its sidecar.
    pub definition: ServiceDefinition,
    /// Where it was registered from.
    pub source: Source,
    /// The service whose `sidecar_service` this is; both are removed together.
    pub sidecar_of: Option<ServiceId>,
}

/// One of the agent's own checks.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalCheck {
    /// As registered in the catalog.
    pub check: HealthCheck,
    /// The definition with defaults filled in.
    pub definition: CheckDefinition,
    /// Where it was registered from.
    pub source: Source,
    /// Whether it was registered as part of its service's definition, not by itself.
    pub of_service: bool,
    /// Changes with the definition: a result of an older generation is ignored.
    pub generation: u64,
    /// When it turned critical; `None` while it is not.
    pub critical_since: Option<Instant>,
    /// When a TTL check expires.
    pub ttl_deadline: Option<Instant>,
    /// When to sync an output that alone differs from the catalog's.
    pub output_sync_at: Option<Instant>,
}

impl LocalCheck {
    /// Returns whether the check has a runner; maintenance mode has none.
    pub fn is_run(&self) -> bool {
        self.check.check_type != MAINTENANCE
    }
}

/// A service with its sidecar, both complete: the outcome of one registration.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Registration {
    /// The service.
    pub service: ServiceDefinition,
    /// Its sidecar.
    #[serde(default)]
    pub sidecar: Option<ServiceDefinition>,
}

/// Type of the checks that maintenance mode adds.
pub const MAINTENANCE: &str = "maintenance";
/// The check that takes the whole node out of service.
pub const NODE_MAINTENANCE: &str = "_node_maintenance";

/// Returns the ID of the check that takes an instance out of service.
pub fn service_maintenance(id: &ServiceId) -> CheckId {
    CheckId::from(format!("_service_maintenance:{id}"))
}

/// Everything registered on this agent. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Table {
    services: OrdMap<ServiceId, Arc<LocalService>>,
    checks: OrdMap<CheckId, Arc<LocalCheck>>,
    node: NodeName,
    generation: u64,
    removed_services: BTreeSet<ServiceId>,
    removed_checks: BTreeSet<CheckId>,
}

// === impl Table: reading ===

impl Table {
    /// Returns an empty table for the node with this name.
    pub fn new(node: NodeName) -> Self {
        Self { node, ..Self::default() }
    }

    /// Returns all services, by ID.
    pub fn services(&self) -> impl Iterator<Item = &Arc<LocalService>> {
        self.services.values()
    }

    /// Returns the service with this ID.
    pub fn service(&self, id: &str) -> Option<&Arc<LocalService>> {
        self.services.get(id)
    }

    /// Returns all checks, by ID.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<LocalCheck>> {
        self.checks.values()
    }

    /// Returns the check with this ID.
    pub fn check(&self, id: &str) -> Option<&Arc<LocalCheck>> {
        self.checks.get(id)
    }

    /// Returns the checks of an instance.
    pub fn service_checks<'a>(&'a self, id: &str) -> impl Iterator<Item = &'a Arc<LocalCheck>> {
        self.checks().filter(move |local| *local.check.service_id == *id)
    }

    /// Returns the worst status of the node's checks and the instance's own.
    pub fn aggregated_status(&self, id: &str) -> CheckStatus {
        self.checks()
            .filter(|local| local.check.service_id.is_empty() || *local.check.service_id == *id)
            .map(|local| local.check.status)
            .max()
            .unwrap_or(CheckStatus::Passing)
    }

    /// Returns the instances that were deregistered here and may still be in the catalog.
    pub fn removed_services(&self) -> &BTreeSet<ServiceId> {
        &self.removed_services
    }

    /// Returns the checks that were deregistered here and may still be in the catalog.
    pub fn removed_checks(&self) -> &BTreeSet<CheckId> {
        &self.removed_checks
    }

    /// Returns a service with its sidecar and the checks registered with it.
    pub fn registration(&self, id: &str) -> Option<Registration> {
        let service = self.service(id)?.definition.clone();
        let sidecar = self.sidecar_of(id).map(|local| local.definition.clone());
        Some(Registration { service, sidecar })
    }

    fn sidecar_of(&self, id: &str) -> Option<&Arc<LocalService>> {
        self.services().find(|local| local.sidecar_of.as_deref() == Some(id))
    }

    fn free_port(&self, range: &RangeInclusive<u16>, id: &ServiceId) -> Result<u16, String> {
        if let Some(own) = self.service(id).filter(|own| range.contains(&own.service.port)) {
            return Ok(own.service.port);
        }
        let taken: BTreeSet<u16> = self.services().map(|local| local.service.port).collect();
        range.clone().find(|port| !taken.contains(port)).ok_or_else(|| {
            format!(
                "no port provided for sidecar_service and none left in the configured range [{}, {}]",
                range.start(),
                range.end()
            )
        })
    }
}

// === impl Table: planning ===

impl Table {
    /// Validates a service and its sidecar against the table and fills in their defaults.
    ///
    /// # Errors
    /// [`RegistrationError`] names the first invalid field.
    pub fn plan_service(
        &self,
        definition: ServiceDefinition,
        source: Source,
        scripts: ScriptPolicy,
        sidecar_ports: &RangeInclusive<u16>,
    ) -> Result<Registration, RegistrationError> {
        let mut service = registration::service(definition, source, scripts)?;
        let requested = service.connect.as_mut().and_then(|connect| connect.sidecar_service.take());
        let sidecar = match requested {
            None => None,
            Some(requested) => {
                let id = sidecar::sidecar_id(&service.id);
                let sidecar =
                    sidecar::expand(&service, *requested, || self.free_port(sidecar_ports, &id))?;
                Some(registration::service(sidecar, source, scripts)?)
            }
        };
        Ok(Registration { service, sidecar })
    }

    /// Validates a check that is registered by itself and fills in its defaults.
    ///
    /// # Errors
    /// [`RegistrationError`] names the first invalid field.
    pub fn plan_check(
        &self,
        definition: CheckDefinition,
        source: Source,
        scripts: ScriptPolicy,
    ) -> Result<CheckDefinition, RegistrationError> {
        let definition = registration::check(definition, source, scripts)?;
        if !definition.service_id.is_empty() && self.service(&definition.service_id).is_none() {
            return Err(RegistrationError::NoSuchService(definition.service_id));
        }
        Ok(definition)
    }

    /// Adds the instance's older checks to a new definition. COMPAT: a registration leaves them
    /// alone unless it replaces them.
    pub fn keep_older_checks(&self, definition: &mut ServiceDefinition) {
        let Some(old) = self.service(&definition.id) else { return };
        for check in &old.definition.checks {
            if definition.checks.iter().all(|new| new.id != check.id) {
                definition.checks.push(check.clone());
            }
        }
    }
}

// === impl Table: changing ===

impl Table {
    /// Applies a planned registration, sidecar included. Removes checks that belonged to the old
    /// definition and not to the new one.
    pub fn upsert(&mut self, registration: &Registration, source: Source, now: Instant) {
        let Registration { service, sidecar } = registration;
        let gone = self
            .sidecar_of(&service.id)
            .map(|old| old.service.id.clone())
            .filter(|old| sidecar.as_ref().is_none_or(|new| new.id != *old));
        if let Some(id) = gone {
            self.remove_service(&id);
        }
        self.upsert_service(service, source, None, now);
        if let Some(sidecar) = sidecar {
            self.upsert_service(sidecar, source, Some(service.id.clone()), now);
        }
    }

    fn upsert_service(
        &mut self,
        definition: &ServiceDefinition,
        source: Source,
        sidecar_of: Option<ServiceId>,
        now: Instant,
    ) {
        let service = registration::node_service(definition);
        let id = service.id.clone();
        let stale: Vec<CheckId> = self
            .service_checks(&id)
            .filter(|old| {
                old.of_service && definition.checks.iter().all(|c| c.id != old.check.check_id)
            })
            .map(|old| old.check.check_id.clone())
            .collect();
        for check in stale {
            self.remove_check(&check);
        }
        self.removed_services.remove(&id);
        let local = LocalService { service, definition: definition.clone(), source, sidecar_of };
        self.services.insert(id.clone(), Arc::new(local));
        for check in &definition.checks {
            self.insert_check(check, source, true, now);
        }
        self.refresh_checks_of(&id);
    }

    /// Applies a planned check.
    pub fn upsert_check(&mut self, definition: &CheckDefinition, source: Source, now: Instant) {
        self.insert_check(definition, source, false, now);
    }

    fn insert_check(
        &mut self,
        definition: &CheckDefinition,
        source: Source,
        of_service: bool,
        now: Instant,
    ) {
        let id = definition.id.clone();
        let service = self.service(&definition.service_id).map(|local| &local.service);
        let mut check = registration::health_check(definition, &self.node, service);
        let old = self.checks.get(&id).filter(|old| old.check.service_id == check.service_id);
        if let Some(old) = old.filter(|old| old.definition == *definition) {
            let local = LocalCheck { source, of_service, ..(**old).clone() };
            self.checks.insert(id, Arc::new(local));
            return;
        }
        // A changed definition does not take the instance out of service before its first result.
        let carried = old.filter(|old| old.check.check_type == check.check_type);
        let mut critical_since = (check.status == CheckStatus::Critical).then_some(now);
        if let Some(old) = carried {
            check.status = old.check.status;
            check.output.clone_from(&old.check.output);
            critical_since = old.critical_since;
        }
        self.generation += 1;
        let is_ttl = registration::check_type(definition) == "ttl";
        let local = LocalCheck {
            check,
            definition: definition.clone(),
            source,
            of_service,
            generation: self.generation,
            critical_since,
            ttl_deadline: is_ttl.then(|| now + definition.ttl.0),
            output_sync_at: None,
        };
        self.removed_checks.remove(&id);
        self.checks.insert(id, Arc::new(local));
    }

    /// Copies a service's name and tags to its checks.
    fn refresh_checks_of(&mut self, id: &ServiceId) {
        let Some(service) = self.services.get(id).cloned() else { return };
        let ids: Vec<CheckId> =
            self.service_checks(id).map(|local| local.check.check_id.clone()).collect();
        for check in ids {
            self.change_check(&check, |local| {
                local.check.service_name = service.service.service.clone();
                local.check.service_tags.clone_from(&service.service.tags);
            });
        }
    }

    /// Adds or removes maintenance mode; an empty `reason` means Consul's default text.
    pub fn set_maintenance(&mut self, service: Option<&ServiceId>, reason: Option<&str>) {
        let (id, name, of) = match service {
            Some(service) => (service_maintenance(service), "Service Maintenance Mode", "service"),
            None => (CheckId::from(NODE_MAINTENANCE), "Node Maintenance Mode", "node"),
        };
        let Some(reason) = reason else {
            self.remove_check(&id);
            return;
        };
        let notes = match reason {
            "" => format!(
                "Maintenance mode is enabled for this {of}, but no reason was provided. This is a default message."
            ),
            reason => reason.to_owned(),
        };
        let local_service = service.and_then(|id| self.service(id)).map(|local| &local.service);
        let definition = CheckDefinition {
            id: id.clone(),
            name: name.to_owned(),
            notes,
            service_id: service.cloned().unwrap_or_default(),
            ..CheckDefinition::default()
        };
        let check = HealthCheck {
            check_type: MAINTENANCE.to_owned(),
            interval: String::new(),
            timeout: String::new(),
            ..registration::health_check(&definition, &self.node, local_service)
        };
        self.generation += 1;
        let local = LocalCheck {
            check,
            definition,
            source: Source::Http,
            of_service: false,
            generation: self.generation,
            critical_since: None,
            ttl_deadline: None,
            output_sync_at: None,
        };
        self.removed_checks.remove(&id);
        self.checks.insert(id, Arc::new(local));
    }

    /// Removes an instance with its checks and its sidecar. Returns false when there is none.
    pub fn remove_service(&mut self, id: &ServiceId) -> bool {
        if self.services.remove(id).is_none() {
            return false;
        }
        self.removed_services.insert(id.clone());
        let checks: Vec<CheckId> =
            self.service_checks(id).map(|local| local.check.check_id.clone()).collect();
        for check in checks {
            self.remove_check(&check);
        }
        if let Some(sidecar) = self.sidecar_of(id).map(|local| local.service.id.clone()) {
            self.remove_service(&sidecar);
        }
        true
    }

    /// Removes a check, also from its service's definition. Returns false when there is none.
    pub fn remove_check(&mut self, id: &CheckId) -> bool {
        let Some(removed) = self.checks.remove(id) else { return false };
        self.removed_checks.insert(id.clone());
        if removed.of_service
            && let Some(local) = self.services.get_mut(&removed.check.service_id)
        {
            Arc::make_mut(local).definition.checks.retain(|check| check.id != *id);
        }
        true
    }

    /// Records a result. `generation` guards against results of a replaced definition. Returns
    /// false when nothing changed. A change of the output alone is synced after `defer`, except for
    /// the first output.
    pub fn set_status(
        &mut self,
        id: &CheckId,
        generation: u64,
        status: CheckStatus,
        output: &str,
        now: Instant,
        defer: Duration,
    ) -> bool {
        let Some(local) = self.checks.get(id).filter(|local| local.generation == generation) else {
            return false;
        };
        let (same_status, same_output) =
            (local.check.status == status, local.check.output == output);
        let first_output = local.check.output.is_empty();
        if same_status && same_output {
            return false;
        }
        self.change_check(id, |local| {
            local.check.status = status;
            output.clone_into(&mut local.check.output);
            local.output_sync_at = match local.output_sync_at {
                _ if !same_status || first_output || defer.is_zero() => None,
                None => Some(now + defer),
                already => already,
            };
            local.critical_since = match (status, local.critical_since) {
                (CheckStatus::Critical, None) => Some(now),
                (CheckStatus::Critical, since) => since,
                _ => None,
            };
        });
        true
    }

    /// Restarts the TTL of a check.
    pub fn renew_ttl(&mut self, id: &CheckId, now: Instant) {
        self.change_check(id, |local| {
            local.ttl_deadline = Some(now + local.definition.ttl.0);
        });
    }

    /// Marks the deferred outputs of these checks as synced.
    pub fn outputs_synced(&mut self, ids: &[CheckId]) {
        for id in ids {
            self.change_check(id, |local| local.output_sync_at = None);
        }
    }

    /// Forgets the removals in `snapshot`, because the catalog has applied them.
    pub fn forget_removed(&mut self, snapshot: &Self) {
        self.removed_services.retain(|id| !snapshot.removed_services.contains(id));
        self.removed_checks.retain(|id| !snapshot.removed_checks.contains(id));
    }

    fn change_check(&mut self, id: &CheckId, change: impl FnOnce(&mut LocalCheck)) {
        if let Some(local) = self.checks.get_mut(id) {
            change(Arc::make_mut(local));
        }
    }
}
