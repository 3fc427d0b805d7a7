//! Leader election on a Lease: at most one replica writes.
//!
//! The clocks of nodes are not compared: a lease is free when its holder gave it up, or when this
//! replica has watched it unchanged for its whole duration. The holder stops leading well before
//! others may take over, also when the API server does not answer. `kube-lease-manager` was
//! weighed: it compares wall clocks and keeps leading through failed renewals.

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
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a lease is valid after its last renewal.
const DURATION_SECONDS: i32 = 15;
/// A holder that could not renew for so long stops leading.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two attempts.
const PERIOD: Duration = Duration::from_secs(2);
/// For one request to the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// Takes part in the election until `stop`, then gives the lease up. `leading` says whether this
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
    let mut candidate = Candidate { api, name, identity, seen: None, renewed: None };
    loop {
        let attempt = timeout(REQUEST_TIMEOUT, candidate.attempt()).await;
        match attempt {
            Ok(Ok(true)) => candidate.renewed = Some(Instant::now()),
            Ok(Ok(false)) => candidate.renewed = None,
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, lease = name, "lease not renewed");
            }
            Err(_) => tracing::warn!(lease = name, "lease not renewed in time"),
        }
        let leads = candidate.renewed.is_some_and(|at| at.elapsed() < RENEW_DEADLINE);
        if leading.send_if_modified(|before| std::mem::replace(before, leads) != leads) {
            tracing::info!(leads, lease = name, identity, "leadership changed");
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => break,
        }
    }
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

struct Candidate<'a> {
    api: Api<Lease>,
    name: &'a str,
    identity: &'a str,
    /// The lease's resource version, and since when it has been that.
    seen: Option<(String, Instant)>,
    renewed: Option<Instant>,
}

impl Candidate<'_> {
    /// Takes or renews the lease if it is ours to take; true if this replica holds it.
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

    /// Leaves the lease without a holder, if it is ours.
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

/// A conflict means that another replica was faster, which is no failure.
fn lost_race(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether `identity` may write itself into the lease, which it has watched `unchanged` for
/// so long.
fn may_take(spec: &LeaseSpec, identity: &str, unchanged: Duration) -> bool {
    let duration = u64::try_from(spec.lease_duration_seconds.unwrap_or(DURATION_SECONDS));
    match spec.holder_identity.as_deref() {
        None | Some("") => true,
        Some(holder) if holder == identity => true,
        Some(_) => unchanged >= Duration::from_secs(duration.unwrap_or_default()),
    }
}

fn held_by(identity: &str, before: Option<&LeaseSpec>) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    let same = before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(identity));
    let acquired = before.filter(|_| same).and_then(|spec| spec.acquire_time.clone());
    let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(DURATION_SECONDS),
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

    #[test]
    fn the_holder_stops_before_others_may_start() {
        let lease = Duration::from_secs(u64::try_from(DURATION_SECONDS).unwrap());
        assert!(RENEW_DEADLINE + REQUEST_TIMEOUT < lease);
    }
}
