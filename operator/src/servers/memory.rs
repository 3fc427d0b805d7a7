//! Servers in memory, for tests: they keep what is written and fail when told to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use super::*;
use crate::plan;

/// Servers in memory.
#[derive(Default)]
pub(crate) struct MemoryServers {
    /// The catalog.
    pub(crate) catalog: Mutex<Actual>,
    /// Config entries by destination.
    pub(crate) entries: Mutex<BTreeMap<String, ServiceIntentions>>,
    /// Instances whose writes fail.
    pub(crate) broken: Mutex<BTreeSet<String>>,
    /// How many writes were asked for.
    pub(crate) writes: Mutex<usize>,
}

impl MemoryServers {
    fn fail_if_broken(&self, what: &str) -> Result<(), ServersError> {
        match self.broken.lock().unwrap().contains(what) {
            true => {
                let source = "told to fail".into();
                Err(ServersError::Unreachable { what: what.to_owned(), source })
            }
            false => Ok(()),
        }
    }
}

impl Servers for MemoryServers {
    async fn actual(&self, _: &str) -> Result<Actual, ServersError> {
        self.fail_if_broken("catalog")?;
        Ok(self.catalog.lock().unwrap().clone())
    }

    async fn write(&self, write: &Write) -> Result<(), ServersError> {
        *self.writes.lock().unwrap() += 1;
        match write {
            Write::Register(instance) => self.fail_if_broken(&instance.service.id)?,
            Write::Deregister { service_id, .. } => self.fail_if_broken(service_id)?,
            Write::RemoveNode(node) => self.fail_if_broken(node)?,
        }
        let mut catalog = self.catalog.lock().unwrap();
        if let Write::Deregister { node, service_id, pod_uid } = write {
            let known = catalog.instances.get(&(node.clone(), service_id.clone()));
            if known.is_some_and(|known| known.pod_uid() != pod_uid) {
                return Err(ServersError::Changed(service_id.to_string()));
            }
        }
        plan::apply(&mut catalog, write);
        Ok(())
    }

    async fn intentions(
        &self,
        destination: &str,
    ) -> Result<Option<ServiceIntentions>, ServersError> {
        self.fail_if_broken(destination)?;
        Ok(self.entries.lock().unwrap().get(destination).cloned())
    }

    async fn all_intentions(&self) -> Result<Vec<ServiceIntentions>, ServersError> {
        Ok(self.entries.lock().unwrap().values().cloned().collect())
    }

    async fn put_intentions(&self, entry: &ServiceIntentions) -> Result<(), ServersError> {
        self.entries.lock().unwrap().insert(entry.name.clone(), entry.clone());
        Ok(())
    }

    async fn delete_intentions(&self, destination: &str) -> Result<(), ServersError> {
        self.fail_if_broken(destination)?;
        self.entries.lock().unwrap().remove(destination);
        Ok(())
    }
}
