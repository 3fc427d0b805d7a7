//! `lictor intention ...`: who may connect to whom.

pub mod create;
pub mod inspect;

use lictor_api::types::intention::{Intention, IntentionAction};

/// Renders an intention as `source => destination (action)`.
fn describe(intention: &Intention) -> String {
    let action =
        intention.action.map_or("L7 permissions".to_owned(), |action| action.as_str().to_owned());
    format!("{} => {} ({action})", intention.source_name, intention.destination_name)
}

/// Returns the action of `-allow` and `-deny`; allow is the default.
fn action(deny: bool) -> IntentionAction {
    if deny { IntentionAction::Deny } else { IntentionAction::Allow }
}
