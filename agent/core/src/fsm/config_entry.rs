//! Commands that change config entries, intentions among them (Consul "Config entries").

use lictor_api::{
    contract::SOURCE_TYPE_CONSUL,
    types::{
        config_entry::{ConfigEntry, SERVICE_INTENTIONS},
        intention::{ServiceIntentions, SourceIntention},
    },
};
use serde::{Deserialize, Serialize};

use super::Response;
use crate::state::{State, watch::Change};

/// A change to one config entry, which the proposer has validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ConfigEntryCommand {
    /// Insert or replace an entry; with `expected`, only if its `ModifyIndex` equals it (0: it does
    /// not exist).
    Upsert {
        /// The new entry.
        entry: ConfigEntry,
        /// The `ModifyIndex` it must have.
        expected: Option<u64>,
    },
    /// Remove an entry; with `expected`, only if its `ModifyIndex` equals it.
    Delete {
        /// Kind of the entry.
        kind: String,
        /// Name of the entry.
        name: String,
        /// The `ModifyIndex` it must have.
        expected: Option<u64>,
    },
}

/// A change to one source of one destination, merged into the destination's entry on the single
/// writer, so that two clients changing different sources do not overwrite each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum IntentionCommand {
    /// Insert or replace the source with the same name.
    Upsert {
        /// Service name or `*`.
        destination: String,
        /// The source.
        source: SourceIntention,
    },
    /// Remove the source; the entry is removed with its last source.
    Delete {
        /// Service name or `*`.
        destination: String,
        /// Service name or `*`.
        source: String,
    },
}

pub(super) fn apply(
    state: &mut State,
    change: &mut Change<'_>,
    command: ConfigEntryCommand,
) -> Response {
    match command {
        ConfigEntryCommand::Upsert { entry, expected } => {
            let old = state.config_entries.get(entry.kind(), entry.name());
            let modified = old.map_or(0, |old| old.modify_index());
            if expected.is_some_and(|expected| expected != modified) {
                return Response::Applied(false);
            }
            upsert(state, change, entry);
            Response::Applied(true)
        }
        ConfigEntryCommand::Delete { kind, name, expected } => {
            let modified =
                state.config_entries.get(&kind, &name).map_or(0, |old| old.modify_index());
            if expected.is_some_and(|expected| expected != modified) {
                return Response::Applied(false);
            }
            Response::Applied(state.config_entries.delete(change, &kind, &name))
        }
    }
}

pub(super) fn apply_intention(
    state: &mut State,
    change: &mut Change<'_>,
    command: IntentionCommand,
) -> Response {
    match command {
        IntentionCommand::Upsert { destination, source } => {
            let mut entry =
                state.config_entries.intentions_for(&destination).cloned().unwrap_or_else(|| {
                    ServiceIntentions { name: destination, ..ServiceIntentions::default() }
                });
            // An ID is of one row: with another source, it is the same intention that changed.
            let has_id = |old: &SourceIntention| {
                !source.legacy_id.is_empty() && old.legacy_id == source.legacy_id
            };
            entry.sources.retain(|old| old.name != source.name && !has_id(old));
            entry.sources.push(source);
            upsert(state, change, ConfigEntry::ServiceIntentions(entry));
            Response::Applied(true)
        }
        IntentionCommand::Delete { destination, source } => {
            let Some(mut entry) = state.config_entries.intentions_for(&destination).cloned() else {
                return Response::Applied(false);
            };
            let before = entry.sources.len();
            entry.sources.retain(|old| old.name != source);
            if entry.sources.len() == before {
                return Response::Applied(false);
            }
            if entry.sources.is_empty() {
                state.config_entries.delete(change, SERVICE_INTENTIONS, &destination);
            } else {
                upsert(state, change, ConfigEntry::ServiceIntentions(entry));
            }
            Response::Applied(true)
        }
    }
}

/// Writes an entry with its indexes; one equal to the stored entry changes nothing.
fn upsert(state: &mut State, change: &mut Change<'_>, entry: ConfigEntry) {
    let ConfigEntry::ServiceIntentions(mut entry) = entry;
    normalize(&mut entry);
    let old = state.config_entries.intentions_for(&entry.name);
    entry.create_index = old.map_or(change.index, |old| old.create_index);
    entry.modify_index = old.map_or(change.index, |old| old.modify_index);
    if old.is_some_and(|old| *old == entry) {
        return;
    }
    entry.modify_index = change.index;
    state.config_entries.upsert(change, ConfigEntry::ServiceIntentions(entry));
}

/// Sets each source's precedence (Consul "Precedence and match order") and sorts by it.
fn normalize(entry: &mut ServiceIntentions) {
    let any_destination = entry.name == "*";
    for source in &mut entry.sources {
        source.precedence = match (any_destination, source.name == "*") {
            (false, false) => 9,
            (false, true) => 8,
            (true, false) => 6,
            (true, true) => 5,
        };
        if source.source_type.is_empty() {
            source.source_type = SOURCE_TYPE_CONSUL.to_owned();
        }
    }
    entry.sources.sort_by(|a, b| b.precedence.cmp(&a.precedence).then_with(|| a.name.cmp(&b.name)));
}
