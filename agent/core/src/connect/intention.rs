//! Intentions: the one that decides about a connection, and the flat view of them.
//!
//! INVARIANT: of all intentions that match, the one of highest precedence decides (9 exact source
//! and destination, 8 any source, 6 any destination, 5 any and any; ties by source, then
//! destination name). A source with L7 permissions is refused at L4. Names compare without regard
//! to ASCII case, like the catalog's, so that no spelling slips past a deny.
//!
//! Consul pages: "Service intentions", "Precedence and match order".

mod validate;

pub use validate::{InvalidIntention, validate};

use std::cmp::Ordering;

use lictor_api::types::intention::{
    Intention, IntentionAction, ServiceIntentions, SourceIntention,
};

use crate::state::State;

/// Matches every service.
pub const ANY: &str = "*";

/// Decision about a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// True if the connection may be opened.
    pub allow: bool,
    /// Reason, in Consul's words.
    pub reason: String,
}

/// Decides about a connection from service `source` to service `destination`; `default_allow`
/// applies when no intention matches.
pub fn decide(state: &State, source: &str, destination: &str, default_allow: bool) -> Decision {
    match matching(state, source, destination) {
        Some(intention) => {
            let layer = if intention.permissions.is_empty() { "L4" } else { "L7" };
            Decision {
                allow: allows(intention.action, &intention.permissions),
                reason: format!("Matched {layer} intention: {}", describe(&intention)),
            }
        }
        None => Decision {
            allow: default_allow,
            reason: "Default behavior configured by ACLs".to_owned(),
        },
    }
}

/// Returns the intention that decides about a connection, if any.
pub fn matching(state: &State, source: &str, destination: &str) -> Option<Intention> {
    rows(state)
        .filter(|(entry, row)| covers(&entry.name, destination) && covers(&row.name, source))
        .map(|(entry, row)| flatten(entry, row))
        .min_by(by_precedence)
}

/// Returns every intention, highest precedence first.
pub fn list(state: &State) -> Vec<Intention> {
    sorted(rows(state))
}

/// Returns the intentions that can decide about connections to `destination`, highest precedence
/// first.
pub fn for_destination(state: &State, destination: &str) -> Vec<Intention> {
    sorted(rows(state).filter(|(entry, _)| covers(&entry.name, destination)))
}

/// Returns the intentions that can decide about connections from `source`, highest precedence
/// first.
pub fn for_source(state: &State, source: &str) -> Vec<Intention> {
    sorted(rows(state).filter(|(_, row)| covers(&row.name, source)))
}

/// Returns the intention between exactly these two names.
pub fn exact(state: &State, source: &str, destination: &str) -> Option<Intention> {
    let entry = state.config_entries.intentions_for(destination)?;
    let row = entry.sources.iter().find(|row| row.name == source)?;
    Some(flatten(entry, row))
}

/// Returns the intention that was created with this ID through the old endpoints.
pub fn by_id(state: &State, id: &str) -> Option<Intention> {
    rows(state).find(|(_, row)| row.legacy_id == id).map(|(entry, row)| flatten(entry, row))
}

/// Returns whether an L4 proxy accepts a matching connection.
pub fn allows(action: Option<IntentionAction>, permissions: &[serde_json::Value]) -> bool {
    permissions.is_empty() && action == Some(IntentionAction::Allow)
}

/// Returns one line about an intention, as Consul's reasons and errors print it.
pub fn describe(intention: &Intention) -> String {
    let id = match intention.id.as_str() {
        "" => String::new(),
        id => format!("ID: {id}, "),
    };
    let verdict = match intention.permissions.len() {
        0 => {
            let action = intention.action.unwrap_or_default();
            format!("Action: {}", action.as_str().to_ascii_uppercase())
        }
        count => format!("Permissions: {count}"),
    };
    format!(
        "{}/{} => {}/{} ({id}Precedence: {}, {verdict})",
        intention.source_ns,
        intention.source_name,
        intention.destination_ns,
        intention.destination_name,
        intention.precedence,
    )
}

type Row<'a> = (&'a ServiceIntentions, &'a SourceIntention);

fn rows(state: &State) -> impl Iterator<Item = Row<'_>> {
    state
        .config_entries
        .intentions()
        .flat_map(|entry| entry.sources.iter().map(move |row| (entry, row)))
}

fn sorted<'a>(rows: impl Iterator<Item = Row<'a>>) -> Vec<Intention> {
    let mut intentions: Vec<Intention> = rows.map(|(entry, row)| flatten(entry, row)).collect();
    intentions.sort_by(by_precedence);
    intentions
}

fn covers(pattern: &str, name: &str) -> bool {
    pattern == ANY || pattern.eq_ignore_ascii_case(name)
}

fn by_precedence(a: &Intention, b: &Intention) -> Ordering {
    b.precedence
        .cmp(&a.precedence)
        .then_with(|| a.source_name.cmp(&b.source_name))
        .then_with(|| a.destination_name.cmp(&b.destination_name))
}

fn flatten(entry: &ServiceIntentions, row: &SourceIntention) -> Intention {
    Intention {
        id: row.legacy_id.clone(),
        description: row.description.clone(),
        source_ns: "default".to_owned(),
        source_name: row.name.clone(),
        destination_ns: "default".to_owned(),
        destination_name: entry.name.clone(),
        source_type: row.source_type.clone(),
        action: row.action,
        permissions: row.permissions.clone(),
        meta: if row.legacy_meta.is_empty() { &entry.meta } else { &row.legacy_meta }.clone(),
        precedence: row.precedence,
        create_index: entry.create_index,
        modify_index: entry.modify_index,
    }
}

#[cfg(test)]
mod tests;
