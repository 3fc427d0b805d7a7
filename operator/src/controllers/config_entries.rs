//! Syncs ServiceIntentions objects to `service-intentions` config entries.
//!
//! One destination has one owner: an entry created elsewhere is not overwritten (unless the object
//! has annotation `migrate-entry`), and of two objects for one destination the first owns it; the
//! status of the other states the conflict. The finalizer gives up after [`FINALIZER_TIMEOUT`], so
//! that deleting a namespace never hangs on servers that are gone.

pub mod entry;

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{Controller, controller::Action, watcher},
};
use lictor_runtime::{Tasks, backoff::jittered};
use serde_json::json;

use self::entry::{Owner, entry, normal, owner, resource};
use super::{MAX_RETRY_INTERVAL, RESYNC_INTERVAL, count_failure};
use crate::{
    annotations,
    context::Context,
    contract::{ABANDON, MIGRATE_ENTRY},
    crds::service_intentions::{Condition, FINALIZER, ServiceIntentions},
    servers::{Servers, ServersError},
};

/// How long a deleted object waits for the servers to remove its entry.
const FINALIZER_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause after a failed pass for the same object.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// A pass failed; it is retried.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error("object not updated")]
    Api(#[from] kube::Error),
    #[error("config entry not written")]
    Servers(#[from] ServersError),
}

/// Why an object is not synced although the servers responded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Conflict {
    #[error("config entry {0:?} was not made by Kubernetes; annotation migrate-entry adopts it")]
    ExternallyManagedConfigError(String),
    #[error("config entry {destination:?} belongs to ServiceIntentions {owner}")]
    DuplicateDestination { destination: String, owner: String },
}

/// Starts the controller.
pub fn start<S: Servers>(tasks: &Tasks, context: &Arc<Context<S>>) {
    let api = Api::<ServiceIntentions>::all(context.client.clone());
    let controller = Controller::new(api, watcher::Config::default())
        .graceful_shutdown_on(tasks.shutdown().clone().cancelled_owned())
        .run(reconcile, retry, Arc::clone(context));
    let reconciled = controller.for_each(|result| async {
        if let Err(error) = result {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "intentions not reconciled");
        }
    });
    tasks.spawn("controllers.config_entries", reconciled);
}

/// Counts the failed pass; the object's next one follows after [`RETRY_INTERVAL`].
fn retry<S>(_: Arc<ServiceIntentions>, _: &ReconcileError, _: Arc<Context<S>>) -> Action {
    count_failure("config_entries");
    Action::requeue(RETRY_INTERVAL)
}

async fn reconcile<S: Servers>(
    object: Arc<ServiceIntentions>,
    context: Arc<Context<S>>,
) -> Result<Action, ReconcileError> {
    if object.metadata.deletion_timestamp.is_some() {
        return finalize(&object, &context).await;
    }
    set_finalizer(&object, &context, true).await?;
    match sync(&object, &context).await {
        Ok(Ok(wrote)) => {
            report(&object, &context, ("True", "Synced", ""), wrote).await?;
            Ok(Action::requeue(RESYNC_INTERVAL))
        }
        Ok(Err(conflict)) => {
            let (reason, text) = (conflict.reason(), conflict.to_string());
            if report(&object, &context, ("False", reason, &text), false).await? {
                context.warn(&object.object_ref(&()), reason, "Sync", &text).await;
            }
            Ok(Action::requeue(jittered(MAX_RETRY_INTERVAL)))
        }
        Err(ReconcileError::Servers(error)) => {
            // Without its causes: a text that differs each time would cause a write each time.
            let text = error.to_string();
            report(&object, &context, ("False", "ConsulAgentError", &text), false).await?;
            Err(error.into())
        }
        Err(error) => Err(error),
    }
}

/// Writes the entry if it differs; returns whether it was written.
async fn sync<S: Servers>(
    object: &ServiceIntentions,
    context: &Context<S>,
) -> Result<Result<bool, Conflict>, ReconcileError> {
    let wanted = entry(object, &context.config);
    let Some(found) = context.servers.intentions(&wanted.name).await? else {
        context.servers.put_intentions(&wanted).await?;
        return Ok(Ok(true));
    };
    match owner(&found, &context.config) {
        Owner::Elsewhere if !adopts(object) => {
            return Ok(Err(Conflict::ExternallyManagedConfigError(wanted.name)));
        }
        Owner::Object(owner) if owner != resource(object) && exists(context, owner).await? => {
            let (destination, owner) = (wanted.name, owner.to_owned());
            return Ok(Err(Conflict::DuplicateDestination { destination, owner }));
        }
        _ => {}
    }
    let differs = normal(&found) != normal(&wanted);
    if differs {
        context.servers.put_intentions(&wanted).await?;
    }
    Ok(Ok(differs))
}

