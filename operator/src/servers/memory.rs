//! Servers in memory, for tests: they store what is written, record each write in order, and fail
//! on request.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::*;

/// Servers in memory.
#[derive(Default)]
pub(crate) struct MemoryServers(Mutex<State>);

/// The state of the servers, and the writes that were requested.
#[derive(Default)]
pub(crate) struct State {
    /// The catalog.
    pub(crate) catalog: Actual,
    /// Config entries by destination.
    pub(crate) entries: BTreeMap<String, ServiceIntentions>,
    /// What fails: `catalog`, an instance's ID, a node's name or a destination. With `panic`,
    /// reading the catalog panics.
    pub(crate) broken: BTreeSet<String>,
    /// The catalog writes that were requested, as `register ID`, `deregister ID`, `remove NODE`.
    pub(crate) writes: Vec<String>,
}

impl MemoryServers {
    /// Locks the state. A test that panicked while it held the lock has failed anyway.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fail_if_broken(&self, what: &str) -> Result<(), ServersError> {
        if !self.broken.contains(what) {
            return Ok(());
        }
        let source = "told to fail".into();
        Err(ServersError::Unreachable { what: what.to_owned(), source })
    }
}

impl Servers for MemoryServers {
    async fn actual(&self, _: &str) -> Result<Actual, ServersError> {
        let state = self.state();
        let is_planted = state.broken.contains("panic");
        if is_planted {
            drop(state);
            panic!("planted");
        }
        state.fail_if_broken("catalog")?;
        Ok(state.catalog.clone())
    }

    async fn register(&self, instance: &Instance) -> Result<(), ServersError> {
        let mut state = self.state();
        state.writes.push(format!("register {}", instance.service.id));
        state.fail_if_broken(&instance.service.id)?;
        state.catalog.register(instance);
        Ok(())
    }

    async fn deregister(&self, removal: &Removal) -> Result<(), ServersError> {
        let mut state = self.state();
        state.writes.push(format!("deregister {}", removal.service_id));
        state.fail_if_broken(&removal.service_id)?;
        let key = (removal.node.clone(), removal.service_id.clone());
        let known = state.catalog.instances.get(&key);
        if known.is_some_and(|known| known.pod_uid() != removal.pod_uid) {
            return Err(ServersError::Changed(removal.service_id.to_string()));
        }
        state.catalog.deregister(removal);
        Ok(())
    }

    async fn remove_node(&self, node: &NodeName) -> Result<(), ServersError> {
        let mut state = self.state();
        state.writes.push(format!("remove {node}"));
        state.fail_if_broken(node)?;
        if state.catalog.instances.keys().any(|(used, _)| used == node) {
            return Err(ServersError::Changed(node.to_string()));
        }
        state.catalog.remove_node(node);
        Ok(())
    }

    async fn intentions(
        &self,
        destination: &str,
    ) -> Result<Option<ServiceIntentions>, ServersError> {
        let state = self.state();
        state.fail_if_broken(destination)?;
        Ok(state.entries.get(destination).cloned())
    }

    async fn all_intentions(&self) -> Result<Vec<ServiceIntentions>, ServersError> {
        Ok(self.state().entries.values().cloned().collect())
    }

    async fn put_intentions(&self, entry: &ServiceIntentions) -> Result<(), ServersError> {
        self.state().entries.insert(entry.name.clone(), entry.clone());
        Ok(())
    }

    async fn delete_intentions(&self, destination: &str) -> Result<(), ServersError> {
        let mut state = self.state();
        state.fail_if_broken(destination)?;
        state.entries.remove(destination);
        Ok(())
    }
}
