//! Agent local state: the services and checks registered on this agent, for which it is the
//! authority. The catalog follows it (`anti_entropy`); the runners of `checks` feed it.
//!
//! INVARIANT: a registration is validated, then persisted (`persist`), then made visible, each step
//! as a whole: it is rejected completely or in force completely, also after a restart.
//! Registrations are serialized by one lock that is held over the file's fsync, which is why the
//! registering methods block; status updates take only the short lock of the table.

pub mod anti_entropy;
pub mod error;
pub mod node;
pub mod persist;
pub mod registrar;
pub mod registration;
pub mod sidecar;
pub mod state;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use lictor_api::{
    CheckId, NodeName, ServiceId,
    types::{
        agent::{CheckDefinition, ServiceDefinition},
        catalog::Node,
        health::CheckStatus,
    },
};
use lictor_config::RuntimeConfig;
use tokio::{sync::watch, time::Instant};

pub use error::RegistrationError;
pub use registration::{ScriptPolicy, Source};
pub use state::{LocalCheck, LocalService, Table};

use persist::{Files, PersistedCheck, Step};
use state::Registration;

/// The configuration of local state.
#[derive(Debug, Clone)]
struct Settings {
    node: Arc<Node>,
    scripts: ScriptPolicy,
    sidecar_ports: std::ops::RangeInclusive<u16>,
    check_update_interval: Duration,
}

/// The services and checks of this agent.
pub struct LocalState {
    settings: ArcSwap<Settings>,
    /// Held over a whole registration; `None` persists nothing.
    registering: Mutex<Option<Files>>,
    table: Mutex<Table>,
    definitions: watch::Sender<u64>,
    changes: watch::Sender<u64>,
    node_id: String,
}

impl LocalState {
    /// Loads the services and checks that the configuration declares and those that were registered
    /// over HTTP before; the configuration wins where both define a service.
    ///
    /// # Errors
    /// [`RegistrationError`]: a declared service or check is invalid, or the data directory cannot
    /// be used.
    pub fn open(config: &RuntimeConfig, node_id: &str) -> Result<Self, RegistrationError> {
        let files = config.data_dir.as_deref().map(Files::open).transpose()?;
        let (services, checks) = match &files {
            Some(files) => files.load()?,
            None => Default::default(),
        };
        let local = Self {
            settings: ArcSwap::from_pointee(Settings::new(config, node_id)),
            registering: Mutex::new(files),
            table: Mutex::new(Table::new(NodeName::from(config.node_name.as_str()))),
            definitions: watch::Sender::new(0),
            changes: watch::Sender::new(0),
            node_id: node_id.to_owned(),
        };
        // First, because new sidecars must not be assigned the ports of these.
        local.restore_services(services);
        local.reload(config)?;
        local.restore_checks(checks)?;
        Ok(local)
    }

    /// Applies a changed configuration: removes what files no longer declare and updates what they
    /// declare differently. Unchanged definitions and those registered over HTTP are left alone.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`RegistrationError`] names the first invalid definition; nothing was changed.
    pub fn reload(&self, config: &RuntimeConfig) -> Result<(), RegistrationError> {
        let files = lock(&self.registering);
        let settings = Settings::new(config, &self.node_id);
        let now = Instant::now();
        let declared = Declared::plan(&self.snapshot(), config, &settings, now)?;
        if let Some(files) = &*files {
            let services = declared.services.iter().map(|declared| &declared.service.id);
            let services = services.cloned().map(Step::RemoveService);
            let checks = declared.checks.iter().map(|check| Step::RemoveCheck(check.id.clone()));
            files.commit(services.chain(checks).collect())?;
        }
        self.settings.store(Arc::new(settings));
        self.change(|table| declared.apply(table, now));
        Ok(())
    }

