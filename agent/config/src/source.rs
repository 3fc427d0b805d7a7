//! Declares every key of configuration files and flags, all of them optional.
//!
//! This is the top level of the table of keys (see `keys.rs`); blocks are in the files below. Key
//! names are Consul's ("Agent configuration file reference"); case and underscores do not matter on
//! input. `files.rs` rejects unknown keys. Keys marked `ignored` are accepted so that an agent
//! starts with existing files; a warning at start names those that an operator may rely on.

use std::collections::BTreeMap;

use lictor_api::{
    GoDuration,
    types::agent::{CheckDefinition, ServiceDefinition},
    wire::one_or_many,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::{self, KeyType, Kind};

mod cluster;
mod dns;
mod limits;
mod listen;
mod mesh;
mod telemetry;
mod tls;
mod ui;

pub use super::secret::Secret;
pub use cluster::{AutoEncryptSource, AutopilotSource, PerformanceSource, SnapshotSource};
pub use dns::{DnsConfig, SoaSource};
pub use limits::LimitsSource;
pub use listen::{Addresses, Ports};
pub use mesh::{CaConfigSource, ConnectSource, KubernetesSource};
pub use telemetry::TelemetrySource;
pub use tls::{TlsFiles, TlsSource};
pub use ui::UiSource;

section! {
    /// One configuration file, the flags, or all of them merged.
    Source {
        "This agent" {
            /// Name of the agent's node in the catalog, in DNS and in gossip.
            node_name: Option<String> {
                default: "the host name", bounds: "not empty", reload: Restart,
                example: r#""n1""#
            },
            /// UUID of the node. Without it a random one is made and kept in the data directory.
            node_id: Option<String> {
                default: "random", bounds: "a UUID", reload: Restart,
                example: r#""0d1b2ad7-8e6e-4a3c-9a59-0f0c0f3b2a11""#
            },
            /// Free key/value pairs of the node, shown by the catalog and used by filters and
            /// `near`-style queries.
            node_meta: BTreeMap<String, String> {
                default: "none",
                bounds: "at most 64 pairs; keys of 1 to 128 bytes, not beginning with `consul-`; values of at most 512 bytes",
                reload: Live, example: r#"{"rack":"r7"}"#
            },
            /// Datacenter that the agent is in; in lower case.
            datacenter: Option<String> {
                default: "dc1", bounds: "letters, digits, `-` and `_`", reload: Restart,
                example: r#""home""#
            },
            /// Datacenter whose certificate authority and intentions count for all. Shown by the
            /// API; there is no replication between datacenters yet.
            primary_datacenter: Option<String> {
                default: "`datacenter`", bounds: "letters, digits, `-` and `_`", reload: Restart,
                example: r#""main""#
            },
            /// Runs a server, which keeps the cluster's state, instead of a client agent.
            server: Option<bool> {
                default: "false; true with `-dev`", bounds: "none", reload: Restart,
                example: "true"
            },
            /// Directory for everything that outlives a restart.
            data_dir: Option<String> {
                default: "none; `-dev` keeps everything in memory",
                bounds: "required without `-dev`; not shared with another agent",
                reload: Restart, example: r#""/var/lib/lictor""#
            },
            /// Makes a SIGTERM leave the cluster instead of only stopping the agent.
            leave_on_terminate: Option<bool> {
                default: "true on clients, false on servers", bounds: "none", reload: Live,
                example: "true"
            },
            /// Makes a SIGINT only stop the agent instead of leaving the cluster.
            skip_leave_on_interrupt: Option<bool> {
                default: "false on clients, true on servers", bounds: "none", reload: Live,
                example: "false"
            },
            /// Serves debug endpoints. Shown by the API; there are none yet.
            enable_debug: Option<bool> {
                default: "false; true with `-dev`", bounds: "none", reload: Live, example: "true"
            },
            /// Lowest level of log lines.
            log_level: Option<String> {
                default: "info; debug with `-dev`",
                bounds: "`trace`, `debug`, `info`, `warn`, `error` or `err`, in any case",
                reload: Live, example: r#""WARN""#
            },
            /// Writes log lines as JSON instead of text.
            log_json: Option<bool> {
                default: "false", bounds: "none", reload: Restart, example: "true"
            },
            /// Bounds on what clients may use.
            limits: LimitsSource { block },
            /// Metrics and where they are sent.
            telemetry: TelemetrySource { block },
            /// The web UI.
            ui_config: UiSource { block },
            /// Turns on the web UI.
            ui: Option<bool> { older_spelling_of: "ui_config.enabled", example: "true" },
            /// Directory of the web UI's files, which are built in; the agent warns that it is
            /// deprecated.
            ui_dir: Option<String> { ignored, example: r#""/ui""# },
        }
        "Addresses" {
            /// Address that server RPC and gossip listen on.
            bind_addr: Option<String> {
                default: "0.0.0.0; 127.0.0.1 with `-dev`", bounds: "an IP address",
                reload: Restart, example: r#""192.0.2.1""#
            },
            /// Addresses that HTTP, DNS and gRPC listen on, separated by blanks.
            client_addr: Option<String> {
                default: "127.0.0.1", bounds: "IP addresses; `unix://` paths for HTTP",
                reload: Restart, example: r#""192.0.2.1 127.0.0.1""#
            },
            /// Address that other agents reach this one under.
            advertise_addr: Option<String> {
                default: "`bind_addr`, or the machine's only private IPv4 address if that is 0.0.0.0",
                bounds: "an IP address other than 0.0.0.0 and ::", reload: Restart,
                example: r#""192.0.2.2""#
            },
            /// The same, for IPv4; the second choice after `advertise_addr`.
            advertise_addr_ipv4: Option<String> {
                default: "none", bounds: "an IPv4 address", reload: Restart,
                example: r#""192.0.2.3""#
            },
            /// The same, for IPv6; the third choice.
            advertise_addr_ipv6: Option<String> {
                default: "none", bounds: "an IPv6 address", reload: Restart,
                example: r#""2001:db8::3""#
            },
            /// Address that servers of other datacenters reach this one under.
            advertise_addr_wan: Option<String> {
                default: "`advertise_addr`", bounds: "an IP address other than 0.0.0.0 and ::",
                reload: Restart, example: r#""198.51.100.2""#
            },
            /// The same, for IPv4; the second choice after `advertise_addr_wan`.
            advertise_addr_wan_ipv4: Option<String> {
                default: "none", bounds: "an IPv4 address", reload: Restart,
                example: r#""198.51.100.3""#
            },
            /// The same, for IPv6; the third choice.
            advertise_addr_wan_ipv6: Option<String> {
                default: "none", bounds: "an IPv6 address", reload: Restart,
                example: r#""2001:db8::4""#
            },
            /// Answers with WAN addresses where another datacenter is asked about.
            translate_wan_addrs: Option<bool> {
                default: "false", bounds: "none", reload: Live, example: "true"
            },
            /// Extra tagged addresses of the node, beside `lan` and `wan`.
            tagged_addresses: BTreeMap<String, String> {
                default: "none", bounds: "none", reload: Live, example: r#"{"vpn":"203.0.113.9"}"#
            },
            /// Address that LAN gossip listens on.
            serf_lan: Option<String> {
                default: "`bind_addr`", bounds: "an IP address", reload: Restart,
                example: r#""192.0.2.4""#
            },
            /// Address that WAN gossip listens on.
            serf_wan: Option<String> {
                default: "`bind_addr`", bounds: "an IP address", reload: Restart,
                example: r#""192.0.2.5""#
            },
            /// Listening addresses of single protocols.
            addresses: Addresses { block },
            /// Ports of protocols.
            ports: Ports { block },
        }
        "Starting and joining a cluster" {
            /// Elects this server leader at once; `bootstrap_expect: 1` says the same.
            bootstrap: Option<bool> {
                default: "false", bounds: "servers only; not with `bootstrap_expect`",
                reload: Restart, example: "true"
            },
            /// Servers that wait for each other before the first election. With 0 the server starts
            /// no cluster and waits until it is joined to one. Without effect once there is data.
            bootstrap_expect: Option<i32> {
                default: "0; 1 with `-dev`", bounds: "0 or more; servers only; an odd number is advised",
                reload: Restart, example: "3"
            },
            /// Agents to join, one or a list, tried until one of them is reached. Host names are looked
            /// up again at each attempt; `provider=k8s label_selector=… namespace=…` finds pods.
            #[serde(deserialize_with = "one_or_many")]
            retry_join: Vec<String> {
                default: "none", bounds: "hosts, addresses, or `provider=k8s …`", reload: NextStart,
                example: r#"["10.0.0.9","n2.example:8301"]"#
            },
            /// Agents to join.
            #[serde(deserialize_with = "one_or_many")]
            start_join: Vec<String> {
                older_spelling_of: "retry_join", example: r#"["10.0.0.8"]"#
            },
            /// Pause between two attempts to join.
            retry_interval: Option<GoDuration> {
                default: "30s", bounds: "at least 1s", reload: NextStart, example: r#""15s""#
            },
            /// Attempts before the agent gives up and exits.
            retry_max: Option<i64> {
                default: "0, which is no limit", bounds: "0 or more", reload: NextStart,
                example: "7"
            },
            /// Servers of other datacenters to join, one or a list.
            #[serde(deserialize_with = "one_or_many")]
            retry_join_wan: Vec<String> {
                default: "none", bounds: "as `retry_join`", reload: NextStart,
                example: r#"["198.51.100.9"]"#
            },
            /// Servers of other datacenters to join.
            #[serde(deserialize_with = "one_or_many")]
            start_join_wan: Vec<String> {
                older_spelling_of: "retry_join_wan", example: r#"["198.51.100.8"]"#
            },
            /// Pause between two attempts to join over the WAN.
            retry_interval_wan: Option<GoDuration> {
                default: "30s", bounds: "at least 1s", reload: NextStart, example: r#""20s""#
            },
            /// Attempts over the WAN before the agent gives up and exits.
            retry_max_wan: Option<i64> {
                default: "0, which is no limit", bounds: "0 or more", reload: NextStart,
                example: "9"
            },
            /// Joins the members known before a `leave` when the agent starts again.
            rejoin_after_leave: Option<bool> {
                default: "false", bounds: "none", reload: NextStart, example: "true"
            },
            /// A server that was stopped for longer than this does not start again: the cluster may
            /// have removed it.
            server_rejoin_age_max: Option<GoDuration> {
                default: "168h", bounds: "at least 6h", reload: NextStart, example: r#""72h""#
            },
        }
        "Gossip" {
            /// Key that encrypts gossip, as `lictor keygen` prints it. Where the data directory holds
            /// a keyring, the keyring is used instead.
            encrypt: Option<Secret> {
                default: "none: gossip is plain text", bounds: "16, 24 or 32 bytes in base64",
                reload: Restart, example: r#""pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=""#
            },
            /// Refuses gossip in plain text when there is a key.
            encrypt_verify_incoming: Option<bool> {
                default: "true", bounds: "none", reload: Restart, example: "false"
            },
            /// Sends no gossip in plain text when there is a key.
            encrypt_verify_outgoing: Option<bool> {
                default: "true", bounds: "none", reload: Restart, example: "false"
            },
            /// Keeps gossip keys in memory only, so that changes made with `keyring` are lost at a
            /// restart.
            disable_keyring_file: Option<bool> {
                default: "false; true with `-dev`", bounds: "none", reload: Restart,
                example: "true"
            },
            /// How long a failed member is contacted before it is forgotten. Below 8h there is a
            /// warning: a network outage that lasts longer splits the pool.
            reconnect_timeout: Option<GoDuration> {
                default: "72h", bounds: "at least 1s; 8h or more is safe", reload: Restart,
                example: r#""24h""#
            },
            /// The same for the WAN pool.
            reconnect_timeout_wan: Option<GoDuration> {
                default: "72h", bounds: "at least 1s; 8h or more is safe", reload: Restart,
                example: r#""36h""#
            },
        }
        "Servers" {
            /// Timing of elections, leaves and waits for a leader.
            performance: PerformanceSource { block },
            /// First autopilot settings of a new cluster.
            autopilot: AutopilotSource { block },
            /// Log entries between two snapshots of the state.
            raft_snapshot_threshold: Option<i64> {
                default: "8192", bounds: "at least 1", reload: Restart, example: "4096"
            },
            /// Shortest time between two snapshots of the state.
            raft_snapshot_interval: Option<GoDuration> {
                default: "30s", bounds: "0s or more", reload: Restart, example: r#""45s""#
            },
            /// Log entries kept behind a snapshot, so that a server that was away for a moment needs
            /// no snapshot.
            raft_trailing_logs: Option<i64> {
                default: "10240", bounds: "0 or more", reload: Restart, example: "2048"
            },
            /// Snapshots on a schedule.
            snapshot: Option<SnapshotSource> { block },
            /// Shortest TTL that a session may have.
            session_ttl_min: Option<GoDuration> {
                default: "10s", bounds: "0s or more", reload: Live, example: r#""20s""#
            },
            /// How long a blocking query waits that does not say so itself. More than
            /// `max_query_time` is taken as that.
            default_query_time: Option<GoDuration> {
                default: "5m", bounds: "at least 1s", reload: Live, example: r#""2m""#
            },
            /// How long a blocking query waits at most; longer waits are shortened.
            max_query_time: Option<GoDuration> {
                default: "10m", bounds: "at least 1s", reload: Live, example: r#""8m""#
            },
        }
        "Services and checks" {
            /// One service of this agent.
            service: Option<ServiceDefinition> {
                default: "none", bounds: "as in `agent/service/register`", reload: Live,
                example: r#"{"name":"web","port":80}"#
            },
            /// Services of this agent; several files add up.
            services: Vec<ServiceDefinition> {
                default: "none", bounds: "as in `agent/service/register`", reload: Live,
                example: r#"[{"name":"db","port":5432}]"#
            },
            /// One check of this agent.
            check: Option<CheckDefinition> {
                default: "none", bounds: "as in `agent/check/register`", reload: Live,
                example: r#"{"name":"beat","ttl":"30s"}"#
            },
            /// Checks of this agent; several files add up.
            checks: Vec<CheckDefinition> {
                default: "none", bounds: "as in `agent/check/register`", reload: Live,
                example: r#"[{"name":"disk","ttl":"60s"}]"#
            },
            /// Runs script checks that configuration files declare.
            enable_local_script_checks: Option<bool> {
                default: "false", bounds: "none", reload: Live, example: "true"
            },
            /// Runs script checks that configuration files declare or the HTTP API registers: every
            /// client that can write to the API can then run commands.
            enable_script_checks: Option<bool> {
                default: "false", bounds: "none", reload: Live, example: "true"
            },
            /// How long a change of a check's output alone may wait before it is written to the
            /// catalog.
            check_update_interval: Option<GoDuration> {
                default: "5m", bounds: "0s or more", reload: Live, example: r#""3m""#
            },
        }
        "Mesh and TLS" {
            /// The mesh and its certificate authority.
            connect: ConnectSource { block },
            /// Decides about connections that no intention matches.
            default_intention_policy: Option<String> {
                default: "allow", bounds: "`allow` or `deny`", reload: Live, example: r#""deny""#
            },
            /// The Kubernetes cluster that the servers run in.
            kubernetes: Option<KubernetesSource> { block },
            /// TLS of server RPC, HTTPS and gRPC.
            tls: TlsSource { block },
            /// Certificates of client agents from the servers.
            auto_encrypt: AutoEncryptSource { block },
            /// Certificate, PEM.
            cert_file: Option<String> {
                older_spelling_of: "tls.defaults.cert_file", example: r#""/old/cert.pem""#
            },
            /// Private key, PEM.
            key_file: Option<String> {
                older_spelling_of: "tls.defaults.key_file", example: r#""/old/key.pem""#
            },
            /// Trusted authorities, PEM.
            ca_file: Option<String> {
                older_spelling_of: "tls.defaults.ca_file", example: r#""/old/ca.pem""#
            },
            /// Directory of trusted authorities.
            ca_path: Option<String> {
                older_spelling_of: "tls.defaults.ca_path", example: r#""/old/ca""#
            },
            /// Requires client certificates.
            verify_incoming: Option<bool> {
                older_spelling_of: "tls.defaults.verify_incoming", example: "true"
            },
            /// Requires client certificates of HTTPS.
            verify_incoming_https: Option<bool> {
                older_spelling_of: "tls.https.verify_incoming", example: "true"
            },
            /// Requires client certificates of server RPC.
            verify_incoming_rpc: Option<bool> {
                older_spelling_of: "tls.internal_rpc.verify_incoming", example: "true"
            },
            /// Speaks TLS to servers.
            verify_outgoing: Option<bool> {
                older_spelling_of: "tls.defaults.verify_outgoing", example: "true"
            },
            /// Checks the name of servers.
            verify_server_hostname: Option<bool> {
                older_spelling_of: "tls.internal_rpc.verify_server_hostname", example: "true"
            },
            /// Oldest version of TLS that is spoken.
            tls_min_version: Option<String> {
                older_spelling_of: "tls.defaults.tls_min_version", example: r#""tls12""#
            },
        }
        "DNS" {
            /// Domain that DNS answers for; dots at its ends and case do not matter.
            domain: Option<String> {
                default: "consul", bounds: "a DNS name; labels of 1 to 63 bytes", reload: Live,
                example: r#""mesh.example""#
            },
            /// Second domain that DNS answers for.
            alt_domain: Option<String> {
                default: "none", bounds: "a DNS name; labels of 1 to 63 bytes", reload: Live,
                example: r#""alt.example""#
            },
            /// Servers that questions about other domains are forwarded to, in this order.
            recursors: Vec<String> {
                default: "none: such questions are refused",
                bounds: "IP addresses, with or without a port", reload: Live,
                example: r#"["192.0.2.53"]"#
            },
            /// How DNS answers.
            dns_config: DnsConfig { block },
        }
        "Without effect" {
            /// Access control lists. There are none yet: every request is allowed.
            acl: Option<Value> { ignored, warn_if_set, example: r#"{"enabled":true}"# },
            /// Audit log, a feature of Consul Enterprise.
            audit: Option<Value> { ignored, example: r#"{"enabled":true}"# },
            /// Configuration of client agents from the servers.
            auto_config: Option<Value> { ignored, warn_if_set, example: r#"{"enabled":true}"# },
            /// HashiCorp's cloud.
            cloud: Option<Value> { ignored, example: r#"{"resource_id":"x"}"# },
            /// Config entries that a new cluster starts with.
            config_entries: Option<Value> {
                ignored, warn_if_set, example: r#"{"bootstrap":[{"kind":"mesh"}]}"#
            },
            /// Node IDs are always random; `false`, which derives them from the machine, gets a
            /// warning.
            disable_host_node_id: Option<bool> { ignored, example: "true" },
            /// There is no remote execution.
            disable_remote_exec: Option<Value> { ignored, example: "true" },
            /// The agent never looks for updates.
            disable_update_check: Option<Value> { ignored, example: "true" },
            /// Drops the output of checks.
            discard_check_output: Option<Value> { ignored, example: "true" },
            /// Experimental features of Consul.
            experiments: Option<Value> { ignored, example: r#"["x"]"# },
            /// Rules for the HTTP API.
            http_config: Option<Value> {
                ignored, warn_if_set, example: r#"{"block_endpoints":["/v1/agent"]}"#
            },
            /// Region and zone of the agent.
            locality: Option<Value> { ignored, example: r#"{"region":"r"}"# },
            /// File for log lines; they go to standard output.
            log_file: Option<Value> { ignored, warn_if_set, example: r#""/var/log/x""# },
            /// Cluster peering.
            peering: Option<Value> { ignored, example: r#"{"enabled":true}"# },
            /// File for the process ID.
            pid_file: Option<Value> { ignored, warn_if_set, example: r#""/run/x.pid""# },
            /// Version of the gossip protocol; there is one.
            protocol: Option<Value> { ignored, example: "3" },
            /// Storage engine of the Raft log; there is one.
            raft_logstore: Option<Value> { ignored, example: r#"{"backend":"wal"}"# },
            /// Version of the Raft protocol; there is one.
            raft_protocol: Option<Value> { ignored, example: "3" },
            /// Network segment, a feature of Consul Enterprise.
            segment: Option<Value> { ignored, example: r#""a""# },
            /// Network segments, a feature of Consul Enterprise.
            segments: Option<Value> { ignored, example: r#"[{"name":"a"}]"# },
            /// Networks that LAN members may come from. The gossip key protects the pools.
            serf_lan_allowed_cidrs: Option<Value> {
                ignored, warn_if_set, example: r#"["192.0.2.0/24"]"#
            },
            /// Networks that WAN members may come from. The gossip key protects the pools.
            serf_wan_allowed_cidrs: Option<Value> {
                ignored, warn_if_set, example: r#"["198.51.100.0/24"]"#
            },
            /// COMPAT: written by the test harness of Consul's Go client.
            version: Option<Value> { ignored, example: r#""1.0""# },
            /// Commands to run when something changes.
            watches: Option<Value> {
                ignored, warn_if_set, example: r#"[{"type":"key","key":"x"}]"#
            },
        }
    }
}

impl Source {
    /// Returns the keys that are set but have no effect, and that an operator may rely on.
    pub fn without_effect(&self) -> Vec<String> {
        let written = serde_json::to_value(self).expect("a source holds only what JSON can hold");
        Self::table()
            .rows()
            .into_iter()
            .filter(|row| row.key.kind == Kind::Ignored { warn_if_set: true })
            .filter(|row| is_set(row.value_in(&written)))
            .map(|row| row.dotted())
            .collect()
    }

    /// Returns the table of all keys.
    pub fn table() -> &'static keys::Section {
        Self::section().expect("the whole file is a section")
    }
}

/// Returns whether a value sets anything: the Go test harness writes empty blocks.
fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Object(members)) => members.values().any(|member| is_set(Some(member))),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}
