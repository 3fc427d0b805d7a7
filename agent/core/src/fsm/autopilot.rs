//! The command that changes autopilot's settings.

use std::sync::Arc;

use lictor_api::types::operator::AutopilotConfiguration;
use serde::{Deserialize, Serialize};

use super::Response;
use crate::state::State;

/// Replaces the settings; with `expected`, only if the `ModifyIndex` of the old ones equals it (0:
/// none have been set yet).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotCommand {
    /// The settings; their indexes are ignored.
    pub configuration: AutopilotConfiguration,
    /// The `ModifyIndex` that the old settings must have.
    pub expected: Option<u64>,
}

pub(super) fn apply(state: &mut State, index: u64, command: AutopilotCommand) -> Response {
    let old = state.autopilot.as_deref();
    let modified = old.map_or(0, |old| old.modify_index);
    if command.expected.is_some_and(|expected| expected != modified) {
        return Response::Applied(false);
    }
    let create_index = old.map_or(index, |old| old.create_index);
    state.autopilot = Some(Arc::new(AutopilotConfiguration {
        create_index,
        modify_index: index,
        ..command.configuration
    }));
    Response::Applied(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fsm::{self, Command},
        state::watch::Touched,
    };

    fn set(state: &mut State, index: u64, min_quorum: u32, expected: Option<u64>) -> Response {
        let configuration = AutopilotConfiguration { min_quorum, ..Default::default() };
        let command = Command::Autopilot(AutopilotCommand { configuration, expected });
        fsm::apply(state, index, command, &mut Touched::default())
    }

    #[test]
    fn settings_are_replaced_if_they_are_what_the_client_read() {
        let mut state = State::default();
        assert_eq!(set(&mut state, 5, 1, Some(4)), Response::Applied(false));
        assert_eq!(set(&mut state, 6, 1, Some(0)), Response::Applied(true));
        assert_eq!(set(&mut state, 7, 2, Some(0)), Response::Applied(false));
        assert_eq!(set(&mut state, 8, 3, None), Response::Applied(true));
        assert_eq!(set(&mut state, 9, 4, Some(8)), Response::Applied(true));
        let kept = State::from_snapshot(&state.to_snapshot().unwrap()).unwrap();
        let now = kept.autopilot.unwrap();
        assert_eq!((now.create_index, now.modify_index, now.min_quorum), (6, 9, 4));
    }
}
