//! Leader election on a Lease: at most one replica writes.
//!
//! The clocks of nodes are not compared: a lease is free when its holder released it, or when this
//! replica has observed it unchanged for its whole duration. The holder stops leading before others
//! may take over, also when the API server does not respond. `kube-lease-manager` was considered:
//! it compares wall clocks and goes on leading through failed renewals.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a lease is valid after its last renewal.
const LEASE_DURATION_SECONDS: i32 = 15;
/// A holder that could not renew for this long stops leading (client-go: `RenewDeadline`).
const RENEW_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two attempts to acquire or renew (client-go: `RetryPeriod`).
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of one attempt, and of the release.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// Acquires and renews the lease until `stop`, then releases it. `leading` holds whether this
/// replica leads.
pub async fn run(
    client: Client,
    namespace: &str,
    name: &str,
    identity: &str,
    leading: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let api = Api::namespaced(client, namespace);
    let mut candidate = Candidate { api, name, identity, seen: None };
    let attempt = async || match timeout(REQUEST_TIMEOUT, candidate.attempt()).await {
        Ok(Ok(true)) => Attempt::Renewed,
        Ok(Ok(false)) => Attempt::HeldByAnother,
        Ok(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, lease = name, "lease not renewed");
            Attempt::Failed
        }
        Err(_) => {
            tracing::warn!(lease = name, "lease not renewed in time");
            Attempt::Failed
        }
    };
    let set_leading = |leads| {
        if leading.send_if_modified(|before| std::mem::replace(before, leads) != leads) {
            tracing::info!(leads, lease = name, identity, "leadership changed");
        }
    };
    repeat(attempt, set_leading, &stop).await;
    leading.send_replace(false);
    match timeout(REQUEST_TIMEOUT, candidate.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, lease = name, "lease not released");
        }
        Err(_) => tracing::warn!(lease = name, "lease not released in time"),
    }
}

/// Outcome of one attempt to acquire or renew the lease.
enum Attempt {
    Renewed,
    HeldByAnother,
    Failed,
}

/// Repeats `attempt` until `stop`. Leadership lasts [`RENEW_TIMEOUT`] from the start of the last
/// attempt that renewed the lease, and ends then, whatever an attempt under way waits for.
async fn repeat(
    mut attempt: impl AsyncFnMut() -> Attempt,
    set_leading: impl Fn(bool),
    stop: &CancellationToken,
) {
    let mut expires = None;
    loop {
        let started = Instant::now();
        let attempted = tokio::select! {
            attempted = attempt() => attempted,
            () = reached(expires) => Attempt::Failed,
        };
        match attempted {
            Attempt::Renewed => expires = Some(started + RENEW_TIMEOUT),
            Attempt::HeldByAnother => expires = None,
            Attempt::Failed => expires = expires.filter(|at| Instant::now() < *at),
        }
        set_leading(expires.is_some());
        tokio::select! {
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
            () = reached(expires) => {
                expires = None;
                set_leading(false);
            }
            () = stop.cancelled() => return,
        }
    }
}

/// Waits until a time; for ever without one.
async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

struct Candidate<'a> {
    api: Api<Lease>,
    name: &'a str,
    identity: &'a str,
    /// The lease's resource version, and when it was first observed.
    seen: Option<(String, Instant)>,
}

impl Candidate<'_> {
    /// Acquires or renews the lease if it is free or ours; returns whether this replica holds it.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.to_owned()), ..ObjectMeta::default() },
                spec: Some(held_by(self.identity, None)),
            };
            return lost_race(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.seen = Some((version, Instant::now()));
        }
        let unchanged = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        let spec = lease.spec.clone().unwrap_or_default();
        if !may_take(&spec, self.identity, unchanged) {
            return Ok(false);
        }
        let lease = Lease { spec: Some(held_by(self.identity, Some(&spec))), ..lease };
        lost_race(self.api.replace(self.name, &PostParams::default(), &lease).await)
    }

    /// Clears the holder of the lease, if it is this replica.
    async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(self.name).await? else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.identity) {
            return Ok(());
        }
        spec.holder_identity = None;
        lost_race(self.api.replace(self.name, &PostParams::default(), &lease).await)?;
        Ok(())
    }
}

/// Returns `false` for a conflict: another replica was faster, which is not a failure.
fn lost_race(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether `identity` may acquire the lease, which it has observed without a change for
/// `unchanged`.
fn may_take(spec: &LeaseSpec, identity: &str, unchanged: Duration) -> bool {
    let duration = u64::try_from(spec.lease_duration_seconds.unwrap_or(LEASE_DURATION_SECONDS));
    match spec.holder_identity.as_deref() {
        None | Some("") => true,
        Some(holder) if holder == identity => true,
        Some(_) => unchanged >= Duration::from_secs(duration.unwrap_or_default()),
    }
}

/// Returns the spec of a lease held by `identity`, acquired now unless `before` was held by it too.
fn held_by(identity: &str, before: Option<&LeaseSpec>) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    let same = before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(identity));
    let acquired = before.filter(|_| same).and_then(|spec| spec.acquire_time.clone());
    let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(LEASE_DURATION_SECONDS),
        acquire_time: acquired.or_else(|| Some(now.clone())),
        renew_time: Some(now),
        lease_transitions: Some(transitions + i32::from(!same)),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_free_own_or_silent_for_its_duration() {
        let held = held_by("a", None);
        let check = |spec: &LeaseSpec, seconds, expect| {
            assert_eq!(may_take(spec, "b", Duration::from_secs(seconds)), expect);
        };
        check(&LeaseSpec::default(), 0, true);
        check(&held, 14, false);
        check(&held, 15, true);
        check(&held_by("b", None), 0, true);
        check(&LeaseSpec { holder_identity: Some(String::new()), ..held }, 0, true);
    }

    #[test]
    fn renewing_keeps_the_acquire_time_and_taking_over_counts() {
        let first = held_by("a", None);
        let renewed = held_by("a", Some(&first));
        assert_eq!(renewed.acquire_time, first.acquire_time);
        assert_eq!(renewed.lease_transitions, first.lease_transitions);
        let taken = held_by("b", Some(&renewed));
        assert_eq!(taken.lease_transitions, renewed.lease_transitions.map(|n| n + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_holder_stops_before_others_may_start_also_while_a_request_hangs() {
        let lease = Duration::from_secs(u64::try_from(LEASE_DURATION_SECONDS).unwrap());
        let (stop, leading) = (CancellationToken::new(), watch::Sender::new(false));
        let mut attempts = 0;
        let attempt = async || {
            attempts += 1;
            // The first takes its time, and the lease may be renewed at its beginning.
            match attempts {
                1 => tokio::time::sleep(REQUEST_TIMEOUT - Duration::from_millis(1)).await,
                _ => std::future::pending().await,
            }
            Attempt::Renewed
        };
        let mut observed = leading.subscribe();
        let began = Instant::now();
        let set_leading = |leads| {
            leading.send_replace(leads);
        };
        let observe = async {
            observed.wait_for(|leads| *leads).await.unwrap();
            observed.wait_for(|leads| !*leads).await.unwrap();
            began.elapsed()
        };
        let ended = tokio::select! {
            () = repeat(attempt, set_leading, &stop) => panic!("nothing stops it"),
            ended = observe => ended,
        };
        assert!(ended <= RENEW_TIMEOUT + Duration::from_millis(10), "{ended:?}");
        assert!(ended < lease);
    }
}
