//! Decides what a reload may change: compares two configurations field by field.
//!
//! INVARIANT: every field of the runtime configuration is classed here; a new one does not compile
//! until it is. The class agrees with the table of keys (a test compares them), so the reference
//! page is correct. A reload that changes what only a restart can change is rejected as a whole:
//! applied in part, it would leave the old value in Raft, gossip and certificates, and the new one
//! in the catalog.

mod derived;

use super::runtime::{
    self, AutoEncrypt, Connect, Gossip, Limits, Log, Performance, Raft, RuntimeConfig, Telemetry,
    Tls, TlsProtocol,
};

/// A reload changes keys that cannot change while the agent runs; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} cannot change while the agent runs; restart the agent to change {}, or restore the old \
     {} and reload again; nothing was changed",
    .keys.join(", "), if .keys.len() == 1 { "it" } else { "them" },
    if .keys.len() == 1 { "value" } else { "values" }
)]
pub struct RestartNeeded {
    /// The keys, as written in files; never empty.
    pub keys: Vec<&'static str>,
}

/// Keys that differ between two configurations and that a reload does not apply.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    restart: Vec<&'static str>,
    next_start: Vec<&'static str>,
}

/// Checks whether a reload from `old` to `new` is possible. Returns the changed keys that take
/// effect only at the next start, for a log line.
///
/// # Errors
/// [`RestartNeeded`] names every key that needs a restart.
pub fn check_reload(
    old: &RuntimeConfig,
    new: &RuntimeConfig,
) -> Result<Vec<&'static str>, RestartNeeded> {
    let changes = changes(old, new);
    if changes.restart.is_empty() {
        Ok(changes.next_start)
    } else {
        Err(RestartNeeded { keys: changes.restart })
    }
}

/// Adds the keys of fields that differ. The pattern without `..` makes a missing field a compile
/// error. Fields in `elsewhere` are live, or compared by the caller.
macro_rules! compare {
    ($struct:ident($old:expr, $new:expr) => $changes:expr;
        restart { $($restart:ident: $restart_key:literal,)* }
        next_start { $($next:ident: $next_key:literal,)* }
        elsewhere { $($elsewhere:ident,)* }
    ) => {
        let $struct { $($restart: _,)* $($next: _,)* $($elsewhere: _,)* } = $old;
        $(if $old.$restart != $new.$restart {
            $changes.restart.push($restart_key);
        })*
        $(if $old.$next != $new.$next {
            $changes.next_start.push($next_key);
        })*
    };
}

/// Returns the keys that differ, by when they take effect.
fn changes(old: &RuntimeConfig, new: &RuntimeConfig) -> Changes {
    let mut changes = Changes::default();
    compare! { RuntimeConfig(old, new) => changes;
        restart {
            node_name: "node_name",
            node_id: "node_id",
            datacenter: "datacenter",
            server: "server",
            data_dir: "data_dir",
            bind_addr: "bind_addr",
            server_port: "ports.server",
            serf_lan_port: "ports.serf_lan",
            kubernetes: "kubernetes",
        }
        next_start {
            autopilot: "autopilot",
        }
        elsewhere {
            // Compared below.
            primary_datacenter, bootstrap_expect, advertise_addr, advertise_addr_wan,
            serf_lan_bind, serf_wan_bind, serf_wan_port, snapshots, join, gossip, listen,
            performance, raft, connect, tls, auto_encrypt, log, limits, telemetry,
            // Read at every use, or replaced by a reload.
            node_meta, domain, alt_domain, tagged_addresses, queries, session_ttl_min,
            translate_wan_addrs, sidecar_ports, dns, services, checks,
            enable_local_script_checks, enable_remote_script_checks, check_update_interval,
            leave_on_terminate, skip_leave_on_interrupt, enable_debug, ui_enabled,
            // Flags, which do not change, and facts about one reading of the files.
            dev, pretty_json, sources, warnings,
        }
    }
    derived::defaults(old, new, &mut changes);
    depend_on_the_role(old, new, &mut changes);
    derived::listeners(&old.listen, &new.listen, old.server == new.server, &mut changes);
    blocks(old, new, &mut changes);
    tls(old, new, &mut changes);
    changes
}

/// Compares settings that only servers have, unless the role changes with them.
fn depend_on_the_role(old: &RuntimeConfig, new: &RuntimeConfig, changes: &mut Changes) {
    if old.server != new.server {
        return;
    }
    if old.bootstrap_expect != new.bootstrap_expect {
        changes.restart.push("bootstrap_expect");
    }
    if old.serf_wan_port != new.serf_wan_port {
        changes.restart.push("ports.serf_wan");
    }
}

