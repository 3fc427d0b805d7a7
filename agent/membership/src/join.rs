//! Joining the cluster, and rejoining it: the task behind `retry_join`.
//!
//! INVARIANT: for as long as the agent runs, whenever it is alone, every configured target is
//! resolved again and tried, soon at first and at least every [`MAX_RETRY_INTERVAL`]. Changed
//! addresses of a name are therefore noticed. A client is alone without a live server; a server is
//! alone without another live server. An agent without any live member also tries the addresses of
//! the members it last knew.

pub(crate) mod target;

pub use target::{KubernetesPods, Resolve, Target, TargetError};

use std::{net::SocketAddr, sync::Arc, time::Duration};

use lictor_runtime::backoff::jittered;
use tokio_util::sync::CancellationToken;

use super::{Member, Pool};

/// The longest time between two attempts, however long `retry_interval` is.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// The time after the first attempt.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Targets and timing of the joins.
#[derive(Clone)]
pub struct Settings {
    /// Looks up names and pods.
    pub resolver: Arc<dyn Resolve>,
    /// Names and addresses, in the order of the configuration.
    pub targets: Vec<Target>,
    /// The longest time between two attempts; ten seconds if it is longer.
    pub retry_interval: Duration,
    /// How many attempts the first join may take; 0 means no limit.
    pub retry_max: u32,
}

/// The first join did not succeed within `retry_max` attempts.
#[derive(Debug, thiserror::Error)]
#[error("max join retry exhausted, exiting")]
pub struct Exhausted;

/// Decides when to retry: pure, so that it is tested without a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Plan {
    joined: bool,
    failures: u32,
}

// === impl Plan ===

impl Plan {
    /// Records an attempt; returns how long to wait at most before the next.
    fn after(&mut self, met: bool, settings: &Settings) -> Result<Duration, Exhausted> {
        if met {
            *self = Self { joined: true, failures: 0 };
            return Ok(MIN_RETRY_INTERVAL);
        }
        self.failures = self.failures.saturating_add(1);
        if !self.joined && settings.retry_max > 0 && self.failures >= settings.retry_max {
            return Err(Exhausted);
        }
        let doubled = MIN_RETRY_INTERVAL.saturating_mul(1 << (self.failures - 1).min(10));
        Ok(doubled.min(settings.retry_interval).min(MAX_RETRY_INTERVAL))
    }
}

/// Returns whether an agent has no live server beside itself.
fn is_alone(members: &[Member], own: &str) -> bool {
    !members.iter().any(|member| member.name != own && member.is_alive() && member.is_server())
}

/// Keeps this agent in the cluster until it is cancelled.
///
/// # Errors
/// [`Exhausted`], when the first join is limited and failed that often.
pub async fn run(
    pool: Pool,
    settings: Settings,
    until: CancellationToken,
) -> Result<(), Exhausted> {
    let kept = rejoin_while_alone(&pool, &settings);
    tokio::select! {
        () = until.cancelled() => Ok(()),
        kept = kept => kept,
    }
}

async fn rejoin_while_alone(pool: &Pool, settings: &Settings) -> Result<(), Exhausted> {
    let mut members = pool.changes();
    let mut plan = Plan::default();
    let cluster = pool.profile().name();
    loop {
        let own = pool.name();
        if members.wait_for(|members| is_alone(members, own)).await.is_err() {
            return Ok(());
        }
        let attempt = attempt(pool, settings).await;
        let met = !is_alone(&pool.members(), pool.name());
        let wait = plan.after(met, settings)?;
        let round = Round {
            met,
            is_news: plan.failures <= 1 || !plan.joined,
            is_expected: !settings.targets.is_empty(),
            retry_interval: wait,
        };
        round.report(cluster, &attempt);
        tokio::time::sleep(jittered(wait)).await;
    }
}

/// Outcome of one round over all targets.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    /// This many addresses were contacted.
    Contacted(usize),
    /// Every target is this agent itself: the first server of a cluster.
    OnlyOneself,
    /// No address was joined; the text names each problem.
    Failed(String),
}