/// Removes the entry, then the finalizer; gives up on the servers after [`FINALIZER_TIMEOUT`].
async fn finalize<S: Servers>(
    object: &ServiceIntentions,
    context: &Context<S>,
) -> Result<Action, ReconcileError> {
    if !object.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(Action::await_change());
    }
    if let Err(error) = remove(object, context).await {
        let since = object.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        let waited = since.map_or(FINALIZER_TIMEOUT, |since| {
            Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default()
        });
        let abandoned = annotations::get(object.annotations(), ABANDON) == Some("true");
        if waited < FINALIZER_TIMEOUT && !abandoned {
            return Err(error.into());
        }
        let text = format!("config entry left behind: {error}");
        context.warn(&object.object_ref(&()), "Abandoned", "Delete", &text).await;
    }
    set_finalizer(object, context, false).await?;
    Ok(Action::await_change())
}

/// Removes the entry if it is this object's.
async fn remove<S: Servers>(
    object: &ServiceIntentions,
    context: &Context<S>,
) -> Result<(), ServersError> {
    let destination = &object.spec.destination.name;
    let found = context.servers.intentions(destination).await?;
    let own = found
        .is_some_and(|found| owner(&found, &context.config) == Owner::Object(&resource(object)));
    if own {
        context.servers.delete_intentions(destination).await?;
    }
    Ok(())
}

fn adopts(object: &ServiceIntentions) -> bool {
    annotations::get(object.annotations(), MIGRATE_ENTRY) == Some("true")
}

async fn exists<S>(context: &Context<S>, resource: &str) -> Result<bool, kube::Error> {
    let Some((namespace, name)) = resource.split_once('/') else { return Ok(false) };
    let api = Api::<ServiceIntentions>::namespaced(context.client.clone(), namespace);
    Ok(api.get_opt(name).await?.is_some())
}

async fn set_finalizer<S>(
    object: &ServiceIntentions,
    context: &Context<S>,
    wanted: bool,
) -> Result<(), kube::Error> {
    let mut finalizers = object.finalizers().to_vec();
    if finalizers.iter().any(|finalizer| finalizer == FINALIZER) == wanted {
        return Ok(());
    }
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    finalizers.extend(wanted.then(|| FINALIZER.to_owned()));
    patch_finalizers(&context.client, object, finalizers).await
}

/// Replaces the finalizers; does nothing if the object no longer exists.
///
/// # Errors
/// The API server's, among them a conflict if the object changed after it was read.
pub async fn patch_finalizers(
    client: &kube::Client,
    object: &ServiceIntentions,
    finalizers: Vec<String>,
) -> Result<(), kube::Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<ServiceIntentions>::namespaced(client.clone(), &namespace);
    let metadata =
        json!({"finalizers": finalizers, "resourceVersion": object.metadata.resource_version});
    let patch = Patch::Merge(json!({"metadata": metadata}));
    match api.patch(&object.name_any(), &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Sets the condition `Synced` if it changed or the entry was `written`; returns whether it was
/// set.
async fn report<S>(
    object: &ServiceIntentions,
    context: &Context<S>,
    (status, reason, message): (&str, &str, &str),
    written: bool,
) -> Result<bool, kube::Error> {
    let before = object.status.as_ref().and_then(|status| status.conditions.first());
    let generation = object.metadata.generation.unwrap_or_default();
    let same = before.is_some_and(|before| {
        (&*before.status, &*before.reason, &*before.message) == (status, reason, message)
            && before.observed_generation == generation
    });
    if same && !written {
        return Ok(false);
    }
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let since = before.filter(|before| before.status == status);
    let condition = Condition {
        type_: "Synced".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: since.map_or(&now, |before| &before.last_transition_time).clone(),
        observed_generation: generation,
    };
    let mut fields = json!({"conditions": [condition]});
    if status == "True" {
        fields["lastSyncedTime"] = now.into();
    }
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<ServiceIntentions>::namespaced(context.client.clone(), &namespace);
    let patch = Patch::Merge(json!({"status": fields}));
    api.patch_status(&object.name_any(), &PatchParams::default(), &patch).await?;
    Ok(true)
}

impl Conflict {
    fn reason(&self) -> &'static str {
        match self {
            Self::ExternallyManagedConfigError(_) => "ExternallyManagedConfigError",
            Self::DuplicateDestination { .. } => "DuplicateDestination",
        }
    }
}

#[cfg(test)]
mod tests;
