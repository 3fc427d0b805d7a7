//! Every metric of the operator, declared once.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Pods that reached the webhook, by `result`: `injected`, `skipped`, `refused`, `malformed`.
pub const ADMISSIONS: &str = "lictor_operator_admissions_total";
/// Catalog writes, by `kind` (`register`, `deregister`, `remove_node`) and `result` (`ok`, `error`).
pub const WRITES: &str = "lictor_operator_catalog_writes_total";
/// Time from the first change to the end of its writes.
pub const RECONCILE: &str = "lictor_operator_catalog_reconcile_seconds";
/// Instances that the catalog should hold.
pub const INSTANCES: &str = "lictor_operator_catalog_instances";
/// 1 on the replica that writes.
pub const LEADER: &str = "lictor_operator_leader";

/// Installs the recorder; its handle renders the Prometheus text.
///
/// # Errors
/// A recorder is already installed in this process.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().install_recorder()?;
    describe_counter!(ADMISSIONS, "pods that reached the webhook, by result");
    describe_counter!(WRITES, "catalog writes, by kind and result");
    describe_histogram!(RECONCILE, Unit::Seconds, "time from a change to the end of its writes");
    describe_gauge!(INSTANCES, "instances that the catalog should hold");
    describe_gauge!(LEADER, "1 on the replica that writes");
    Ok(handle)
}
