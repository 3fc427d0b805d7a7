//! Sessions, which hold the locks of keys (Consul "Session HTTP API").

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::is_default;
use crate::{CheckId, GoDuration, NodeName};

/// How long a key stays locked after its session was lost, when the session does not say.
pub const DEFAULT_LOCK_DELAY: Duration = Duration::from_secs(15);
/// The longest lock-delay; a longer one counts as this.
pub const MAX_LOCK_DELAY: Duration = Duration::from_secs(60);
/// The shortest TTL.
pub const MIN_TTL: Duration = Duration::from_secs(10);
/// The longest TTL.
pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// What happens to a session's keys when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionBehavior {
    /// They are unlocked.
    #[default]
    Release,
    /// They are deleted.
    Delete,
}

/// A session: while it lives, the keys that it locked are its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Session {
    /// Its UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// For people.
    pub name: String,
    /// The node whose life it shares.
    pub node: NodeName,
    /// How long its keys cannot be locked again after it was lost; integer nanoseconds.
    #[serde(with = "lock_delay")]
    pub lock_delay: Duration,
    /// What happens to its keys when it ends.
    pub behavior: SessionBehavior,
    /// How often it must be renewed, as a Go duration, or empty: it then lives as long as its node
    /// and checks.
    #[serde(rename = "TTL")]
    pub ttl: String,
    /// Checks of its node; when one is critical, the session ends.
    pub node_checks: Vec<CheckId>,
    /// Checks of instances on its node; likewise. `null` when there are none.
    #[serde(serialize_with = "null_if_empty")]
    pub service_checks: Vec<ServiceCheck>,
    /// Raft index of its creation.
    pub create_index: u64,
    /// The same.
    pub modify_index: u64,
}

/// A check that a session rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceCheck {
    /// The check.
    #[serde(rename = "ID")]
    pub id: CheckId,
    /// Always empty: there is one namespace.
    pub namespace: String,
}

impl Session {
    /// Within which time it must be renewed; `None` when it need not be.
    pub fn lifetime(&self) -> Option<Duration> {
        let ttl: GoDuration = self.ttl.parse().ok()?;
        (!ttl.is_zero()).then_some(ttl.0)
    }

    /// Every check that it rests on.
    pub fn checks(&self) -> impl Iterator<Item = &CheckId> {
        self.node_checks.iter().chain(self.service_checks.iter().map(|check| &check.id))
    }

    /// The lock-delay that counts.
    pub fn effective_lock_delay(&self) -> Duration {
        self.lock_delay.min(MAX_LOCK_DELAY)
    }
}

/// Go marshals an absent list as `null`.
fn null_if_empty<S: Serializer>(
    list: &Vec<ServiceCheck>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() && is_default(list) {
        return serializer.serialize_none();
    }
    list.serialize(serializer)
}

/// A lock-delay: text or a number in requests, integer nanoseconds in answers and log entries.
///
/// COMPAT: in a request, what is below 1000 ns counts as seconds, so that people can write `15`.
pub mod lock_delay {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::GoDuration;

    const SECONDS_BELOW: u64 = 1000;

    /// Writes nanoseconds.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(delay: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Reads text, nanoseconds or seconds.
    ///
    /// # Errors
    /// What is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Duration::from_nanos);
        }
        let GoDuration(delay) = GoDuration::deserialize(deserializer)?;
        match u64::try_from(delay.as_nanos()) {
            Ok(number) if number < SECONDS_BELOW => Ok(Duration::from_secs(number)),
            _ => Ok(delay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{contract::SERF_CHECK_ID, wire};

    #[test]
    fn json_is_as_consul_prints_it() {
        let session = Session {
            id: "s".to_owned(),
            node: "n".into(),
            lock_delay: DEFAULT_LOCK_DELAY,
            node_checks: vec![SERF_CHECK_ID.into()],
            ..Session::default()
        };
        assert_eq!(
            serde_json::to_string(&session).unwrap(),
            r#"{"ID":"s","Name":"","Node":"n","LockDelay":15000000000,"Behavior":"release","TTL":"","NodeChecks":["serfHealth"],"ServiceChecks":null,"CreateIndex":0,"ModifyIndex":0}"#
        );
    }

    #[test]
    fn a_lock_delay_is_text_nanoseconds_or_seconds() {
        for (json, seconds) in [
            (r#"{"LockDelay":"20s"}"#, 20),
            (r#"{"lock_delay":"15000ms"}"#, 15),
            (r#"{"LockDelay":20000000000}"#, 20),
            (r#"{"LockDelay":20}"#, 20),
            (r#"{"LockDelay":0}"#, 0),
            (r#"{"LockDelay":"0s"}"#, 0),
        ] {
            let session: Session = wire::from_slice(json.as_bytes()).unwrap();
            assert_eq!(session.lock_delay, Duration::from_secs(seconds), "{json}");
        }
        assert!(wire::from_slice::<Session>(br#"{"LockDelay":"soon"}"#).is_err());
    }

    #[test]
    fn a_session_without_a_ttl_has_no_lifetime() {
        for (ttl, lifetime) in [("", None), ("0s", None), ("10s", Some(Duration::from_secs(10)))] {
            let session = Session { ttl: ttl.to_owned(), ..Session::default() };
            assert_eq!(session.lifetime(), lifetime, "{ttl}");
        }
    }
}
