//! Injected pods into the catalog, their readiness as health.
//!
//! The leader holds the desired state (from its reflectors) and a copy of the actual one, and
//! writes the difference. Nothing is removed before every reflector has seen a whole list. A write
//! that fails is tried again and holds up no other.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api, Resource as _, ResourceExt as _,
    runtime::{reflector::Store, watcher},
};
use metrics::{counter, gauge, histogram};
use tokio::sync::Notify;

use super::{DEBOUNCE, RESYNC, backoff};
use crate::{
    annotations::{INJECTED, LICTOR, STATUS},
    claims::Ownership,
    context::Context,
    metrics::{INSTANCES, RECONCILE, WRITES},
    plan::{self, Actual, Instances, Write},
    registration::{self, Notice},
    servers::{Servers, ServersError},
    watch::{Tasks, reflect},
};

/// Writes under way at once.
const CONCURRENT_WRITES: usize = 16;

/// Starts the controller.
pub fn start<S: Servers>(tasks: &Tasks, context: &Arc<Context<S>>) {
    let changed = Arc::new(Notify::new());
    let injected = watcher::Config::default().labels(&format!("{LICTOR}{STATUS}={INJECTED}"));
    let pods = reflect(tasks, Api::<Pod>::all(context.client.clone()), injected, &changed);
    let services = Api::<Service>::all(context.client.clone());
    let services = reflect(tasks, services, watcher::Config::default(), &changed);
    tasks.spawn(run(Arc::clone(context), pods, services, changed));
}

async fn run<S: Servers>(
    context: Arc<Context<S>>,
    pods: Store<Pod>,
    services: Store<Service>,
    changed: Arc<Notify>,
) {
    if pods.wait_until_ready().await.is_err() || services.wait_until_ready().await.is_err() {
        return;
    }
    let cluster = context.config.cluster.clone();
    let mut registrar = Registrar::new(&context.servers, &cluster);
    let mut announced = BTreeMap::new();
    loop {
        let started = Instant::now();
        let notices = registrar.reconcile(pods.state(), &services.state()).await;
        histogram!(RECONCILE).record(started.elapsed());
        announce(&context, notices, &mut announced).await;
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(DEBOUNCE).await,
            () = tokio::time::sleep(registrar.pause()) => {}
        }
    }
}

type Notices = Vec<(Arc<Pod>, Notice)>;
type Announced = BTreeMap<(String, &'static str), String>;

/// Raises each notice once, and again when its text changes or after it was gone.
async fn announce<S>(context: &Context<S>, notices: Notices, announced: &mut Announced) {
    let mut current = Announced::new();
    for (pod, notice) in notices {
        let key = (pod.uid().unwrap_or_default(), notice.reason);
        if announced.get(&key) != Some(&notice.note) {
            let about = pod.object_ref(&());
            context.warn(&about, notice.reason, "Register", &notice.note).await;
        }
        current.insert(key, notice.note);
    }
    *announced = current;
}

/// Brings the catalog to the desired state.
struct Registrar<'a, S> {
    servers: &'a S,
    cluster: &'a str,
    actual: Option<(Actual, Instant)>,
    ownership: Ownership,
    failures: u32,
}

impl<'a, S: Servers> Registrar<'a, S> {
    fn new(servers: &'a S, cluster: &'a str) -> Self {
        Self { servers, cluster, actual: None, ownership: Ownership::default(), failures: 0 }
    }

    /// How long to wait when nothing changes.
    fn pause(&self) -> Duration {
        if self.failures > 0 { backoff(self.failures - 1) } else { RESYNC }
    }

    /// One comparison and its writes; returns what the pods' owners should know.
    async fn reconcile(&mut self, pods: Vec<Arc<Pod>>, services: &[Arc<Service>]) -> Notices {
        let mut actual = match self.read().await {
            Ok(actual) => actual,
            Err(error) => {
                self.failed(&error, "catalog not read");
                return Notices::new();
            }
        };
        let owners = self.ownership.owners(services, Instant::now());
        let desired = registration::desired(pods, services, &actual.0, owners, self.cluster);
        self.saw(&desired.instances);
        gauge!(INSTANCES).set(u32::try_from(desired.instances.len()).unwrap_or(u32::MAX));
        match self.write(&desired.instances, &mut actual.0).await {
            Ok(()) => {
                self.failures = 0;
                self.actual = Some(actual);
            }
            // The write may have happened or not; only the catalog knows.
            Err(error) => self.failed(&error, "catalog not written"),
        }
        desired.notices
    }

    async fn read(&mut self) -> Result<(Actual, Instant), ServersError> {
        match self.actual.take().filter(|(_, at)| at.elapsed() < RESYNC) {
            Some(known) => Ok(known),
            None => {
                let actual = self.servers.actual(self.cluster).await?;
                // What an earlier leader registered owns its name, whether or not its pod lives.
                self.saw(&actual.instances);
                Ok((actual, Instant::now()))
            }
        }
    }

    fn saw(&mut self, instances: &Instances) {
        let now = Instant::now();
        for service in instances.values().map(|instance| &instance.service) {
            if let Some(namespace) = service.meta.get("k8s-namespace") {
                self.ownership.saw(&service.service, namespace, now);
            }
        }
    }

    fn failed(&mut self, error: &ServersError, what: &str) {
        self.failures = self.failures.saturating_add(1);
        let error: &dyn std::error::Error = error;
        tracing::warn!(error, what, failures = self.failures, "catalog out of date");
    }

    /// Carries the plan out, each kind of write after the one before it.
    ///
    /// # Errors
    /// The first failure, after everything else was tried.
    async fn write(&self, desired: &Instances, actual: &mut Actual) -> Result<(), ServersError> {
        let mut failure = None;
        let plan = plan::plan(desired, actual);
        for kind in ["register", "deregister", "remove_node"] {
            let writes = plan.iter().filter(|write| write.kind() == kind);
            let writes =
                writes.map(|write| async move { (write, self.servers.write(write).await) });
            // Collected first: a lazy closure in the stream would not be provably `Send`.
            let writes: Vec<_> = writes.collect();
            let results = stream::iter(writes).buffer_unordered(CONCURRENT_WRITES);
            let results: Vec<_> = results.collect().await;
            for (write, result) in results {
                let label = if result.is_ok() { "ok" } else { "error" };
                counter!(WRITES, "kind" => kind, "result" => label).increment(1);
                match result {
                    Ok(()) => plan::apply(actual, write),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

impl Write {
    fn kind(&self) -> &'static str {
        match self {
            Self::Register(_) => "register",
            Self::Deregister { .. } => "deregister",
            Self::RemoveNode(_) => "remove_node",
        }
    }
}

#[cfg(test)]
mod tests;
