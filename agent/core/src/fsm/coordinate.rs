//! Commands that change network coordinates (Consul "Network coordinates").

use lictor_api::{NodeName, types::coordinate::Entry};
use serde::{Deserialize, Serialize};

use super::Response;
use crate::state::{State, watch::Change};

/// A change to coordinates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CoordinateCommand {
    /// Set the coordinates of nodes; those of unknown nodes are ignored.
    Update(Vec<Entry>),
}

pub(super) fn apply(
    state: &mut State,
    change: &mut Change<'_>,
    command: CoordinateCommand,
) -> Response {
    let CoordinateCommand::Update(entries) = command;
    for entry in entries {
        if state.catalog.node(&NodeName::from(entry.node.as_str())).is_some() {
            state.coordinates.set(change, entry);
        }
    }
    Response::Done
}

#[cfg(test)]
mod tests {
    use lictor_api::types::{
        catalog::{DeregisterRequest, RegisterRequest},
        coordinate::Coordinate,
    };

    use super::*;
    use crate::{
        fsm::{self, Command},
        state::watch::Touched,
    };

    fn entry(node: &str) -> Entry {
        Entry { node: node.into(), segment: String::new(), coord: Coordinate::default() }
    }

    #[test]
    fn a_coordinate_lives_as_long_as_its_node() {
        let (mut state, mut touched) = (State::default(), Touched::default());
        let register = RegisterRequest {
            node: "n1".into(),
            address: "10.0.0.1".into(),
            ..RegisterRequest::default()
        };
        fsm::apply(&mut state, 1, Command::Register(Box::new(register)), &mut touched);
        let update = CoordinateCommand::Update(vec![entry("N1"), entry("unknown")]);
        fsm::apply(&mut state, 2, Command::Coordinate(update), &mut touched);
        assert_eq!(state.coordinates.list().count(), 1);
        let again = State::from_snapshot(&state.to_snapshot().unwrap()).unwrap();
        assert!(again.coordinates.get(&"n1".into()).is_some());
        assert_eq!(again.topic_index(&crate::state::Topic::Coordinates), 2);
        let gone = DeregisterRequest { node: "n1".into(), ..DeregisterRequest::default() };
        fsm::apply(&mut state, 3, Command::Deregister(gone), &mut touched);
        assert_eq!(state.coordinates.list().count(), 0);
        assert_eq!(state.topic_index(&crate::state::Topic::Coordinates), 3);
    }
}
