//! The table: name, kind, unit, labels and meaning of every metric, and what code counts with.

use lictor_consensus::metrics as consensus;
use lictor_runtime::{
    log,
    metrics::{Counter, Family, Gauge, Handle, Row, Sample, Unit, statsd},
    task,
};

/// Makes a handle and a row of each line. A handle in parentheses belongs to another crate, which
/// counts with it.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $kind:ident $unit:ident $name:literal => $handle:tt $labels:tt;)+) => {
        $(metrics!(@handle $(#[doc = $help])+ $kind $handle $labels);)+

        /// Every metric of the agent, in the order of the names.
        pub static TABLE: &[Row] = &[$(Row {
            name: $name,
            unit: Unit::$unit,
            help: concat!($($help),+).trim_ascii(),
            handle: metrics!(@row $kind $handle $labels),
        }),+];
    };
    (@handle $(#[$doc:meta])+ $kind:ident ($handle:expr) $labels:tt) => {};
    (@handle $(#[$doc:meta])+ counter $handle:ident []) => { $(#[$doc])+ pub static $handle: Counter = Counter::new(); };
    (@handle $(#[$doc:meta])+ gauge $handle:ident []) => { $(#[$doc])+ pub static $handle: Gauge = Gauge::new(); };
    (@handle $(#[$doc:meta])+ sample $handle:ident []) => { $(#[$doc])+ pub static $handle: Sample = Sample::new(); };
    (@handle $(#[$doc:meta])+ counter $handle:ident $labels:tt) => { $(#[$doc])+ pub static $handle: Family<Counter> = Family::new(&$labels); };
    (@handle $(#[$doc:meta])+ gauge $handle:ident $labels:tt) => { $(#[$doc])+ pub static $handle: Family<Gauge> = Family::new(&$labels); };
    (@handle $(#[$doc:meta])+ sample $handle:ident $labels:tt) => { $(#[$doc])+ pub static $handle: Family<Sample> = Family::new(&$labels); };
    (@row counter $handle:tt []) => { Handle::Counter(&$handle) };
    (@row gauge $handle:tt []) => { Handle::Gauge(&$handle) };
    (@row sample $handle:tt []) => { Handle::Sample(&$handle) };
    (@row counter $handle:tt $labels:tt) => { Handle::Counters(&$handle) };
    (@row gauge $handle:tt $labels:tt) => { Handle::Gauges(&$handle) };
    (@row sample $handle:tt $labels:tt) => { Handle::Samples(&$handle) };
}

metrics! {
    /// How long requests of the HTTP API took from the handler's start to its response, blocking
    /// queries included. The path is the endpoint's, with `_` for what follows it.
    sample Milliseconds "api.http" => API_HTTP ["method", "path"];
    /// How many more servers may fail without an outage. Of the leader only.
    gauge Count "autopilot.failure_tolerance" => AUTOPILOT_FAILURE_TOLERANCE [];
    /// Whether autopilot calls all servers healthy. Of the leader only.
    gauge Flag "autopilot.healthy" => AUTOPILOT_HEALTHY [];
    /// Questions for a service's mesh endpoints in the catalog that this agent answered.
    counter Count "catalog.connect.query" => CATALOG_CONNECT_QUERY [];
    /// How long removing a node, service or check from the catalog took until it was applied.
    sample Milliseconds "catalog.deregister" => CATALOG_DEREGISTER [];
    /// How long a registration in the catalog took until it was applied.
    sample Milliseconds "catalog.register" => CATALOG_REGISTER [];
    /// Questions for a service's instances in the catalog that this agent answered.
    counter Count "catalog.service.query" => CATALOG_SERVICE_QUERY [];
    /// Requests that this agent forwarded to a server of its datacenter, every attempt counted.
    counter Count "client.rpc" => CLIENT_RPC [];
    /// Requests that this agent did not forward because of `limits.rpc_rate`.
    counter Count "client.rpc.exceeded" => CLIENT_RPC_EXCEEDED [];
    /// Forwarded requests that a server did not answer, every attempt counted.
    counter Count "client.rpc.failed" => CLIENT_RPC_FAILED [];
    /// How long writing a config entry took until it was applied.
    sample Milliseconds "config_entry.apply" => CONFIG_ENTRY_APPLY [];
    /// How long DNS queries about the agent's domain took to be answered.
    sample Milliseconds "dns.domain_query" => DNS_DOMAIN_QUERY [];
    /// How long reverse DNS queries took to be answered.
    sample Milliseconds "dns.ptr_query" => DNS_PTR_QUERY [];
    /// Questions for a service's mesh endpoints with their health that this agent answered.
    counter Count "health.connect.query" => HEALTH_CONNECT_QUERY [];
    /// Questions for a service's instances with their health that this agent answered.
    counter Count "health.service.query" => HEALTH_SERVICE_QUERY [];
    /// How long writing an intention took until it was applied.
    sample Milliseconds "intention.apply" => INTENTION_APPLY [];
    /// How long writing a key took until it was applied.
    sample Milliseconds "kvs.apply" => KVS_APPLY [];
    /// How long the leader took to bring the catalog to what gossip says of the members.
    sample Milliseconds "leader.reconcile" => LEADER_RECONCILE [];
    /// Log lines that were dropped because the queue was full or the output failed.
    counter Count "lictor.log.dropped_lines" => (log::DROPPED_LINES) [];
    /// Panics that were caught, by the task that they were caught in.
    counter Count "lictor.panics" => PANICS ["task"];
    /// Packets for statsd or DogStatsD that could not be sent.
    counter Count "lictor.statsd.send_errors" => (statsd::SEND_ERRORS) [];
    /// Tasks that were started again after they had ended unexpectedly.
    counter Count "lictor.task.restarts" => (task::RESTARTS) ["task"];
    /// Alive agents of the datacenter that are clients. Of servers only.
    gauge Count "members.clients" => MEMBERS_CLIENTS ["datacenter"];
    /// Alive agents of the datacenter that are servers. Of servers only.
    gauge Count "members.servers" => MEMBERS_SERVERS ["datacenter"];
    /// Index of the last log entry that is applied here.
    gauge Count "raft.applied_index" => RAFT_APPLIED_INDEX [];
    /// Commands that this server proposed as the leader and that were committed.
    counter Count "raft.apply" => (consensus::PROPOSALS) [];
    /// How long a batch of log entries took to be durable on this server's disk.
    sample Milliseconds "raft.boltdb.storeLogs" => (consensus::LOG_WRITE_TIMES) [];
    /// How long a command took at the leader from its proposal until it was committed and applied.
    sample Milliseconds "raft.commitTime" => (consensus::COMMIT_TIMES) [];
    /// How long a committed command took to change the state.
    sample Milliseconds "raft.fsm.apply" => (consensus::APPLY_TIMES) [];
    /// Index of the last entry in this server's log.
    gauge Count "raft.last_index" => RAFT_LAST_INDEX [];
    /// How long ago each other server answered the leader, noted once a window.
    sample Milliseconds "raft.leader.lastContact" => RAFT_LEADER_LAST_CONTACT [];
    /// Servers that take part in Raft, those that do not vote included.
    gauge Count "raft.peers" => RAFT_PEERS [];
    /// How long a snapshot took to be encoded and durable on this server's disk.
    sample Milliseconds "raft.snapshot.takeSnapshot" => (consensus::SNAPSHOT_TIMES) [];
    /// Times that this server became the leader.
    counter Count "raft.state.leader" => RAFT_STATE_LEADER [];
    /// Requests that this server forwarded to a server of another datacenter, every attempt counted.
    counter Count "rpc.cross-dc" => RPC_CROSS_DC ["datacenter"];
    /// Readers that wait for a change of the state: blocking queries, followed views, own tasks.
    gauge Count "rpc.queries_blocking" => RPC_QUERIES_BLOCKING [];
    /// Reads of the state that this server answered.
    counter Count "rpc.query" => RPC_QUERY [];
    /// Requests that other agents forwarded to this server.
    counter Count "rpc.request" => RPC_REQUEST [];
    /// Such requests that were answered with an error of the server.
    counter Count "rpc.request_error" => RPC_REQUEST_ERROR [];
    /// Bytes of resident memory that no file is behind: heap and stacks.
    gauge Bytes "runtime.alloc_bytes" => RUNTIME_ALLOC_BYTES [];
    /// Tasks of the runtime that are alive. The name is that of Go's lightweight threads.
    gauge Count "runtime.num_goroutines" => RUNTIME_NUM_GOROUTINES [];
    /// Bytes of resident memory, the program itself included.
    gauge Bytes "runtime.sys_bytes" => RUNTIME_SYS_BYTES [];
    /// User events that concern this agent.
    counter Count "serf.events" => SERF_EVENTS [];
    /// Members of the LAN pool that failed, as this agent saw it.
    counter Count "serf.member.failed" => SERF_MEMBER_FAILED [];
    /// Members that joined the LAN pool or came back to it, as this agent saw it.
    counter Count "serf.member.join" => SERF_MEMBER_JOIN [];
    /// Members that left the LAN pool, as this agent saw it.
    counter Count "serf.member.left" => SERF_MEMBER_LEFT [];
    /// Whether this server leads. Of servers only.
    gauge Flag "server.isLeader" => SERVER_IS_LEADER [];
    /// How long creating or ending a session took until it was applied.
    sample Milliseconds "session.apply" => SESSION_APPLY [];
    /// How long renewing a session took.
    sample Milliseconds "session.renew" => SESSION_RENEW [];
    /// Sessions whose time the leader counts. 0 on other servers.
    gauge Count "session_ttl.active" => SESSION_TTL_ACTIVE [];
    /// Keys. Of servers only.
    gauge Count "state.kv_entries" => STATE_KV_ENTRIES ["datacenter"];
    /// Nodes in the catalog. Of servers only.
    gauge Count "state.nodes" => STATE_NODES ["datacenter"];
    /// Service instances in the catalog. Of servers only.
    gauge Count "state.service_instances" => STATE_SERVICE_INSTANCES ["datacenter"];
    /// Names of services in the catalog. Of servers only.
    gauge Count "state.services" => STATE_SERVICES ["datacenter"];
    /// How long a transaction that writes took until it was applied.
    sample Milliseconds "txn.apply" => TXN_APPLY [];
    /// 1, with the version of Consul whose API this agent has.
    gauge Flag "version" => VERSION ["version"];
}