/// Compares the blocks that are partly live.
fn blocks(old: &RuntimeConfig, new: &RuntimeConfig, changes: &mut Changes) {
    join(old, new, changes);
    compare! { Gossip(&old.gossip, &new.gossip) => changes;
        restart {
            encrypt: "encrypt",
            verify_incoming: "encrypt_verify_incoming",
            verify_outgoing: "encrypt_verify_outgoing",
            disable_keyring_file: "disable_keyring_file",
            reconnect_timeout: "reconnect_timeout",
            reconnect_timeout_wan: "reconnect_timeout_wan",
        }
        next_start {}
        elsewhere {}
    }
    compare! { Performance(&old.performance, &new.performance) => changes;
        restart {
            raft_multiplier: "performance.raft_multiplier",
            rpc_hold_timeout: "performance.rpc_hold_timeout",
        }
        next_start {}
        elsewhere { leave_drain_time, }
    }
    compare! { Raft(&old.raft, &new.raft) => changes;
        restart {
            snapshot_threshold: "raft_snapshot_threshold",
            snapshot_interval: "raft_snapshot_interval",
            trailing_logs: "raft_trailing_logs",
        }
        next_start {}
        elsewhere {}
    }
    compare! { Connect(&old.connect, &new.connect) => changes;
        restart { enabled: "connect.enabled", }
        next_start { ca: "connect.ca_config", }
        elsewhere { default_allow, }
    }
    compare! { Log(&old.log, &new.log) => changes;
        restart { json: "log_json", }
        next_start {}
        elsewhere { level, }
    }
    compare! { Limits(&old.limits, &new.limits) => changes;
        restart {
            rpc_handshake_timeout: "limits.rpc_handshake_timeout",
            rpc_max_conns_per_client: "limits.rpc_max_conns_per_client",
        }
        next_start {}
        elsewhere {
            http_max_conns_per_client, kv_max_value_bytes, https_handshake_timeout, rpc_rate,
        }
    }
    compare! { Telemetry(&old.telemetry, &new.telemetry) => changes;
        restart {
            prometheus_retention: "telemetry.prometheus_retention_time",
            disable_hostname: "telemetry.disable_hostname",
            metrics_prefix: "telemetry.metrics_prefix",
            statsd_address: "telemetry.statsd_address",
            dogstatsd_address: "telemetry.dogstatsd_addr",
            dogstatsd_tags: "telemetry.dogstatsd_tags",
        }
        next_start {}
        elsewhere { prefix_filter, filter_default, }
    }
}

/// Compares the settings of joining, which are only read at start.
fn join(old: &RuntimeConfig, new: &RuntimeConfig, changes: &mut Changes) {
    let (old, new) = (&old.join, &new.join);
    for (key, differs) in [
        ("retry_join", old.lan.targets != new.lan.targets),
        ("retry_interval", old.lan.interval != new.lan.interval),
        ("retry_max", old.lan.max != new.lan.max),
        ("retry_join_wan", old.wan.targets != new.wan.targets),
        ("retry_interval_wan", old.wan.interval != new.wan.interval),
        ("retry_max_wan", old.wan.max != new.wan.max),
        ("rejoin_after_leave", old.rejoin_after_leave != new.rejoin_after_leave),
        ("server_rejoin_age_max", old.server_rejoin_age_max != new.server_rejoin_age_max),
    ] {
        if differs {
            changes.next_start.push(key);
        }
    }
}

/// Compares TLS and `auto_encrypt`.
fn tls(old: &RuntimeConfig, new: &RuntimeConfig, changes: &mut Changes) {
    compare! { Tls(&old.tls, &new.tls) => changes;
        restart {
            auto: "tls.auto",
            auto_names: "tls.auto_names",
        }
        next_start {}
        // Files and rules are loaded again and replaced.
        elsewhere { internal_rpc, https, grpc, verify_server_hostname, }
    }
    compare! { AutoEncrypt(&old.auto_encrypt, &new.auto_encrypt) => changes;
        restart {
            tls: "auto_encrypt.tls",
            allow_tls: "auto_encrypt.allow_tls",
            dns_san: "auto_encrypt.dns_san",
            ip_san: "auto_encrypt.ip_san",
        }
        next_start {}
        elsewhere {}
    }
    // Whether the task that renews the mesh's certificate runs is decided when the agent starts.
    let given = |protocol: &TlsProtocol| protocol.cert_file.is_some();
    for (key, old, new, mesh_serves) in [
        ("tls.https.cert_file", &old.tls.https, &new.tls.https, old.server && old.tls.auto),
        ("tls.grpc.cert_file", &old.tls.grpc, &new.tls.grpc, old.server),
    ] {
        let (before, after) = (given(old), given(new));
        if (before && !after) || (!before && after && mesh_serves) {
            changes.restart.push(key);
        }
    }
}
