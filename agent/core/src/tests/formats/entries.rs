//! Log entries: every kind of command, as it was encoded when the kind was new.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{assert_covers, hex, may_add, read, readable, samples, unhex, write};
use crate::{
    fsm::{
        self, CaCommand, Command, ConfigEntryCommand, CoordinateCommand, IntentionCommand,
        KvCommand, Operation, RestoreCommand, SessionCommand,
        txn::{CatalogVerb, KvVerb},
    },
    state::{State, watch::Touched},
};

const GOLDEN: &str = "entries.txt";

/// A function that names a variant, and the list of all names: a new variant does not compile
/// until it is in both.
macro_rules! variants {
    ($function:ident, $list:ident, $type:ty: $($pattern:pat => $name:literal,)*) => {
        const $list: &[&str] = &[$($name),*];
        fn $function(value: &$type) -> &'static str {
            match value {
                $($pattern => $name,)*
            }
        }
    };
}

variants! { command, COMMANDS, Command:
    Command::Register(_) => "Register",
    Command::Deregister(_) => "Deregister",
    Command::Kv(_) => "Kv",
    Command::ConfigEntry(_) => "ConfigEntry",
    Command::Intention(_) => "Intention",
    Command::Ca(_) => "Ca",
    Command::Session(_) => "Session",
    Command::Transaction(_) => "Transaction",
    Command::Restore(_) => "Restore",
    Command::Autopilot(_) => "Autopilot",
    Command::Coordinate(_) => "Coordinate",
}
variants! { kv, KV, KvCommand:
    KvCommand::Set { .. } => "Kv.Set",
    KvCommand::CheckAndSet { .. } => "Kv.CheckAndSet",
    KvCommand::Delete { .. } => "Kv.Delete",
    KvCommand::CheckAndDelete { .. } => "Kv.CheckAndDelete",
    KvCommand::DeleteTree { .. } => "Kv.DeleteTree",
    KvCommand::Lock { .. } => "Kv.Lock",
    KvCommand::Unlock { .. } => "Kv.Unlock",
}
variants! { config_entry, CONFIG_ENTRY, ConfigEntryCommand:
    ConfigEntryCommand::Upsert { .. } => "ConfigEntry.Upsert",
    ConfigEntryCommand::Delete { .. } => "ConfigEntry.Delete",
}
variants! { intention, INTENTION, IntentionCommand:
    IntentionCommand::Upsert { .. } => "Intention.Upsert",
    IntentionCommand::Delete { .. } => "Intention.Delete",
}
variants! { authority, AUTHORITY, CaCommand:
    CaCommand::Initialize { .. } => "Ca.Initialize",
    CaCommand::Configure { .. } => "Ca.Configure",
    CaCommand::Rotate { .. } => "Ca.Rotate",
}
variants! { session, SESSION, SessionCommand:
    SessionCommand::Create(_) => "Session.Create",
    SessionCommand::Destroy { .. } => "Session.Destroy",
    SessionCommand::Expire(_) => "Session.Expire",
}
variants! { restore, RESTORE, RestoreCommand:
    RestoreCommand::Begin { .. } => "Restore.Begin",
    RestoreCommand::Part { .. } => "Restore.Part",
    RestoreCommand::Commit { .. } => "Restore.Commit",
    RestoreCommand::Abandon { .. } => "Restore.Abandon",
}
variants! { coordinate, COORDINATE, CoordinateCommand:
    CoordinateCommand::Update(_) => "Coordinate.Update",
}
variants! { operation, OPERATIONS, Operation:
    Operation::Kv(_) => "Transaction.Kv",
    Operation::Node { .. } => "Transaction.Node",
    Operation::Service { .. } => "Transaction.Service",
    Operation::Check { .. } => "Transaction.Check",
}
variants! { kv_verb, KV_VERBS, KvVerb:
    KvVerb::Set => "Transaction.Kv.Set",
    KvVerb::Cas => "Transaction.Kv.Cas",
    KvVerb::Lock => "Transaction.Kv.Lock",
    KvVerb::Unlock => "Transaction.Kv.Unlock",
    KvVerb::Get => "Transaction.Kv.Get",
    KvVerb::GetOrEmpty => "Transaction.Kv.GetOrEmpty",
    KvVerb::GetTree => "Transaction.Kv.GetTree",
    KvVerb::CheckIndex => "Transaction.Kv.CheckIndex",
    KvVerb::CheckSession => "Transaction.Kv.CheckSession",
    KvVerb::CheckNotExists => "Transaction.Kv.CheckNotExists",
    KvVerb::Delete => "Transaction.Kv.Delete",
    KvVerb::DeleteTree => "Transaction.Kv.DeleteTree",
    KvVerb::DeleteCas => "Transaction.Kv.DeleteCas",
}
variants! { catalog_verb, CATALOG_VERBS, CatalogVerb:
    CatalogVerb::Get => "Transaction.Get",
    CatalogVerb::Set => "Transaction.Set",
    CatalogVerb::Cas => "Transaction.Cas",
    CatalogVerb::Delete => "Transaction.Delete",
    CatalogVerb::DeleteCas => "Transaction.DeleteCas",
}

