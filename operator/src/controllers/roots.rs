//! The mesh roots in every namespace that injection does not exclude.
//!
//! The servers write ConfigMap `lictor-roots` in the release's namespace; this keeps a copy of it
//! wherever a pod may mount it, as Kubernetes does with `kube-root-ca.crt`. A pod that comes before
//! its namespace's copy waits for seconds (kubelet retries) and no longer. Copies carry a label, and
//! only what carries it is ever removed.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams},
    runtime::{reflector::Store, watcher},
};
use tokio::sync::Notify;

use super::{DEBOUNCE, RESYNC, backoff};
use crate::{
    config::Config,
    context::Context,
    registration::MANAGER,
    watch::{Tasks, named, reflect},
    webhook::mutate::ROOTS,
};

/// Key of the roots in the ConfigMap.
pub const KEY: &str = "roots.pem";
const LABEL: &str = "app.kubernetes.io/managed-by";

/// What one namespace needs.
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
    let copies = reflect(tasks, copies, named(ROOTS), &changed);
    let namespaces = Api::<Namespace>::all(client.clone());
    let namespaces = reflect(tasks, namespaces, watcher::Config::default(), &changed);
    tasks.spawn(run(Arc::clone(context), copies, namespaces, changed));
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
    let mut failures = 0;
    loop {
        let mut failed = false;
        for (namespace, step) in plan(&context.config, &namespaces.state(), &copies.state()) {
            if let Err(error) = take(&context.client, &namespace, &step).await {
                failed = true;
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, namespace, "mesh roots not copied");
            }
        }
        failures = if failed { failures + 1 } else { 0 };
        let pause = if failed { backoff(failures) } else { RESYNC };
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(DEBOUNCE).await,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What each namespace needs. Nothing as long as the servers have not written any roots.
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

/// The roots in a ConfigMap.
pub fn roots(config_map: &ConfigMap) -> Option<&str> {
    let text = config_map.data.as_ref()?.get(KEY)?;
    (!text.is_empty()).then_some(text)
}

/// Whether a ConfigMap is one of the operator's copies.
pub fn is_copy(config_map: &ConfigMap) -> bool {
    config_map.labels().get(LABEL).is_some_and(|manager| manager == MANAGER)
}

/// Carries one step out.
///
/// # Errors
/// The API server's.
pub async fn take(client: &Client, namespace: &str, step: &Step) -> Result<(), kube::Error> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    match step {
        Step::Write(roots) => {
            let copy = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(ROOTS.to_owned()),
                    labels: Some([(LABEL.to_owned(), MANAGER.to_owned())].into()),
                    ..ObjectMeta::default()
                },
                data: Some([(KEY.to_owned(), roots.clone())].into()),
                ..ConfigMap::default()
            };
            let parameters = PatchParams::apply(MANAGER).force();
            api.patch(ROOTS, &parameters, &Patch::Apply(copy)).await?;
        }
        Step::Remove => match api.delete(ROOTS, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => {
                other?;
            }
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn namespace(name: &str) -> Arc<Namespace> {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}})).unwrap())
    }

    fn copy(namespace: &str, roots: &str, manager: &str) -> Arc<ConfigMap> {
        let copy = json!({
            "metadata": {"name": ROOTS, "namespace": namespace, "labels": {LABEL: manager}},
            "data": {KEY: roots},
        });
        Arc::new(serde_json::from_value(copy).unwrap())
    }

    #[test]
    fn every_namespace_gets_the_current_roots_and_excluded_ones_lose_them() {
        let config = Config { excluded_namespaces: vec!["ci".into()], ..Config::for_tests() };
        let namespaces =
            ["lictor", "kube-system", "new", "stale", "fresh", "ci"].map(namespace).to_vec();
        let copies = [
            copy("lictor", "R2", "lictor"),
            copy("stale", "R1", MANAGER),
            copy("fresh", "R2", MANAGER),
            copy("ci", "R2", MANAGER),
            copy("kube-system", "x", "somebody"),
        ];
        let write = || Step::Write("R2".to_owned());
        let expect = [
            ("ci".to_owned(), Step::Remove),
            ("new".to_owned(), write()),
            ("stale".to_owned(), write()),
        ];
        assert_eq!(plan(&config, &namespaces, &copies), expect.into());
    }

    #[test]
    fn nothing_happens_before_the_servers_wrote_roots() {
        let namespaces = [namespace("lictor"), namespace("shop")];
        let empty = [copy("lictor", "", "lictor"), copy("shop", "R1", MANAGER)];
        assert_eq!(plan(&Config::for_tests(), &namespaces, &empty), BTreeMap::new());
    }

    #[test]
    fn a_namespace_that_is_going_away_is_left_alone() {
        let mut going = Namespace::clone(&namespace("shop"));
        going.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let copies = [copy("lictor", "R1", "lictor")];
        assert_eq!(plan(&Config::for_tests(), &[Arc::new(going)], &copies), BTreeMap::new());
    }
}
