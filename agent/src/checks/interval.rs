//! Checks that the agent runs again and again: script, HTTP, TCP, UDP.

use std::{sync::Arc, time::Duration};

use lictor_api::types::{agent::CheckDefinition, health::CheckStatus};
use tokio::time::{MissedTickBehavior, sleep};

use super::{Outcome, http, script, tcp, udp};
use crate::dial::Dialer;
use crate::local::{LocalCheck, LocalState};

/// The first run comes soon, so that a program that is up is not kept out for a whole interval.
const FIRST_RUN_MAX: Duration = Duration::from_secs(1);

/// Counts results, so that a check changes only after as many in a row as its definition asks.
#[derive(Debug, Default)]
struct Streak {
    successes: u32,
    failures: u32,
}

impl Streak {
    /// The state after this result; `None` when the streak is still too short.
    fn judge(&mut self, definition: &CheckDefinition, result: CheckStatus) -> Option<CheckStatus> {
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
    // Checks that were registered together do not run together.
    sleep(every.min(FIRST_RUN_MAX).mul_f64(rand::random::<f64>())).await;
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
    if let Some(status) = streak.judge(&check.definition, outcome.status) {
        local.update_check(id, check.generation, status, &outcome.output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(definition: &CheckDefinition, results: &[CheckStatus]) -> Vec<Option<CheckStatus>> {
        let mut streak = Streak::default();
        results.iter().map(|result| streak.judge(definition, *result)).collect()
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
            judged(&definition, &[Passing, Passing, Critical, Critical, Critical, Passing]),
            [None, Some(Passing), None, Some(Warning), Some(Critical), None]
        );
        assert_eq!(
            judged(&CheckDefinition::default(), &[Critical, Passing, Warning]),
            [Some(Critical), Some(Passing), Some(Warning)]
        );
    }
}