async fn attempt(pool: &Pool, settings: &Settings) -> Attempt {
    let (mut addresses, problems) = target::resolve(&settings.targets, &*settings.resolver).await;
    let has_company = |member: &Member| member.name != pool.name() && member.is_alive();
    if !pool.members().iter().any(has_company) {
        addresses.extend(pool.remembered());
    }
    let own = pool.local_address();
    let only_oneself = problems.is_empty() && addresses.iter().all(|address| *address == own);
    let addresses = distinct(addresses, own);
    if only_oneself {
        return Attempt::OnlyOneself;
    }
    if addresses.is_empty() {
        return Attempt::Failed(problems.join("; "));
    }
    tracing::debug!(target: "agent", "({}) joining: addresses={addresses:?}", pool.profile().name());
    match pool.join(&addresses).await {
        Ok(contacted) => Attempt::Contacted(contacted),
        Err(error) => {
            let problems = problems.into_iter().chain([error.to_string()]);
            Attempt::Failed(problems.collect::<Vec<_>>().join("; "))
        }
    }
}

/// An attempt as it is logged.
struct Round {
    /// The agent is no longer alone.
    met: bool,
    /// Logged above debug level: after the first success only the first failure is.
    is_news: bool,
    /// Targets are configured. Without any, only remembered addresses are tried, and the agent may
    /// be alone for good.
    is_expected: bool,
    retry_interval: Duration,
}

// === impl Round ===

impl Round {
    /// Logs the round. COMPAT: scripts grep for Consul's sentences.
    fn report(&self, cluster: &str, attempt: &Attempt) {
        let Self { met, is_news, is_expected, retry_interval } = *self;
        match attempt {
            Attempt::OnlyOneself => {}
            Attempt::Contacted(number) if met => {
                tracing::info!(target: "agent", cluster, num_agents = number, "Join cluster completed. Synced with initial agents");
            }
            Attempt::Contacted(_) | Attempt::Failed(_) if !(met || is_news && is_expected) => {
                tracing::debug!(target: "agent", cluster, ?retry_interval, ?attempt, "still no server");
            }
            Attempt::Contacted(_) => {
                tracing::warn!(target: "agent", cluster, ?retry_interval, "Join cluster reached agents but no server yet, will retry");
            }
            Attempt::Failed(error) => {
                tracing::warn!(target: "agent", cluster, ?retry_interval, error, "Join cluster failed, will retry");
            }
        }
    }
}

fn distinct(addresses: Vec<SocketAddr>, own: SocketAddr) -> Vec<SocketAddr> {
    let mut seen = Vec::new();
    for address in addresses {
        if address != own && !seen.contains(&address) {
            seen.push(address);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(retry_max: u32) -> Settings {
        let resolver = Arc::new(target::NoLookup);
        Settings { resolver, targets: vec![], retry_interval: Duration::from_secs(30), retry_max }
    }

    #[test]
    fn attempts_come_soon_at_first_and_never_stop() {
        let mut plan = Plan::default();
        let waits: Vec<u64> =
            (0..7).map(|_| plan.after(false, &settings(0)).unwrap().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10]);
    }

    #[test]
    fn only_the_first_join_is_limited() {
        let mut plan = Plan::default();
        assert!(plan.after(false, &settings(2)).is_ok());
        assert!(plan.after(false, &settings(2)).is_err());
        let mut plan = Plan::default();
        plan.after(true, &settings(1)).unwrap();
        assert!(plan.after(false, &settings(1)).is_ok());
    }

    #[test]
    fn a_shorter_interval_is_kept() {
        let mut plan = Plan { joined: true, failures: 9 };
        let settings = Settings { retry_interval: Duration::from_secs(3), ..settings(0) };
        assert_eq!(plan.after(false, &settings).unwrap(), Duration::from_secs(3));
    }

    #[test]
    fn an_agent_does_not_join_itself() {
        let own: SocketAddr = "10.0.0.1:8301".parse().unwrap();
        let other: SocketAddr = "10.0.0.2:8301".parse().unwrap();
        assert_eq!(distinct(vec![own, other, own, other], own), vec![other]);
    }
}
