//! Builds the settings of joining, gossip, timing, autopilot and snapshots.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use lictor_api::GoDuration;

use super::{
    ConfigError, addresses,
    runtime::{
        Autopilot, Gossip, GossipKey, Join, JoinPool, Performance, Queries, Raft, Snapshots,
    },
    source::{AutopilotSource, PerformanceSource, Secret, SnapshotSource, Source},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// The minimum that Consul requires; a shorter one is accepted with a warning.
const MIN_SAFE_RECONNECT_TIMEOUT: Duration = Duration::from_secs(8 * 3600);

/// Returns the address that a pool listens on; the default is `bind`.
pub(super) fn pool_address(
    key: &str,
    given: Option<&str>,
    bind: IpAddr,
) -> Result<IpAddr, ConfigError> {
    match given.filter(|text| !text.is_empty()) {
        Some(text) => addresses::parse_ip(key, text),
        None => Ok(bind),
    }
}

/// Returns the port of WAN gossip; 0 on clients, which are in no WAN pool.
pub(super) fn wan_port(given: Option<i32>, server: bool) -> Result<u16, ConfigError> {
    let port = addresses::port("ports.serf_wan", given, 8302)?.unwrap_or(0);
    Ok(if server { port } else { 0 })
}

pub(super) fn join(source: &Source) -> Result<Join, ConfigError> {
    let pool = |suffix: &str,
                lists: [&Vec<String>; 2],
                interval: Option<GoDuration>,
                max: Option<i64>|
     -> Result<JoinPool, ConfigError> {
        let targets: Vec<String> =
            lists.into_iter().flatten().map(|target| target.trim().to_owned()).collect();
        for target in &targets {
            check_target(&format!("retry_join{suffix}"), target)?;
        }
        Ok(JoinPool {
            targets,
            interval: at_least(
                &format!("retry_interval{suffix}"),
                interval,
                Duration::from_secs(30),
                SECOND,
            )?,
            max: count(&format!("retry_max{suffix}"), max, 0)?,
        })
    };
    Ok(Join {
        lan: pool(
            "",
            [&source.retry_join, &source.start_join],
            source.retry_interval,
            source.retry_max,
        )?,
        wan: pool(
            "_wan",
            [&source.retry_join_wan, &source.start_join_wan],
            source.retry_interval_wan,
            source.retry_max_wan,
        )?,
        rejoin_after_leave: source.rejoin_after_leave.unwrap_or(false),
        server_rejoin_age_max: at_least(
            "server_rejoin_age_max",
            source.server_rejoin_age_max,
            168 * HOUR,
            6 * HOUR,
        )?,
    })
}

/// Checks that a target is a host or names a known provider.
fn check_target(key: &str, target: &str) -> Result<(), ConfigError> {
    if target.is_empty() {
        return Err(ConfigError::invalid(key, "has an empty entry"));
    }
    let provider = target.split_whitespace().find_map(|word| word.strip_prefix("provider="));
    match provider {
        Some("k8s") => Ok(()),
        Some(other) => Err(ConfigError::invalid(
            key,
            format!("has provider {other:?}; \"k8s\" is the only one"),
        )),
        None if target.contains(char::is_whitespace) => Err(ConfigError::invalid(
            key,
            format!("{target:?} is neither one address nor provider=…"),
        )),
        None => Ok(()),
    }
}

pub(super) fn gossip(
    source: &Source,
    dev: bool,
    warnings: &mut Vec<String>,
) -> Result<Gossip, ConfigError> {
    let mut reconnect = |key: &str, given| {
        let timeout = at_least(key, given, 72 * HOUR, SECOND)?;
        if timeout < MIN_SAFE_RECONNECT_TIMEOUT {
            warnings.push(format!(
                "{key} is {}: agents that a network outage cuts off for longer are forgotten and \
                 have to be joined again; 8h or more is safe",
                GoDuration(timeout)
            ));
        }
        Ok(timeout)
    };
    Ok(Gossip {
        encrypt: gossip_key(source.encrypt.as_ref())?,
        verify_incoming: source.encrypt_verify_incoming.unwrap_or(true),
        verify_outgoing: source.encrypt_verify_outgoing.unwrap_or(true),
        disable_keyring_file: source.disable_keyring_file.unwrap_or(dev),
        reconnect_timeout: reconnect("reconnect_timeout", source.reconnect_timeout)?,
        reconnect_timeout_wan: reconnect("reconnect_timeout_wan", source.reconnect_timeout_wan)?,
    })
}

/// Parses the gossip key. The error describes the problem without the key itself.
fn gossip_key(given: Option<&Secret>) -> Result<Option<GossipKey>, ConfigError> {
    given
        .map(Secret::expose)
        .filter(|text| !text.is_empty())
        .map(GossipKey::from_base64)
        .transpose()
        .map_err(|error| ConfigError::invalid("encrypt", format!("has invalid key: it {error}")))
}

pub(super) fn performance(source: &PerformanceSource) -> Result<Performance, ConfigError> {
    let given = source.raft_multiplier.unwrap_or(1);
    let raft_multiplier = u32::try_from(given)
        .ok()
        .filter(|multiplier| (1..=10).contains(multiplier))
        .ok_or_else(|| {
            ConfigError::invalid(
                "performance.raft_multiplier",
                format!("cannot be {given}. Must be between 1 and 10"),
            )
        })?;
    Ok(Performance {
        raft_multiplier,
        leave_drain_time: source.leave_drain_time.map_or(5 * SECOND, |time| time.0),
        rpc_hold_timeout: source.rpc_hold_timeout.map_or(7 * SECOND, |time| time.0),
    })
}

pub(super) fn raft(source: &Source) -> Result<Raft, ConfigError> {
    let threshold = count("raft_snapshot_threshold", source.raft_snapshot_threshold, 8192)?;
    if threshold == 0 {
        return Err(ConfigError::invalid("raft_snapshot_threshold", "cannot be 0"));
    }
    Ok(Raft {
        snapshot_threshold: threshold,
        snapshot_interval: source.raft_snapshot_interval.map_or(30 * SECOND, |time| time.0),
        trailing_logs: count("raft_trailing_logs", source.raft_trailing_logs, 10240)?,
    })
}

pub(super) fn autopilot(source: &AutopilotSource) -> Result<Autopilot, ConfigError> {
    Ok(Autopilot {
        cleanup_dead_servers: source.cleanup_dead_servers.unwrap_or(true),
        last_contact_threshold: source
            .last_contact_threshold
            .map_or(Duration::from_millis(200), |time| time.0),
        max_trailing_logs: count("autopilot.max_trailing_logs", source.max_trailing_logs, 250)?,
        min_quorum: count("autopilot.min_quorum", source.min_quorum, 0)?,
        server_stabilization_time: source
            .server_stabilization_time
            .map_or(10 * SECOND, |time| time.0),
    })
}

pub(super) fn snapshots(
    source: Option<&SnapshotSource>,
    data_dir: Option<&Path>,
) -> Result<Option<Snapshots>, ConfigError> {
    let Some(source) = source.filter(|source| **source != SnapshotSource::default()) else {
        return Ok(None);
    };
    let path = match source.path.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => data_dir
            .map(|dir| dir.join("snapshots"))
            .ok_or_else(|| ConfigError::invalid("snapshot.path", "is required without data_dir"))?,
    };
    let retain = count("snapshot.retain", source.retain, 30)?;
    if retain == 0 {
        return Err(ConfigError::invalid("snapshot.retain", "is 0; at least 1 must be kept"));
    }
    Ok(Some(Snapshots {
        interval: at_least("snapshot.interval", source.interval, HOUR, SECOND)?,
        retain,
        path,
    }))
}

