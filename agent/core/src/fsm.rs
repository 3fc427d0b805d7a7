//! The state machine: what each committed command does to the [`State`].
//!
//! INVARIANT: `apply` is a pure, total function of state and command. Times, UUIDs and keys are
//! chosen by the proposer; a command that cannot be carried out changes nothing and returns
//! [`Response::Rejected`]; nothing panics, because every server applies every entry.
//!
//! Entries outlive the process: MessagePack with field names behind a version byte. A new command
//! is a new variant; a server that does not know a variant stops instead of skipping it.

pub mod autopilot;
pub mod catalog;
pub mod certificate_authority;
pub mod config_entry;
pub mod coordinate;
pub mod kv;
pub mod restore;
pub mod session;
pub mod txn;

use lictor_api::types::catalog::{DeregisterRequest, RegisterRequest};
use serde::{Deserialize, Serialize};

use crate::state::{
    State,
    watch::{Change, Touched},
};
pub use autopilot::AutopilotCommand;
pub use certificate_authority::CaCommand;
pub use config_entry::{ConfigEntryCommand, IntentionCommand};
pub use coordinate::CoordinateCommand;
pub use kv::KvCommand;
pub use restore::RestoreCommand;
pub use session::{Expired, SessionCommand};
pub use txn::{Operation, TxnOutcome};

/// Version of the entry encoding.
const ENTRY_VERSION: u8 = 1;

/// A change to the replicated state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Upsert a node, an instance, checks.
    Register(Box<RegisterRequest>),
    /// Remove a node, an instance or a check.
    Deregister(DeregisterRequest),
    /// Change keys.
    Kv(KvCommand),
    /// Change config entries.
    ConfigEntry(Box<ConfigEntryCommand>),
    /// Change one source of one destination's intentions.
    Intention(Box<IntentionCommand>),
    /// Change the certificate authority.
    Ca(Box<CaCommand>),
    /// Change sessions.
    Session(Box<SessionCommand>),
    /// Carry out all of these or none.
    Transaction(Vec<Operation>),
    /// Replace everything by a saved state.
    Restore(RestoreCommand),
    /// Change autopilot's settings.
    Autopilot(AutopilotCommand),
    /// Change network coordinates.
    Coordinate(CoordinateCommand),
}

/// Result of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// The command was carried out.
    Done,
    /// The result of a conditional command: true if its condition held and it was carried out.
    Applied(bool),
    /// The command was refused and changed nothing.
    Rejected(Rejection),
    /// The rows that a transaction read and wrote, or the reasons why it changed nothing.
    Transaction(TxnOutcome),
}

/// Why a committed command changed nothing. The texts are Consul's, which clients print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// A registration has no node name.
    #[error("Must provide node")]
    MissingNode,
    /// A registration of a new or changed node has no address.
    #[error("Must provide address if SkipNodeUpdate is not set")]
    MissingAddress,
    /// An instance or check names a node that does not exist.
    #[error("node {0:?} does not exist")]
    UnknownNode(String),
    /// A check names an instance that does not exist.
    #[error("service ID {service:?} does not exist on node {node:?}")]
    UnknownService {
        /// Name of the node.
        node: String,
        /// ID of the instance.
        service: String,
    },
    /// There is no authority to change yet.
    #[error("the certificate authority is not initialized")]
    NoAuthority,
    /// A lock names no session.
    #[error("missing session")]
    MissingSession,
    /// A lock names a session that does not exist.
    #[error("invalid session {0:?}")]
    InvalidSession(String),
    /// The ID of a new session is empty or taken.
    #[error("session ID {0:?} cannot be used")]
    SessionId(String),
    /// A session or instance names a node that does not exist.
    #[error("Missing node registration")]
    MissingNodeRegistration,
    /// A check names an instance that does not exist.
    #[error("Missing service registration")]
    MissingServiceRegistration,
    /// A session depends on a check that does not exist.
    #[error("Missing check '{0}' registration")]
    MissingCheckRegistration(String),
    /// A session depends on a check that is critical.
    #[error("Check '{0}' is in critical state")]
    CriticalCheck(String),
    /// The part belongs to a restore that is not in progress, or is out of order.
    #[error("the restore was given up because another one began")]
    NoRestore,
    /// The staged state is damaged or not a snapshot.
    #[error("the state to restore is not usable: {0}")]
    Unrestorable(String),
}

/// An entry that this version cannot read; the server must stop.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// A newer version wrote the entry.
    #[error("log entry format {0} is newer than {ENTRY_VERSION}, the newest this version reads")]
    Version(u8),
    /// The entry is empty or damaged.
    #[error("decoding log entry")]
    Decode(#[source] Option<rmp_serde::decode::Error>),
    /// The command cannot be encoded; no command causes this.
    #[error("encoding log entry")]
    Encode(#[from] rmp_serde::encode::Error),
}

impl Command {
    /// Encodes the command as a log entry's payload.
    ///
    /// # Errors
    /// [`EntryError::Encode`], which no command causes.
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        let mut bytes = vec![ENTRY_VERSION];
        rmp_serde::encode::write_named(&mut bytes, self)?;
        Ok(bytes)
    }

    /// Decodes a log entry's payload.
    ///
    /// # Errors
    /// [`EntryError`]: the entry is damaged or newer than this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        match bytes {
            [] => Err(EntryError::Decode(None)),
            [ENTRY_VERSION, body @ ..] => {
                rmp_serde::from_slice(body).map_err(|e| EntryError::Decode(Some(e)))
            }
            [version, ..] => Err(EntryError::Version(*version)),
        }
    }
}

/// Carries out one committed command. `touched` collects the topics that it changed.
pub fn apply(state: &mut State, index: u64, command: Command, touched: &mut Touched) -> Response {
    let change = &mut Change::new(state.advance(index), touched);
    match command {
        Command::Register(request) => catalog::register(state, change, *request),
        Command::Deregister(request) => catalog::deregister(state, change, &request),
        Command::Kv(command) => kv::apply(state, change, command),
        Command::ConfigEntry(command) => config_entry::apply(state, change, *command),
        Command::Intention(command) => config_entry::apply_intention(state, change, *command),
        Command::Ca(command) => certificate_authority::apply(state, change, *command),
        Command::Session(command) => session::apply(state, change, *command),
        Command::Transaction(operations) => txn::apply(state, change, operations),
        Command::Restore(command) => restore::apply(state, command, change.touched),
        Command::Autopilot(command) => autopilot::apply(state, change.index, command),
        Command::Coordinate(command) => coordinate::apply(state, change, command),
    }
}