    /// Registers a service with its checks and its sidecar. `replace_existing_checks` removes the
    /// instance's other checks. Blocks on the disk.
    ///
    /// # Errors
    /// [`RegistrationError`]; nothing was changed.
    pub fn register_service(
        &self,
        definition: ServiceDefinition,
        source: Source,
        replace_existing_checks: bool,
    ) -> Result<(), RegistrationError> {
        let files = lock(&self.registering);
        let (settings, table) = (self.settings.load(), self.snapshot());
        let mut registration =
            table.plan_service(definition, source, settings.scripts, &settings.sidecar_ports)?;
        let id = registration.service.id.clone();
        let mut replaced = Vec::new();
        if replace_existing_checks {
            replaced.extend(
                table
                    .service_checks(&id)
                    .filter(|old| !old.of_service && old.is_run())
                    .map(|old| old.check.check_id.clone()),
            );
        } else {
            table.keep_older_checks(&mut registration.service);
        }
        if let (Some(files), Source::Http) = (&*files, source) {
            let mut steps = vec![Step::StoreService(Box::new(registration.clone()))];
            steps.extend(replaced.iter().cloned().map(Step::RemoveCheck));
            files.commit(steps)?;
        }
        self.change(|table| {
            for check in &replaced {
                table.remove_check(check);
            }
            table.upsert(&registration, source, Instant::now());
        });
        Ok(())
    }

    /// Registers a check of the node or of one instance. Blocks on the disk.
    ///
    /// # Errors
    /// [`RegistrationError`]; nothing was changed.
    pub fn register_check(
        &self,
        definition: CheckDefinition,
        source: Source,
    ) -> Result<(), RegistrationError> {
        let files = lock(&self.registering);
        let scripts = self.settings.load().scripts;
        let check = self.snapshot().plan_check(definition, source, scripts)?;
        if let (Some(files), Source::Http) = (&*files, source) {
            let check = PersistedCheck { check: check.clone(), maintenance: false };
            files.commit(vec![Step::StoreCheck(Box::new(check))])?;
        }
        self.change(|table| table.upsert_check(&check, source, Instant::now()));
        Ok(())
    }

    /// Removes an instance with its checks and its sidecar. Blocks on the disk.
    ///
    /// # Errors
    /// [`RegistrationError::UnknownService`], or the disk's; nothing was changed.
    pub fn deregister_service(&self, id: &ServiceId) -> Result<(), RegistrationError> {
        let files = lock(&self.registering);
        let table = self.snapshot();
        let local =
            table.service(id).ok_or_else(|| RegistrationError::UnknownService(id.clone()))?;
        let mut after = table.clone();
        after.remove_service(id);
        if let Some(files) = &*files {
            let mut steps = vec![Step::RemoveService(id.clone())];
            let removed = after.removed_checks().difference(table.removed_checks());
            steps.extend(removed.cloned().map(Step::RemoveCheck));
            if local.source == Source::Http {
                steps.extend(local.sidecar_of.as_ref().and_then(|parent| owner(&after, parent)));
            }
            files.commit(steps)?;
        }
        self.change(|table| table.remove_service(id));
        Ok(())
    }

    /// Removes a check. Blocks on the disk.
    ///
    /// # Errors
    /// [`RegistrationError::UnknownCheck`], or the disk's; nothing was changed.
    pub fn deregister_check(&self, id: &CheckId) -> Result<(), RegistrationError> {
        let files = lock(&self.registering);
        let table = self.snapshot();
        let local = table.check(id).ok_or_else(|| RegistrationError::UnknownCheck(id.clone()))?;
        if let Some(files) = &*files {
            let mut steps = vec![Step::RemoveCheck(id.clone())];
            if local.of_service && local.source == Source::Http {
                let mut after = table.clone();
                after.remove_check(id);
                steps.extend(owner(&after, &local.check.service_id));
            }
            files.commit(steps)?;
        }
        self.change(|table| table.remove_check(id));
        Ok(())
    }