pub(super) fn queries(source: &Source) -> Result<Queries, ConfigError> {
    let max_wait = at_least("max_query_time", source.max_query_time, 600 * SECOND, SECOND)?;
    let given = source.default_query_time;
    let default_wait = at_least("default_query_time", given, 300 * SECOND, SECOND)?;
    Ok(Queries { default_wait: default_wait.min(max_wait), max_wait })
}

/// Returns the given or the default duration.
///
/// # Errors
/// It is shorter than `bound`.
fn at_least(
    key: &str,
    given: Option<GoDuration>,
    default: Duration,
    bound: Duration,
) -> Result<Duration, ConfigError> {
    let value = given.map_or(default, |time| time.0);
    if value < bound {
        let (value, bound) = (GoDuration(value), GoDuration(bound));
        return Err(ConfigError::invalid(key, format!("is {value}; it must be at least {bound}")));
    }
    Ok(value)
}

/// Returns the given or the default number.
///
/// # Errors
/// It is negative, or too large for `T`.
fn count<T: TryFrom<i64>>(key: &str, given: Option<i64>, default: i64) -> Result<T, ConfigError> {
    let value = given.unwrap_or(default);
    T::try_from(value).map_err(|_| {
        ConfigError::invalid(
            key,
            format!("cannot be {value}. Must be greater than or equal to zero"),
        )
    })
}
