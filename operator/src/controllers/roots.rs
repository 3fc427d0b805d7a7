//! Copies the mesh roots to every namespace that injection does not exclude.
//!
//! The servers write ConfigMap `lictor-roots` in the release's namespace; this maintains a copy of
//! it wherever a pod may mount it, as Kubernetes does with `kube-root-ca.crt`. A pod that is
//! created before its namespace's copy waits a few seconds (kubelet retries). Copies carry a label,
//! and only ConfigMaps with that label are ever removed.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams},
    runtime::{reflector::Store, watcher},
};
use lictor_api::contract::{OPERATOR, ROOTS_CONFIG_MAP, ROOTS_KEY};
use lictor_runtime::Tasks;
use tokio::sync::{Notify, watch};

use super::{DEBOUNCE_INTERVAL, RESYNC_INTERVAL, backoff, count_failure};
use crate::{
    config::Config,
    context::Context,
    contract::MANAGED_BY_LABEL,
    watch::{named, reflect},
};

/// The write that one namespace needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write these roots.
    Write(String),
    /// Remove the copy.
    Remove,
}

/// Starts the controller.
pub fn start<S: Send + Sync + 'static>(tasks: &Tasks, context: &Arc<Context<S>>) {
    let changed = Arc::new(Notify::new());
    let client = &context.client;
    let copies = Api::<ConfigMap>::all(client.clone());
    let copies = reflect(tasks, copies, named(ROOTS_CONFIG_MAP), &changed);
    let namespaces = Api::<Namespace>::all(client.clone());
    let namespaces = reflect(tasks, namespaces, watcher::Config::default(), &changed);
    tasks.spawn_until_shutdown(
        "controllers.roots",
        run(Arc::clone(context), copies, namespaces, changed),
    );
}

async fn run<S: Send + Sync + 'static>(
    context: Arc<Context<S>>,
    copies: Store<ConfigMap>,
    namespaces: Store<Namespace>,
    changed: Arc<Notify>,
) {
    if copies.wait_until_ready().await.is_err() || namespaces.wait_until_ready().await.is_err() {
        return;
    }
    let mut backoff = backoff();
    loop {
        let complete = pass(&context, &namespaces.state(), &copies.state()).await;
        let pause = if complete {
            backoff.reset();
            RESYNC_INTERVAL
        } else {
            backoff.next_pause()
        };
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(DEBOUNCE_INTERVAL).await,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Applies the step of each namespace; returns false if one failed, after all were tried.
async fn pass<S>(
    context: &Context<S>,
    namespaces: &[Arc<Namespace>],
    copies: &[Arc<ConfigMap>],
) -> bool {
    let mut complete = true;
    for (namespace, step) in plan(&context.config, namespaces, copies) {
        if let Err(error) = apply(&context.client, &namespace, &step).await {
            complete = false;
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, namespace, "mesh roots not copied");
        }
    }
    if !complete {
        count_failure("roots");
    }
    complete
}

/// Watches the roots that the servers write; the value is `None` until they have written them.
pub fn watch_source(
    tasks: &Tasks,
    client: &Client,
    config: &Config,
) -> watch::Receiver<Option<String>> {
    let changed = Arc::new(Notify::new());
    let api = Api::<ConfigMap>::namespaced(client.clone(), &config.namespace);
    let store = reflect(tasks, api, named(ROOTS_CONFIG_MAP), &changed);
    let (sender, receiver) = watch::channel(None);
    tasks.spawn_until_shutdown("controllers.source_roots", async move {
        loop {
            changed.notified().await;
            let current = store.state().first().and_then(|found| roots(found).map(Into::into));
            sender.send_if_modified(|known| std::mem::replace(known, current.clone()) != current);
        }
    });
    receiver
}

/// Returns the step of each namespace that needs one; none until the servers have written roots.
pub fn plan(
    config: &Config,
    namespaces: &[Arc<Namespace>],
    copies: &[Arc<ConfigMap>],
) -> BTreeMap<String, Step> {
    let known: BTreeMap<String, &Arc<ConfigMap>> =
        copies.iter().map(|copy| (copy.namespace().unwrap_or_default(), copy)).collect();
    let Some(source) = known.get(&config.namespace).and_then(|source| roots(source)) else {
        return BTreeMap::new();
    };
    let steps = namespaces.iter().filter_map(|namespace| {
        let name = namespace.name_any();
        let copy = known.get(&name);
        if config.excludes(&name) {
            let ours = name != config.namespace && copy.is_some_and(|copy| is_copy(copy));
            return ours.then_some((name, Step::Remove));
        }
        let active = namespace.metadata.deletion_timestamp.is_none();
        let fresh = copy.is_some_and(|copy| roots(copy) == Some(source));
        (active && !fresh).then(|| (name, Step::Write(source.to_owned())))
    });
    steps.collect()
}

/// Returns the roots in a ConfigMap, if it has any.
pub fn roots(config_map: &ConfigMap) -> Option<&str> {
    let text = config_map.data.as_ref()?.get(ROOTS_KEY)?;
    (!text.is_empty()).then_some(text)
}

/// Returns whether a ConfigMap is one of the operator's copies.
pub fn is_copy(config_map: &ConfigMap) -> bool {
    config_map.labels().get(MANAGED_BY_LABEL).is_some_and(|manager| manager == OPERATOR)
}

/// Applies one step to `namespace`.
///
/// # Errors
/// The API server's.
pub async fn apply(client: &Client, namespace: &str, step: &Step) -> Result<(), kube::Error> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    match step {
        Step::Write(roots) => {
            let copy = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(ROOTS_CONFIG_MAP.to_owned()),
                    labels: Some([(MANAGED_BY_LABEL.to_owned(), OPERATOR.to_owned())].into()),
                    ..ObjectMeta::default()
                },
                data: Some([(ROOTS_KEY.to_owned(), roots.clone())].into()),
                ..ConfigMap::default()
            };
            let parameters = PatchParams::apply(OPERATOR).force();
            api.patch(ROOTS_CONFIG_MAP, &parameters, &Patch::Apply(copy)).await?;
        }
        Step::Remove => match api.delete(ROOTS_CONFIG_MAP, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => {
                other?;
            }
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests;
