//! Gauges that are read from the agent when metrics are collected.

use std::fs;

use lictor_api::CONSUL_VERSION;
use lictor_core::state::State;
use lictor_membership::MemberStatus;
use lictor_runtime::panics;
use tokio::runtime::Handle;

use super::Agent;
use crate::{server::Server, telemetry::metrics};

/// The file in which Linux reports the memory of the process.
const PROC_STATUS: &str = "/proc/self/status";

impl Agent {
    /// Sets every gauge to its current value.
    pub fn read_gauges(&self) {
        read_process();
        metrics::RPC_QUERIES_BLOCKING.set(self.store.sleepers() as f64);
        let datacenter = self.config.load().datacenter.clone();
        if let Some(server) = self.server() {
            read_server(server);
            read_state(&self.store.snapshot(), &datacenter);
            self.read_members(&datacenter);
        }
    }

    fn read_members(&self, datacenter: &str) {
        let members = self.pools.lan.as_ref().map(|pool| pool.members()).unwrap_or_default();
        let alive = members.iter().filter(|member| member.status == MemberStatus::Alive);
        let (servers, clients): (Vec<_>, Vec<_>) =
            alive.partition(|member| member.server_port().is_some());
        metrics::MEMBERS_SERVERS.with(&[datacenter]).set(servers.len() as f64);
        metrics::MEMBERS_CLIENTS.with(&[datacenter]).set(clients.len() as f64);
    }
}

fn read_process() {
    // The file is in KiB. On other systems than Linux it does not exist, and the gauges stay unset.
    let status = fs::read_to_string(PROC_STATUS).unwrap_or_default();
    let bytes = |key: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
    };
    metrics::RUNTIME_ALLOC_BYTES.set(bytes("RssAnon"));
    metrics::RUNTIME_SYS_BYTES.set(bytes("VmRSS"));
    let tasks = Handle::try_current().map(|runtime| runtime.metrics().num_alive_tasks() as f64);
    metrics::RUNTIME_NUM_GOROUTINES.set(tasks.ok());
    metrics::VERSION.with(&[CONSUL_VERSION]).set(1.0);
    for (task, count) in panics::by_task() {
        metrics::PANICS.with(&[task]).raise_to(count);
    }
}

fn read_server(server: &Server) {
    let consensus = server.consensus();
    metrics::RAFT_APPLIED_INDEX.set(consensus.applied_index() as f64);
    metrics::RAFT_LAST_INDEX.set(consensus.last_index() as f64);
    metrics::RAFT_PEERS.set(consensus.peers().len() as f64);
    metrics::SERVER_IS_LEADER.set(flag(server.is_leader()));
    metrics::SESSION_TTL_ACTIVE.set(server.active_ttls() as f64);
    let report = server.autopilot().load();
    metrics::AUTOPILOT_HEALTHY.set(report.as_ref().map(|report| flag(report.is_healthy())));
    metrics::AUTOPILOT_FAILURE_TOLERANCE
        .set(report.as_ref().map(|report| report.failure_tolerance() as f64));
}

fn read_state(state: &State, datacenter: &str) {
    let (catalog, labels) = (&state.catalog, &[datacenter]);
    metrics::STATE_NODES.with(labels).set(catalog.nodes().count() as f64);
    metrics::STATE_SERVICES.with(labels).set(catalog.service_names().count() as f64);
    metrics::STATE_SERVICE_INSTANCES.with(labels).set(catalog.instances().count() as f64);
    metrics::STATE_KV_ENTRIES.with(labels).set(state.kv.len() as f64);
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}