    /// Records a client's report on a TTL check and restarts its TTL.
    ///
    /// # Errors
    /// [`RegistrationError::UnknownCheck`] or [`RegistrationError::NotTtl`].
    pub fn update_ttl(
        &self,
        id: &CheckId,
        status: CheckStatus,
        output: &str,
    ) -> Result<(), RegistrationError> {
        let (generation, limit) = {
            let mut table = lock(&self.table);
            let local =
                table.check(id).ok_or_else(|| RegistrationError::UnknownCheck(id.clone()))?;
            if local.ttl_deadline.is_none() {
                return Err(RegistrationError::NotTtl(id.clone()));
            }
            let found = (local.generation, local.definition.output_max_size as usize);
            table.renew_ttl(id, Instant::now());
            found
        };
        let bounded = match lictor_api::names::prefix(output, limit) {
            whole if whole.len() == output.len() => whole.to_owned(),
            cut => format!("{cut} ... (captured {limit} of {} bytes)", output.len()),
        };
        self.update_check(id, generation, status, &bounded);
        Ok(())
    }

    /// Records a runner's result; ignored when the definition changed since `generation`.
    pub fn update_check(&self, id: &CheckId, generation: u64, status: CheckStatus, output: &str) {
        let interval = self.settings.load().check_update_interval;
        let defer = interval / 2 + interval.mul_f64(rand::random::<f64>());
        let changed =
            lock(&self.table).set_status(id, generation, status, output, Instant::now(), defer);
        if changed {
            self.changes.send_modify(|version| *version += 1);
        }
    }

    /// Turns maintenance mode of an instance, or of the node, on (with a reason, which may be
    /// empty) or off (`None`). Blocks on the disk.
    ///
    /// # Errors
    /// [`RegistrationError::UnknownService`], or the disk's.
    pub fn set_maintenance(
        &self,
        service: Option<&ServiceId>,
        reason: Option<&str>,
    ) -> Result<(), RegistrationError> {
        let files = lock(&self.registering);
        let mut after = self.snapshot();
        if let Some(id) = service.filter(|id| after.service(id).is_none()) {
            return Err(RegistrationError::UnknownService(id.clone()));
        }
        after.set_maintenance(service, reason);
        if let Some(files) = &*files {
            let id =
                service.map_or(CheckId::from(state::NODE_MAINTENANCE), state::service_maintenance);
            let step = match after.check(&id) {
                None => Step::RemoveCheck(id),
                Some(local) => Step::StoreCheck(Box::new(PersistedCheck {
                    check: local.definition.clone(),
                    maintenance: true,
                })),
            };
            files.commit(vec![step])?;
        }
        self.change(|table| table.set_maintenance(service, reason));
        Ok(())
    }

    /// Returns the current table.
    pub fn snapshot(&self) -> Table {
        lock(&self.table).clone()
    }

    /// Returns this agent's node as registered in the catalog.
    pub fn node(&self) -> Arc<Node> {
        self.settings.load().node.clone()
    }

    /// Subscribes to every change, statuses and outputs included.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Subscribes to changes of the registered definitions.
    pub fn definitions(&self) -> watch::Receiver<u64> {
        self.definitions.subscribe()
    }

    /// Changes the table and notifies all subscribers.
    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) {
        change(&mut lock(&self.table));
        self.definitions.send_modify(|version| *version += 1);
        self.changes.send_modify(|version| *version += 1);
    }

    /// Changes the table without notifying subscribers: the bookkeeping of anti-entropy.
    fn note(&self, change: impl FnOnce(&mut Table)) {
        change(&mut lock(&self.table));
    }

    /// Restores the services registered over HTTP before the agent stopped.
    fn restore_services(&self, services: Vec<Registration>) {
        let scripts = self.settings.load().scripts;
        for registration in services {
            let parts = [Some(&registration.service), registration.sidecar.as_ref()];
            let refused = parts.into_iter().flatten().find_map(|definition| {
                registration::service(definition.clone(), Source::Http, scripts).err()
            });
            if let Some(error) = refused {
                tracing::warn!(target: "agent", service = %registration.service.id, %error, "service registered before is no longer allowed, not restoring it");
                continue;
            }
            self.change(|table| table.upsert(&registration, Source::Http, Instant::now()));
        }
    }

    /// Restores the checks registered over HTTP before the agent stopped, and maintenance mode.
    fn restore_checks(&self, checks: Vec<PersistedCheck>) -> Result<(), RegistrationError> {
        let files = lock(&self.registering);
        let scripts = self.settings.load().scripts;
        let mut stale = Vec::new();
        for PersistedCheck { check, maintenance } in checks {
            let table = self.snapshot();
            let owner = Some(&check.service_id).filter(|id| !id.is_empty());
            let orphaned = owner.is_some_and(|id| table.service(id).is_none());
            if orphaned || table.check(&check.id).is_some() {
                stale.push(Step::RemoveCheck(check.id));
                continue;
            }
            if maintenance {
                self.change(|table| table.set_maintenance(owner, Some(&check.notes)));
                continue;
            }
            match table.plan_check(check.clone(), Source::Http, scripts) {
                Ok(check) => {
                    self.change(|table| table.upsert_check(&check, Source::Http, Instant::now()));
                }
                Err(error) => {
                    tracing::warn!(target: "agent", check = %check.id, %error, "check registered before is no longer allowed, not restoring it");
                }
            }
        }
        if let Some(files) = &*files {
            files.commit(stale)?;
        }
        Ok(())
    }
}

