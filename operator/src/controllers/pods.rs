//! Registers injected pods in the catalog, with their readiness as health.
//!
//! The leader holds the desired state (from its reflectors) and a copy of the actual one, and
//! writes the difference. INVARIANT: nothing is removed before every reflector has received a whole
//! list. A write that fails is retried and delays no other.

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
use lictor_api::contract::{LICTOR_PREFIX, META_K8S_NAMESPACE};
use lictor_runtime::{Tasks, backoff::Backoff};
use metrics::{counter, gauge, histogram};
use tokio::sync::Notify;

use super::{DEBOUNCE_INTERVAL, RESYNC_INTERVAL, backoff, count_failure};
use crate::{
    claims::Ownership,
    context::Context,
    contract::{INJECT_STATUS, INJECTED},
    metrics::{INSTANCES, RECONCILE, WRITES},
    plan::{self, Actual, Instances, Plan},
    registration::{self, Notice},
    servers::{Servers, ServersError},
    watch::reflect,
};

/// Catalog writes in flight at the same time.
const MAX_CONCURRENT_WRITES: usize = 16;

/// Starts the controller.
pub fn start<S: Servers>(tasks: &Tasks, context: &Arc<Context<S>>) {
    let changed = Arc::new(Notify::new());
    let injected =
        watcher::Config::default().labels(&format!("{LICTOR_PREFIX}{INJECT_STATUS}={INJECTED}"));
    let pods = reflect(tasks, Api::<Pod>::all(context.client.clone()), injected, &changed);
    let services = Api::<Service>::all(context.client.clone());
    let services = reflect(tasks, services, watcher::Config::default(), &changed);
    tasks.spawn_until_shutdown(
        "controllers.pods",
        run(Arc::clone(context), pods, services, changed),
    );
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
            () = changed.notified() => tokio::time::sleep(DEBOUNCE_INTERVAL).await,
            () = tokio::time::sleep(registrar.pause()) => {}
        }
    }
}

type Notices = Vec<(Arc<Pod>, Notice)>;
type Announced = BTreeMap<(String, &'static str), String>;

/// Publishes each notice as an Event once, and again when its text changes or after it was gone.
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

/// Writes the desired state to the catalog.
struct Registrar<'a, S> {
    servers: &'a S,
    cluster: &'a str,
    actual: Option<(Actual, Instant)>,
    ownership: Ownership,
    backoff: Backoff,
    /// The pause before the next pass if the last one failed.
    retry_in: Option<Duration>,
}

impl<'a, S: Servers> Registrar<'a, S> {
    fn new(servers: &'a S, cluster: &'a str) -> Self {
        let (ownership, backoff) = (Ownership::default(), backoff());
        Self { servers, cluster, actual: None, ownership, backoff, retry_in: None }
    }

    /// Returns the pause before the next pass when nothing changes.
    fn pause(&self) -> Duration {
        self.retry_in.unwrap_or(RESYNC_INTERVAL)
    }

    /// Compares once and writes the difference; returns the notices for the pods' owners.
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
        self.record_owners(&desired.instances);
        gauge!(INSTANCES).set(u32::try_from(desired.instances.len()).unwrap_or(u32::MAX));
        match self.write(&desired.instances, &mut actual.0).await {
            Ok(()) => {
                self.backoff.reset();
                self.retry_in = None;
                self.actual = Some(actual);
            }
            // The write may have been applied or not, so the catalog is read again.
            Err(error) => self.failed(&error, "catalog not written"),
        }
        desired.notices
    }

    /// Returns the actual state: the copy if it is recent, else read from the servers.
    async fn read(&mut self) -> Result<(Actual, Instant), ServersError> {
        match self.actual.take().filter(|(_, at)| at.elapsed() < RESYNC_INTERVAL) {
            Some(known) => Ok(known),
            None => {
                let actual = self.servers.actual(self.cluster).await?;
                // What an earlier leader registered owns its name, whether or not its pod exists.
                self.record_owners(&actual.instances);
                Ok((actual, Instant::now()))
            }
        }
    }

    fn record_owners(&mut self, instances: &Instances) {
        let now = Instant::now();
        for service in instances.values().map(|instance| &instance.service) {
            if let Some(namespace) = service.meta.get(META_K8S_NAMESPACE) {
                self.ownership.record(&service.service, namespace, now);
            }
        }
    }

    fn failed(&mut self, error: &ServersError, what: &str) {
        let pause = self.backoff.next_pause();
        self.retry_in = Some(pause);
        count_failure("pods");
        let error: &dyn std::error::Error = error;
        tracing::warn!(error, what, ?pause, "catalog out of date");
    }

    /// Executes the plan, each kind of write after the previous one, and records in `actual` what
    /// succeeded.
    ///
    /// # Errors
    /// The first failure, after all other writes were tried.
    async fn write(&self, desired: &Instances, actual: &mut Actual) -> Result<(), ServersError> {
        let Plan { register, deregister, remove_nodes } = plan::plan(desired, actual);
        let mut failure = None;
        let writes = register.iter().map(|one| (one, self.servers.register(one))).collect();
        for instance in carry_out("register", writes, &mut failure).await {
            actual.register(instance);
        }
        let writes = deregister.iter().map(|one| (one, self.servers.deregister(one))).collect();
        for removal in carry_out("deregister", writes, &mut failure).await {
            actual.deregister(removal);
        }
        let writes = remove_nodes.iter().map(|one| (one, self.servers.remove_node(one))).collect();
        for node in carry_out("remove_node", writes, &mut failure).await {
            actual.remove_node(node);
        }
        failure.map_or(Ok(()), Err)
    }
}

/// Executes the writes of one kind concurrently; returns those that succeeded. `failure` holds the
/// first failure of all kinds. The writes are a list because a lazy iterator in the
/// stream would not be provably `Send`.
async fn carry_out<T>(
    kind: &'static str,
    writes: Vec<(T, impl Future<Output = Result<(), ServersError>>)>,
    failure: &mut Option<ServersError>,
) -> Vec<T> {
    let writes = writes.into_iter().map(|(item, write)| async move { (item, write.await) });
    let results = stream::iter(writes).buffer_unordered(MAX_CONCURRENT_WRITES);
    let results: Vec<_> = results.collect().await;
    let mut done = Vec::new();
    for (item, result) in results {
        let label = if result.is_ok() { "ok" } else { "error" };
        counter!(WRITES, "kind" => kind, "result" => label).increment(1);
        match result {
            Ok(()) => done.push(item),
            Err(error) => *failure = failure.take().or(Some(error)),
        }
    }
    done
}

#[cfg(test)]
mod tests;
