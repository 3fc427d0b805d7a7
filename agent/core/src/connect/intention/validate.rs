//! Validation of a `service-intentions` entry before it is proposed.

use std::collections::{BTreeMap, BTreeSet};

use lictor_api::{
    contract::SOURCE_TYPE_CONSUL,
    types::intention::{ServiceIntentions, SourceIntention},
};

use super::ANY;

/// The longest description and meta value.
const MAX_TEXT_BYTES: usize = 512;
/// The most meta pairs.
const MAX_META_PAIRS: usize = 64;
/// The longest meta key.
const MAX_META_KEY_BYTES: usize = 128;

/// What is wrong with an entry. The texts are Consul's: the HTTP API answers them as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum InvalidIntention {
    #[error("Name is required")]
    Name,
    #[error("Name: wildcard character '*' cannot be used with partial values")]
    PartialWildcard,
    #[error("At least one source is required")]
    NoSources,
    #[error("Sources[{0}].Name is required")]
    SourceName(usize),
    #[error("Sources[{0}].Name: wildcard character '*' cannot be used with partial values")]
    SourcePartialWildcard(usize),
    #[error("Sources[{0}].Type must be set to 'consul'")]
    SourceType(usize),
    #[error("Sources[{0}].Description exceeds maximum length {MAX_TEXT_BYTES}")]
    Description(usize),
    #[error("Sources[{0}].Action must be set to 'allow' or 'deny'")]
    ActionMissing(usize),
    #[error("Sources[{0}].Action must be omitted if Permissions are specified")]
    ActionWithPermissions(usize),
    #[error(
        "Sources[{0}].Permissions cannot be specified on intentions with wildcarded destinations"
    )]
    PermissionsOnWildcard(usize),
    #[error(
        "service {0:?} has protocol \"tcp\", which is incompatible with L7 intentions permissions"
    )]
    PermissionsOnTcp(String),
    #[error("Sources[{0}] defines {1:?} more than once")]
    SourceTwice(usize, String),
    #[error(
        "invalid Meta: Node metadata cannot contain more than {MAX_META_PAIRS} key/value pairs"
    )]
    MetaPairs,
    #[error("invalid Meta: Key cannot be blank")]
    MetaKeyBlank,
    #[error("invalid Meta: Key is too long (limit: {MAX_META_KEY_BYTES} characters)")]
    MetaKey,
    #[error("invalid Meta: Value is too long (limit: {MAX_TEXT_BYTES} characters)")]
    MetaValue,
}

impl InvalidIntention {
    /// Returns the text about one intention that was not written as an entry.
    pub fn flat(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Name => "DestinationName must be set".to_owned(),
            Self::SourceName(_) => "SourceName must be set".to_owned(),
            Self::PartialWildcard => format!("Destination{text}"),
            _ => text
                .replace("Sources[0].Name", "SourceName")
                .replace("Sources[0].Type", "SourceType")
                .replace("Sources[0].", ""),
        }
    }
}

/// Checks an entry that a client wants to write.
///
/// # Errors
/// [`InvalidIntention`]: the first violation.
pub fn validate(entry: &ServiceIntentions) -> Result<(), InvalidIntention> {
    if entry.name.is_empty() {
        return Err(InvalidIntention::Name);
    }
    if partial_wildcard(&entry.name) {
        return Err(InvalidIntention::PartialWildcard);
    }
    if entry.sources.is_empty() {
        return Err(InvalidIntention::NoSources);
    }
    let mut seen = BTreeSet::new();
    for (index, source) in entry.sources.iter().enumerate() {
        validate_source(index, source, entry.name == ANY)?;
        if !seen.insert(&source.name) {
            return Err(InvalidIntention::SourceTwice(index, source.name.clone()));
        }
    }
    // Every service speaks tcp: there are no entries yet that give one another protocol.
    if entry.sources.iter().any(|source| !source.permissions.is_empty()) {
        return Err(InvalidIntention::PermissionsOnTcp(entry.name.clone()));
    }
    validate_meta(&entry.meta)?;
    entry.sources.iter().try_for_each(|source| validate_meta(&source.legacy_meta))
}

fn validate_meta(meta: &BTreeMap<String, String>) -> Result<(), InvalidIntention> {
    if meta.len() > MAX_META_PAIRS {
        return Err(InvalidIntention::MetaPairs);
    }
    for (key, value) in meta {
        match (key.len(), value.len()) {
            (0, _) => return Err(InvalidIntention::MetaKeyBlank),
            (key, _) if key > MAX_META_KEY_BYTES => return Err(InvalidIntention::MetaKey),
            (_, value) if value > MAX_TEXT_BYTES => return Err(InvalidIntention::MetaValue),
            _ => {}
        }
    }
    Ok(())
}

fn validate_source(
    index: usize,
    source: &SourceIntention,
    any_destination: bool,
) -> Result<(), InvalidIntention> {
    if source.name.is_empty() {
        return Err(InvalidIntention::SourceName(index));
    }
    if partial_wildcard(&source.name) {
        return Err(InvalidIntention::SourcePartialWildcard(index));
    }
    if !matches!(source.source_type.as_str(), "" | SOURCE_TYPE_CONSUL) {
        return Err(InvalidIntention::SourceType(index));
    }
    if source.description.len() > MAX_TEXT_BYTES {
        return Err(InvalidIntention::Description(index));
    }
    match (source.action.is_some(), !source.permissions.is_empty()) {
        (false, false) => Err(InvalidIntention::ActionMissing(index)),
        (true, true) => Err(InvalidIntention::ActionWithPermissions(index)),
        (false, true) if any_destination => Err(InvalidIntention::PermissionsOnWildcard(index)),
        _ => Ok(()),
    }
}

fn partial_wildcard(name: &str) -> bool {
    name != ANY && name.contains('*')
}
