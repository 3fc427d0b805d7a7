//! The table of configuration keys, with everything that is documented about a key.
//!
//! INVARIANT: a key is declared once, as a row of `section!` in `source.rs` or below it. The row
//! generates the field of the `Source` struct, its documentation, its line in `REFERENCE.md`, and
//! its part of the configuration that the tests build, so that they agree. A new key is a row, a
//! field of `RuntimeConfig`, the line in `build/` between the two, and the field's class in
//! `reload.rs`.

#[macro_use]
mod section;

use std::collections::BTreeMap;

use lictor_api::{
    GoDuration,
    types::agent::{CheckDefinition, ServiceDefinition},
};
use serde_json::Value;

use super::source::Secret;

/// A block of the configuration file, or the whole file.
#[derive(Debug)]
pub struct Section {
    /// What the block configures; the lines of its documentation.
    pub about: &'static [&'static str],
    /// Its keys by topic, in the order of the reference page.
    pub groups: &'static [Group],
}

/// Keys of one topic.
#[derive(Debug)]
pub struct Group {
    /// The topic, as a heading; empty where the section has only one.
    pub title: &'static str,
    /// The keys.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// The name as users write it, without the blocks around it.
    pub name: &'static str,
    /// Returns the type as users write it.
    pub type_name: fn() -> String,
    /// What it does, for users; the lines of its documentation.
    pub effect: &'static [&'static str],
    /// How it is treated.
    pub kind: Kind,
    /// A valid value other than the default, as JSON; empty for a block.
    pub example: &'static str,
    /// Returns the section that the key holds, if it is a block.
    pub section: fn() -> Option<&'static Section>,
}

/// How a key is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It holds other keys.
    Block,
    /// It sets a value.
    Setting {
        /// The value when it is not given.
        default: &'static str,
        /// Which values are accepted.
        bounds: &'static str,
        /// When a changed value takes effect.
        reload: Reload,
    },
    /// Another name of a setting; the default and the bounds are the setting's.
    OlderSpelling {
        /// The setting's key.
        of: &'static str,
    },
    /// Accepted so that existing files start, and without effect.
    Ignored {
        /// Whether the agent warns at start when it is set: the operator may rely on it.
        warn_if_set: bool,
    },
}

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// At a reload.
    Live,
    /// At a restart; a reload that changes it is rejected.
    Restart,
    /// At the next start: it is only read while the agent starts, so a reload accepts the change.
    NextStart,
}

impl Reload {
    /// Returns the word of the reference page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Restart => "restart",
            Self::NextStart => "next start",
        }
    }
}

/// A key with its path.
#[derive(Debug, Clone)]
pub struct Row {
    /// The names of the blocks around the key and its own.
    pub path: Vec<&'static str>,
    /// The key.
    pub key: &'static Key,
}

impl Row {
    /// Returns the dotted key, as error messages name it.
    pub fn dotted(&self) -> String {
        self.path.join(".")
    }

    /// Returns the key's value in a document, if it is there.
    pub fn value_in<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.path.iter().try_fold(document, |value, name| value.get(name))
    }
}

impl Section {
    /// Returns the section's keys in the order of the table.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.groups.iter().flat_map(|group| group.keys)
    }

    /// Returns every key of the section and of the blocks in it, blocks before their keys.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        self.collect(&[], &mut rows);
        rows
    }

    fn collect(&self, blocks: &[&'static str], rows: &mut Vec<Row>) {
        for key in self.keys() {
            let path = [blocks, &[key.name]].concat();
            rows.push(Row { path: path.clone(), key });
            if let Some(section) = (key.section)() {
                section.collect(&path, rows);
            }
        }
    }
}

/// A type that a key's value can have.
pub trait KeyType {
    /// Returns the type as users write it.
    fn type_name() -> String;

    /// Returns the section of a block.
    fn section() -> Option<&'static Section> {
        None
    }
}

macro_rules! key_types {
    ($($type:ty => $name:literal,)*) => {
        $(impl KeyType for $type {
            fn type_name() -> String {
                $name.to_owned()
            }
        })*
    };
}

key_types! {
    bool => "boolean",
    i32 => "integer",
    i64 => "integer",
    u32 => "integer",
    usize => "integer",
    f64 => "number",
    String => "string",
    Secret => "secret string",
    GoDuration => "duration",
    ServiceDefinition => "service",
    CheckDefinition => "check",
    Value => "any",
}

impl<T: KeyType> KeyType for Option<T> {
    fn type_name() -> String {
        T::type_name()
    }

    fn section() -> Option<&'static Section> {
        T::section()
    }
}

impl<T: KeyType> KeyType for Vec<T> {
    fn type_name() -> String {
        format!("list of {}s", T::type_name())
    }
}

impl<T: KeyType> KeyType for BTreeMap<String, T> {
    fn type_name() -> String {
        format!("map of {}s", T::type_name())
    }
}
