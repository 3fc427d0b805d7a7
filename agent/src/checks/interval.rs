//! Checks that the agent runs at an interval: script, HTTP, TCP, UDP.

use std::{sync::Arc, time::Duration};

use lictor_api::types::{agent::CheckDefinition, health::CheckStatus};
use tokio::time::{MissedTickBehavior, sleep};

use super::{Outcome, http, script, tcp, udp};
use crate::dial::Dialer;
use crate::local::{LocalCheck, LocalState};

/// The first run starts within this time, so that a healthy program is not kept out of service for
/// a whole interval.
const MAX_FIRST_RUN_DELAY: Duration = Duration::from_secs(1);

/// Counts consecutive results: a check changes only after the number that its definition requires.
#[derive(Debug, Default)]
struct Streak {
    successes: u32,
    failures: u32,
}

impl Streak {
    /// Records a result. Returns the check's new status, or `None` while the streak is too short.
    fn record(&mut self, definition: &CheckDefinition, result: CheckStatus) -> Option<CheckStatus> {
        if result != CheckStatus::Critical {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            return (self.successes >= definition.success_before_passing).then_some(result);
        }
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        let critical = definition.failures_before_critical;
        let warning = match definition.failures_before_warning {
            0 => critical,
            warning => warning,
        };
        if self.failures >= critical {
            Some(CheckStatus::Critical)
        } else if self.failures >= warning {
            Some(CheckStatus::Warning)
        } else {
            None
        }
    }
}

/// Runs the check until dropped.
pub(super) async fn run(local: &LocalState, dialer: Arc<Dialer>, check: &LocalCheck) {
    let definition = &check.definition;
    let every = definition.interval.0;
    let mut streak = Streak::default();
    // Spreads checks that were registered together.
    sleep(every.min(MAX_FIRST_RUN_DELAY).mul_f64(rand::random::<f64>())).await;
    report(local, check, &mut streak, run_once(definition, &dialer).await);
    sleep(every.mul_f64(rand::random_range(0.5..1.0))).await;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        report(local, check, &mut streak, run_once(definition, &dialer).await);
    }
}

async fn run_once(definition: &CheckDefinition, dialer: &Dialer) -> Outcome {
    match definition {
        check if !check.args.is_empty() => script::run(check).await,
        check if !check.http.is_empty() => http::run(check, dialer).await,
        check if !check.tcp.is_empty() => tcp::run(check, dialer).await,
        check => udp::run(check, dialer).await,
    }
}

fn report(local: &LocalState, check: &LocalCheck, streak: &mut Streak, outcome: Outcome) {
    let id = &check.check.check_id;
    if outcome.status != CheckStatus::Passing {
        tracing::debug!(target: "agent", check = %id, status = %outcome.status, "check did not pass");
    }
    if let Some(status) = streak.record(&check.definition, outcome.status) {
        local.update_check(id, check.generation, status, &outcome.output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(definition: &CheckDefinition, results: &[CheckStatus]) -> Vec<Option<CheckStatus>> {
        let mut streak = Streak::default();
        results.iter().map(|result| streak.record(definition, *result)).collect()
    }

    #[test]
    fn a_check_changes_only_after_the_asked_number_of_results_in_a_row() {
        use CheckStatus::{Critical, Passing, Warning};
        let definition = CheckDefinition {
            success_before_passing: 2,
            failures_before_warning: 2,
            failures_before_critical: 3,
            ..CheckDefinition::default()
        };
        assert_eq!(
            recorded(&definition, &[Passing, Passing, Critical, Critical, Critical, Passing]),
            [None, Some(Passing), None, Some(Warning), Some(Critical), None]
        );
        assert_eq!(
            recorded(&CheckDefinition::default(), &[Critical, Passing, Warning]),
            [Some(Critical), Some(Passing), Some(Warning)]
        );
    }
}