impl Settings {
    fn new(config: &RuntimeConfig, node_id: &str) -> Self {
        Self {
            node: Arc::new(node::from_config(config, node_id)),
            scripts: ScriptPolicy {
                local: config.enable_local_script_checks,
                remote: config.enable_remote_script_checks,
            },
            sidecar_ports: config.sidecar_ports.clone(),
            check_update_interval: config.check_update_interval,
        }
    }
}

/// The services and checks that the configuration declares, with defaults filled in.
struct Declared {
    services: Vec<Registration>,
    checks: Vec<CheckDefinition>,
}

impl Declared {
    fn plan(
        table: &Table,
        config: &RuntimeConfig,
        settings: &Settings,
        now: Instant,
    ) -> Result<Self, RegistrationError> {
        let mut draft = table.clone();
        let mut declared = Self { services: Vec::new(), checks: Vec::new() };
        for definition in &config.services {
            let registration = draft.plan_service(
                definition.clone(),
                Source::File,
                settings.scripts,
                &settings.sidecar_ports,
            )?;
            draft.upsert(&registration, Source::File, now);
            declared.services.push(registration);
        }
        declared.remove_undeclared(&mut draft);
        for definition in &config.checks {
            let check = draft.plan_check(definition.clone(), Source::File, settings.scripts)?;
            declared.checks.push(check);
        }
        Ok(declared)
    }

    fn apply(&self, table: &mut Table, now: Instant) {
        self.remove_undeclared(table);
        for registration in &self.services {
            table.upsert(registration, Source::File, now);
        }
        for check in &self.checks {
            table.upsert_check(check, Source::File, now);
        }
    }

    /// Removes what files declared before and no longer declare.
    fn remove_undeclared(&self, table: &mut Table) {
        let services: BTreeSet<&ServiceId> = self
            .services
            .iter()
            .flat_map(|declared| [Some(&declared.service), declared.sidecar.as_ref()])
            .flatten()
            .map(|definition| &definition.id)
            .collect();
        let checks: BTreeSet<&CheckId> = self.checks.iter().map(|check| &check.id).collect();
        let undeclared: Vec<ServiceId> = table
            .services()
            .filter(|local| local.source == Source::File && !services.contains(&local.service.id))
            .map(|local| local.service.id.clone())
            .collect();
        for id in undeclared {
            table.remove_service(&id);
        }
        let undeclared: Vec<CheckId> = table
            .checks()
            .filter(|local| {
                local.source == Source::File
                    && !local.of_service
                    && !checks.contains(&local.check.check_id)
            })
            .map(|local| local.check.check_id.clone())
            .collect();
        for id in undeclared {
            table.remove_check(&id);
        }
    }
}

/// Returns the step that persists the registration a changed instance belongs to.
fn owner(table: &Table, id: &ServiceId) -> Option<Step> {
    let root = table.service(id)?.sidecar_of.as_ref().unwrap_or(id);
    Some(Step::StoreService(Box::new(table.registration(root)?)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is planned before it is made, so a panic cannot leave a table half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