/// Returns the names of every variant that a command is made of.
fn names(whole: &Command) -> Vec<&'static str> {
    let mut names = vec![command(whole)];
    match whole {
        Command::Register(_) | Command::Deregister(_) | Command::Autopilot(_) => {}
        Command::Kv(part) => names.push(kv(part)),
        Command::ConfigEntry(part) => names.push(config_entry(part)),
        Command::Intention(part) => names.push(intention(part)),
        Command::Ca(part) => names.push(authority(part)),
        Command::Session(part) => names.push(session(part)),
        Command::Restore(part) => names.push(restore(part)),
        Command::Coordinate(part) => names.push(coordinate(part)),
        Command::Transaction(operations) => {
            for part in operations {
                names.push(operation(part));
                names.push(match part {
                    Operation::Kv(part) => kv_verb(&part.verb),
                    Operation::Node { verb, .. }
                    | Operation::Service { verb, .. }
                    | Operation::Check { verb, .. } => catalog_verb(verb),
                });
            }
        }
    }
    names
}

/// One golden: an entry, what it says, and what it did when all before it had been applied.
struct Golden {
    index: u64,
    entry: Vec<u8>,
    command: Value,
    response: Value,
}

impl Golden {
    fn text(&self, title: &str) -> String {
        let command = serde_json::to_string_pretty(&self.command).unwrap();
        let Self { index, entry, response, .. } = self;
        format!("== {index} {title}\n{}{command}\n-> {response}\n\n", hex(entry))
    }

    fn parse(text: &str) -> Self {
        let (title, rest) = text.split_once('\n').unwrap();
        let (entry, rest) = rest.split_at(rest.find('{').unwrap());
        let (command, response) = rest.split_once("\n-> ").unwrap();
        Self {
            index: title.split_once(' ').unwrap().0.parse().unwrap(),
            entry: unhex(entry),
            command: serde_json::from_str(command).unwrap(),
            response: serde_json::from_str(response).unwrap(),
        }
    }
}

fn goldens() -> Vec<Golden> {
    read(GOLDEN).split("== ").skip(1).map(Golden::parse).collect()
}

fn json(value: impl serde::Serialize) -> Value {
    readable(serde_json::to_value(value).unwrap())
}

/// Adds a golden for each sample that has none yet.
fn add(known: usize) {
    let mut text = read(GOLDEN);
    let mut state = State::default();
    for (position, sample) in samples::all().into_iter().enumerate() {
        let index = position as u64 + 1;
        let title = *names(&sample).last().unwrap();
        let (entry, command) = (sample.encode().unwrap(), json(&sample));
        let response = json(fsm::apply(&mut state, index, sample, &mut Touched::default()));
        if position >= known {
            text += &Golden { index, entry, command, response }.text(title);
        }
    }
    write(GOLDEN, &text);
}

#[test]
fn every_old_entry_is_read_and_does_what_it_did() {
    let (known, samples) = (goldens().len(), samples::all().len());
    if known < samples {
        assert!(may_add(), "{} samples have no golden; UPDATE_GOLDEN=1 adds it", samples - known);
        add(known);
    }
    let mut state = State::default();
    for golden in goldens() {
        let place = format!("entry {}", golden.index);
        let command = Command::decode(&golden.entry).unwrap_or_else(|e| panic!("{place}: {e:?}"));
        assert_covers(&json(&command), &golden.command, &place);
        let again = Command::decode(&command.encode().unwrap()).unwrap();
        assert_eq!(again, command, "{place}");
        let response = fsm::apply(&mut state, golden.index, command, &mut Touched::default());
        assert_covers(&json(response), &golden.response, &format!("{place}'s response"));
    }
}

#[test]
fn every_kind_of_command_has_a_golden() {
    let commands = goldens().into_iter().map(|golden| Command::decode(&golden.entry).unwrap());
    let kept: BTreeSet<&str> = commands.flat_map(|command| names(&command)).collect();
    let lists = [
        COMMANDS,
        KV,
        CONFIG_ENTRY,
        INTENTION,
        AUTHORITY,
        SESSION,
        RESTORE,
        COORDINATE,
        OPERATIONS,
        KV_VERBS,
        CATALOG_VERBS,
    ];
    let missing: Vec<_> = lists.concat().into_iter().filter(|name| !kept.contains(name)).collect();
    assert!(
        missing.is_empty(),
        "add these to samples.rs and run with UPDATE_GOLDEN=1: {missing:?}"
    );
}
