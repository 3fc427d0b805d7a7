use lictor_api::types::config_entry::ConfigEntry;
use proptest::prelude::*;

use super::*;
use crate::{
    fsm::{self, Command, ConfigEntryCommand, IntentionCommand},
    state::watch::Touched,
};

fn state(rows: &[(&str, &str, IntentionAction)]) -> State {
    let mut state = State::default();
    for (index, (source, destination, action)) in rows.iter().enumerate() {
        let command = Command::Intention(Box::new(IntentionCommand::Upsert {
            destination: (*destination).to_owned(),
            source: SourceIntention {
                name: (*source).to_owned(),
                action: Some(*action),
                ..SourceIntention::default()
            },
        }));
        fsm::apply(&mut state, index as u64 + 1, command, &mut Touched::default());
    }
    state
}

use IntentionAction::{Allow, Deny};

#[test]
fn the_more_exact_intention_decides() {
    let state =
        state(&[("*", "*", Deny), ("web", "*", Allow), ("*", "db", Deny), ("web", "db", Allow)]);
    let precedences: Vec<u32> =
        for_destination(&state, "db").iter().map(|intention| intention.precedence).collect();
    assert_eq!(precedences, [9, 8, 6, 5]);
    assert!(decide(&state, "web", "db", false).allow);
    assert!(!decide(&state, "api", "db", true).allow);
    assert!(decide(&state, "web", "cache", false).allow);
    assert!(!decide(&state, "api", "cache", true).allow);
}

#[test]
fn the_reason_names_the_intention() {
    let state = state(&[("web", "db", Deny)]);
    assert_eq!(
        decide(&state, "web", "db", true).reason,
        "Matched L4 intention: default/web => default/db (Precedence: 9, Action: DENY)"
    );
    let decision = decide(&state, "api", "db", true);
    assert!(decision.allow);
    assert_eq!(decision.reason, "Default behavior configured by ACLs");
}

#[test]
fn a_deny_holds_whatever_the_case_of_the_names() {
    let state = state(&[("Web", "DB", Deny)]);
    assert!(!decide(&state, "web", "db", true).allow);
}

#[test]
fn a_source_with_permissions_is_denied() {
    let mut state = State::default();
    let entry = ConfigEntry::ServiceIntentions(ServiceIntentions {
        name: "db".to_owned(),
        sources: vec![SourceIntention {
            name: "web".to_owned(),
            permissions: vec![serde_json::json!({"Action": "allow", "HTTP": {"PathExact": "/"}})],
            ..SourceIntention::default()
        }],
        ..ServiceIntentions::default()
    });
    let command =
        Command::ConfigEntry(Box::new(ConfigEntryCommand::Upsert { entry, expected: None }));
    fsm::apply(&mut state, 1, command, &mut Touched::default());
    let decision = decide(&state, "web", "db", true);
    assert!(!decision.allow);
    assert!(decision.reason.starts_with("Matched L7 intention: "), "{}", decision.reason);
}

#[test]
fn wrong_entries_are_named() {
    let source = |name: &str, action| SourceIntention {
        name: name.to_owned(),
        action,
        ..SourceIntention::default()
    };
    let entry = |name: &str, sources| ServiceIntentions {
        name: name.to_owned(),
        sources,
        ..ServiceIntentions::default()
    };
    let message = |entry| validate(&entry).unwrap_err().to_string();
    assert_eq!(message(entry("", vec![])), "Name is required");
    assert_eq!(message(entry("db", vec![])), "At least one source is required");
    assert_eq!(
        message(entry("db*", vec![source("web", Some(Allow))])),
        "Name: wildcard character '*' cannot be used with partial values"
    );
    assert_eq!(
        message(entry("db", vec![source("web", None)])),
        "Sources[0].Action must be set to 'allow' or 'deny'"
    );
    assert_eq!(
        message(entry("db", vec![source("web", Some(Allow)), source("web", Some(Deny))])),
        "Sources[1] defines \"web\" more than once"
    );
    assert_eq!(validate(&entry("*", vec![source("*", Some(Deny))])), Ok(()));
}

/// The rule as the page says it, without any of the implementation's machinery.
fn reference(
    rows: &[(String, String, bool)],
    source: &str,
    destination: &str,
    default: bool,
) -> bool {
    for (s, d) in [(source, destination), ("*", destination), (source, "*"), ("*", "*")] {
        if let Some((_, _, allow)) = rows.iter().rev().find(|row| row.0 == s && row.1 == d) {
            return *allow;
        }
    }
    default
}

proptest! {
    #[test]
    fn decisions_agree_with_the_rule(
        rows in proptest::collection::vec(("[abc*]", "[abc*]", any::<bool>()), 0..12),
        source in "[abcd]",
        destination in "[abcd]",
        default in any::<bool>(),
    ) {
        let typed: Vec<_> = rows
            .iter()
            .map(|(s, d, allow)| (s.as_str(), d.as_str(), if *allow { Allow } else { Deny }))
            .collect();
        let decided = decide(&state(&typed), &source, &destination, default).allow;
        prop_assert_eq!(decided, reference(&rows, &source, &destination, default));
    }
}
