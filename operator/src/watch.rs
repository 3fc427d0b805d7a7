//! Reflectors: a local copy of the objects of one kind, and a signal when it changes.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use futures_util::StreamExt as _;
use kube::{
    Api, Resource, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher,
    },
};
use lictor_runtime::Tasks;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

/// Maintains a copy of the objects that `api` lists with `config`, and notifies `changed` after
/// each change.
pub fn reflect<K>(
    tasks: &Tasks,
    api: Api<K>,
    config: watcher::Config,
    changed: &Arc<Notify>,
) -> Store<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
{
    let (store, writer) = reflector::store();
    let changed = Arc::clone(changed);
    let events = watcher(api, config)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer);
    tasks.spawn_until_shutdown("watch", async move {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                // The objects of a first list arrive one by one; the store has them at its end.
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Ok(_) => changed.notify_one(),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, kind, "watch interrupted");
                }
            }
        }
    });
    store
}

/// Returns the configuration of a watch of the one object called `name`.
pub fn named(name: &str) -> watcher::Config {
    watcher::Config::default().fields(&format!("metadata.name={name}"))
}
