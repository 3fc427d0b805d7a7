//! Declares every metric of the operator once.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Pods that reached the webhook, by `result`: `injected`, `skipped`, `refused`, `malformed`.
pub const ADMISSIONS: &str = "lictor_operator_admissions_total";
/// Catalog writes, by `kind` (`register`, `deregister`, `remove_node`) and `result` (`ok`,
/// `error`).
pub const WRITES: &str = "lictor_operator_catalog_writes_total";
/// Time from the first change to the end of its writes.
pub const RECONCILE: &str = "lictor_operator_catalog_reconcile_seconds";
/// Instances that the catalog should hold.
pub const INSTANCES: &str = "lictor_operator_catalog_instances";
/// Passes of the leader's controllers that failed, by `controller`: `pods`, `config_entries`,
/// `roots`, `coredns`.
pub const FAILURES: &str = "lictor_operator_controller_failures_total";
/// 1 on the replica that writes.
pub const LEADER: &str = "lictor_operator_leader";

/// Upper bounds in seconds, from a pass without writes to servers close to the timeout.
const BUCKETS: [f64; 7] = [0.001, 0.01, 0.05, 0.1, 0.5, 2.0, 10.0];

/// Installs the recorder; its handle renders the Prometheus text.
///
/// # Errors
/// A recorder is already installed in this process.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(RECONCILE.to_owned()), &BUCKETS)?
        .install_recorder()?;
    describe_counter!(ADMISSIONS, "pods that reached the webhook, by result");
    describe_counter!(WRITES, "catalog writes, by kind and result");
    describe_histogram!(RECONCILE, Unit::Seconds, "time from a change to the end of its writes");
    describe_gauge!(INSTANCES, "instances that the catalog should hold");
    describe_counter!(FAILURES, "failed passes of the leader's controllers, by controller");
    describe_gauge!(LEADER, "1 on the replica that writes");
    Ok(handle)
}

/// Runs `work` on a new runtime, and returns the metrics that it changed as Prometheus text.
#[cfg(test)]
pub(crate) fn moved_by(work: impl Future<Output = ()>) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime on this thread");
    metrics::with_local_recorder(&recorder, || runtime.block_on(work));
    recorder.handle().render()
}
