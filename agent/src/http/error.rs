//! Every error that the HTTP API answers: its text and its status.
//!
//! These texts are wire contract: Consul's clients print and match them. This is the only table of
//! them in the agent; handlers name a variant.

use std::time::Duration;

use http::{Method, StatusCode};
use lictor_api::{
    GoDuration, ServiceId,
    duration::InvalidDuration,
    error::{NO_DATACENTER, NO_LEADER, NO_SERVERS},
    types::{session::MAX_TTL, txn::MAX_OPERATIONS},
    wire::DecodeError,
};
use lictor_core::acl::PermissionDenied;
use lictor_membership::{KeyringError, SendError};

use super::{Response, filter::FilterError};
use crate::{
    archive::ArchiveError,
    ca::CaError,
    events::FireError,
    forward::ForwardError,
    local::RegistrationError,
    message::MalformedRequest,
    server::{ServerError, snapshots::SnapshotError},
};

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    // === any request
    /// No endpoint has this path.
    #[error("{}", if *v1 {
        "Invalid URL path: not a recognized HTTP API endpoint\n"
    } else {
        "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"
    })]
    UnknownPath {
        /// Whether it looks like the API's.
        v1: bool,
    },
    /// The endpoint does not have this method.
    #[error("method {method} not allowed")]
    MethodNotAllowed {
        /// The method.
        method: Method,
        /// The `Allow` header.
        allow: String,
    },
    /// Path or query are not percent-encoded UTF-8.
    #[error("Invalid URL: not percent-encoded UTF-8")]
    Encoding,
    /// The body could not be received.
    #[error("Request body could not be read")]
    Body,
    /// The body is larger than accepted.
    #[error(
        "Request body({bytes} bytes) too large, max size: {limit} bytes. See https://developer.hashicorp.com/docs/agent/config/config-files#kv_max_value_size."
    )]
    BodyTooLarge {
        /// Its length, or what was received of it.
        bytes: u64,
        /// The bound.
        limit: usize,
    },
    /// The body is not what the endpoint takes.
    #[error("{}", decode_text(.0))]
    Decode(#[source] DecodeError),
    /// The answer cannot be written as JSON.
    #[error("encoding the answer failed")]
    Encode(#[source] serde_json::Error),
    /// A parameter of Consul's paid edition.
    #[error("Invalid query parameter: \"{parameter}\" - {feature} are a Consul Enterprise feature")]
    EnterpriseParameter {
        /// The parameter.
        parameter: &'static str,
        /// What it belongs to.
        feature: &'static str,
    },
    /// A header of Consul's paid edition.
    #[error("Invalid header: \"{header}\" - {feature} are a Consul Enterprise feature")]
    EnterpriseHeader {
        /// The header.
        header: &'static str,
        /// What it belongs to.
        feature: &'static str,
    },
    /// Another datacenter, which is not reachable.
    #[error("{NO_DATACENTER}")]
    NoDatacenter,
    /// A client agent that knows no server.
    #[error("{NO_SERVERS}")]
    NoServers,
    /// Another agent was asked and did not answer.
    #[error("{}", forward_text(.0))]
    Forward(#[from] ForwardError),
    /// This agent passes requests on only so fast (`limits.rpc_rate`). Nothing was sent.
    #[error("RPC rate limit exceeded")]
    RateLimited,
    /// The caller may not.
    #[error(transparent)]
    PermissionDenied(#[from] PermissionDenied),
    /// The servers cannot or will not.
    #[error("{}", server_text(.0))]
    Server(#[from] ServerError),
    /// A defect; the log has it.
    #[error("internal error")]
    Panicked,

    // === reads
    /// `?index=` is not a number.
    #[error("Invalid index")]
    InvalidIndex,
    /// `?wait=` is not a duration.
    #[error("Invalid wait time")]
    InvalidWait,
    /// `?max_stale=` is not a duration.
    #[error("Invalid max_stale value {0:?}")]
    InvalidMaxStale(String),
    /// Both `?stale` and `?consistent`.
    #[error("Cannot specify ?stale with ?consistent, conflicting semantics.")]
    StaleWithConsistent,
    /// Both `?cached` and `?consistent`.
    #[error("Cannot specify ?cached with ?consistent, conflicting semantics.")]
    CachedWithConsistent,
    /// `?filter=` cannot be used.
    #[error("Failed to create boolean expression evaluator: {0}")]
    Filter(#[from] FilterError),
    /// A numeric parameter is not a number.
    #[error("strconv.ParseUint: parsing {0:?}: invalid syntax")]
    Number(String),

    // === kv
    /// No key in the path.
    #[error("Missing key name")]
    MissingKey,
    /// Parameters that exclude each other; the whole query.
    #[error("Conflicting flags: {0}\n")]
    ConflictingFlags(String),

    // === sessions and transactions
    /// No session in the path.
    #[error("Missing session")]
    MissingSession,
    /// There is no such session to renew.
    #[error("Session id '{0}' not found")]
    NoSession(String),
    /// A behavior that is neither.
    #[error("Invalid Behavior setting '{0}'")]
    InvalidBehavior(String),
    /// A TTL that is no duration.
    #[error("Session TTL '{ttl}' invalid: {reason}")]
    UnreadableTtl {
        /// The TTL.
        ttl: String,
        /// Why.
        reason: InvalidDuration,
    },
    /// A TTL that is too short or too long; in nanoseconds.
    #[error(
        "Invalid Session TTL '{}', must be between [{}={}]",
        .ttl.as_nanos(), GoDuration(*.shortest), GoDuration(MAX_TTL)
    )]
    InvalidTtl {
        /// The TTL.
        ttl: Duration,
        /// The shortest (`session_ttl_min`).
        shortest: Duration,
    },
    /// A transaction's body is not what it should be.
    #[error("Failed to parse body: {}", named(.0))]
    TxnDecode(#[source] DecodeError),
    /// A transaction with too many operations.
    #[error("Transaction contains too many operations ({0} > {MAX_OPERATIONS})")]
    TooManyOperations(usize),
    /// A transaction that is too large.
    #[error(
        "Request body({bytes} bytes) too large, max size: {limit} bytes. See https://developer.hashicorp.com/docs/agent/config/config-files#txn_max_req_len."
    )]
    TxnTooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        limit: usize,
    },

    // === catalog and health
    /// No service in the path.
    #[error("Missing service name")]
    MissingServiceName,
    /// No node in the path.
    #[error("Missing node name")]
    MissingNodeName,
    /// No state in the path.
    #[error("Missing check state")]
    MissingCheckState,
    /// `?passing=` is not a boolean.
    #[error("Invalid value for ?passing")]
    InvalidPassing,
    /// A deregistration without a node.
    #[error("Must provide node")]
    MissingNode,
    /// An instance without a service.
    #[error("Must provide service name (Service.Service) when service ID is provided")]
    MissingServiceOfId,
    /// A proxy without a service behind it.
    #[error("Proxy.DestinationServiceName must be non-empty for Connect proxy services")]
    MissingProxyDestination,

    // === agent
    /// A definition or report that the agent does not take.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// An instance that is not registered here, on a read.
    #[error("unknown service ID: {0}")]
    UnknownServiceId(ServiceId),
    /// No instance in the path.
    #[error("Missing service ID")]
    MissingServiceId,
    /// No check in the path.
    #[error("Missing check ID")]
    MissingCheckId,
    /// A report of no known state.
    #[error("Invalid check status: '{0}'")]
    InvalidCheckStatus(String),
    /// Maintenance without `?enable=`.
    #[error("Missing value for enable")]
    MissingEnable,
    /// `?enable=` is not a boolean.
    #[error("Invalid value for enable: {0:?}")]
    InvalidEnable(String),
    /// The new configuration cannot be used; the old one stays in force.
    #[error("{0}")]
    Reload(String),
    /// This agent is not in the pool.
    #[error("this agent is not in that pool: its port is off in the configuration")]
    NoGossip,
    /// Nobody could be joined.
    #[error("{0}")]
    Join(String),
    /// There is no such member.
    #[error("agent: No node found with name '{0}'")]
    NoMember(String),
    /// An event that cannot be told.
    #[error(transparent)]
    Event(#[from] FireError),

    // === coordinates and keys
    /// A coordinate with numbers that are none.
    #[error("invalid coordinate")]
    InvalidCoordinate,
    /// A coordinate of other dimensions.
    #[error("incompatible coordinate")]
    IncompatibleCoordinate,
    /// Not a gossip key.
    #[error("{0}")]
    Key(KeyringError),
    /// `?relay-factor=` is too large.
    #[error("Relay factor {0} is out of range; the range is [0, 5]")]
    RelayFactor(u64),
    /// The pool does not take messages.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Not every member did what was asked.
    #[error(
        "{pool} keyring: {failed}/{nodes} nodes reported failure, {answered}/{nodes} answered: {errors}"
    )]
    Keyring {
        /// Which pool.
        pool: &'static str,
        /// How many refused.
        failed: usize,
        /// How many answered.
        answered: usize,
        /// How many were asked.
        nodes: usize,
        /// What they said.
        errors: String,
    },

    // === config entries
    /// An entry without `Kind`.
    #[error("Request decode failed: Payload does not contain a kind/Kind key at the top level")]
    MissingKind,
    /// An entry of a kind that is not stored.
    #[error(
        "Request decode failed: invalid config entry kind: {0:?}, this version stores service-intentions only"
    )]
    UnsupportedKind(String),
    /// An entry that cannot be used.
    #[error("{0}")]
    InvalidEntry(String),
    /// There is no such entry.
    #[error("Config entry not found for {kind:?} / {name:?}")]
    NoEntry {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// A read without a kind.
    #[error("Must provide either a kind or both kind and name")]
    MissingKindAndName,
    /// A deletion without kind or name.
    #[error("Must provide both a kind and name to delete")]
    MissingKindOrName,

    // === snapshot
    /// The archive cannot be made or used.
    #[error("failed to read snapshot file: {}", chain(.0))]
    Archive(#[source] ArchiveError),

    // === operator
    /// No peer is named.
    #[error(
        "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove"
    )]
    MissingPeer,
    /// Two peers are named.
    #[error("Must specify only one of ?id or ?address")]
    ConflictingPeer,
    /// There is no such peer.
    #[error("{name} {value:?} was not found in the Raft configuration")]
    UnknownPeer {
        /// What it was named by.
        name: &'static str,
        /// Its value.
        value: String,
    },

    // === connect
    /// The mesh is off.
    #[error("Connect must be enabled in order to use this endpoint")]
    ConnectDisabled,
    /// The certificate authority cannot or will not.
    #[error(transparent)]
    Ca(CaError),
    /// An authorization without a destination.
    #[error("Target service must be specified")]
    MissingTarget,
    /// An authorization of somebody without a service's identity.
    #[error("ClientCertURI not a valid Connect identifier")]
    InvalidClientCertUri,
    /// There is no such intention.
    #[error("Intention not found")]
    NoIntention,
    /// Another destination in a change by ID. COMPAT: Consul's sentence.
    #[error("Cannot modify Destination partition/namespace/name for an intention once it exists.")]
    IntentionDestination,
    /// The ID in the path is none.
    #[error("failed intention lookup: index error: UUID must be 36 characters")]
    IntentionId,
    /// There is one between the same names.
    #[error("duplicate intention found: {0}")]
    DuplicateIntention(String),
    /// A required parameter is missing.
    #[error("required query parameter '{0}' not set")]
    MissingParameter(&'static str),
    /// `?by=` is neither.
    #[error("'by' parameter must be one of 'source' or 'destination'")]
    InvalidMatchBy,
    /// A name in a namespace or partition that does not exist.
    #[error("error parsing {parameter} {value:?}: only the default namespace and partition exist")]
    IntentionName {
        /// The parameter.
        parameter: &'static str,
        /// Its value.
        value: String,
    },
}

impl HttpError {
    /// The status it is answered with.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath { .. }
            | Self::NoEntry { .. }
            | Self::UnknownServiceId(_)
            | Self::NoIntention
            | Self::NoSession(_)
            | Self::MissingKindAndName
            | Self::MissingKindOrName => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } | Self::TooManyOperations(_) | Self::TxnTooLarge { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::PermissionDenied(_) => StatusCode::FORBIDDEN,
            Self::Registration(error) => registration_status(error),
            Self::RateLimited | Self::Ca(CaError::RateLimited) => StatusCode::TOO_MANY_REQUESTS,
            Self::Ca(CaError::ServiceName(_)) => StatusCode::BAD_REQUEST,
            // COMPAT: what Consul's servers refuse, and parameters it does not check, are 500.
            Self::Archive(_)
            | Self::Ca(_)
            | Self::ConnectDisabled
            | Self::DuplicateIntention(_)
            | Self::Encode(_)
            | Self::Filter(_)
            | Self::Event(FireError::Send(SendError::Stopped | SendError::Engine(_)))
            | Self::Join(_)
            | Self::Keyring { .. }
            | Self::NoMember(_)
            | Self::Send(_)
            | Self::InvalidEntry(_)
            | Self::InvalidBehavior(_)
            | Self::InvalidMatchBy
            | Self::InvalidTtl { .. }
            | Self::MissingNode
            | Self::MissingParameter(_)
            | Self::MissingProxyDestination
            | Self::MissingServiceOfId
            | Self::Forward(_)
            | Self::NoDatacenter
            | Self::NoGossip
            | Self::NoServers
            | Self::Number(_)
            | Self::Panicked
            | Self::Reload(_)
            | Self::Server(_)
            | Self::UnknownPeer { .. }
            | Self::UnreadableTtl { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Body
            | Self::ConflictingPeer
            | Self::MissingPeer
            | Self::CachedWithConsistent
            | Self::ConflictingFlags(_)
            | Self::Decode(_)
            | Self::Encoding
            | Self::Event(_)
            | Self::EnterpriseHeader { .. }
            | Self::EnterpriseParameter { .. }
            | Self::InvalidCheckStatus(_)
            | Self::InvalidEnable(_)
            | Self::IntentionDestination
            | Self::IntentionId
            | Self::IntentionName { .. }
            | Self::InvalidClientCertUri
            | Self::IncompatibleCoordinate
            | Self::InvalidCoordinate
            | Self::InvalidIndex
            | Self::Key(_)
            | Self::RelayFactor(_)
            | Self::InvalidMaxStale(_)
            | Self::InvalidPassing
            | Self::InvalidWait
            | Self::MissingCheckId
            | Self::MissingCheckState
            | Self::MissingEnable
            | Self::MissingKey
            | Self::MissingKind
            | Self::MissingNodeName
            | Self::MissingServiceId
            | Self::MissingServiceName
            | Self::MissingSession
            | Self::MissingTarget
            | Self::StaleWithConsistent
            | Self::TxnDecode(_)
            | Self::UnsupportedKind(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The answer.
    pub fn into_response(self) -> Response {
        let response = Response::text(self.status(), self.to_string());
        match self {
            Self::MethodNotAllowed { allow, .. } => response.with_header("allow", &allow),
            _ => response,
        }
    }
}

impl From<MalformedRequest> for HttpError {
    fn from(MalformedRequest: MalformedRequest) -> Self {
        Self::Encoding
    }
}

impl From<CaError> for HttpError {
    fn from(error: CaError) -> Self {
        match error {
            CaError::Server(error) => Self::Server(error),
            other => Self::Ca(other),
        }
    }
}

impl From<SnapshotError> for HttpError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Server(error) => Self::Server(error),
            SnapshotError::Archive(error) => Self::Archive(error),
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn decode_text(error: &DecodeError) -> String {
    format!("Request decode failed: {}", named(error))
}

/// A field of Consul's paid edition is named as such.
fn named(error: &DecodeError) -> String {
    let feature = match error {
        DecodeError::UnknownField(field) if field == "Namespace" => "Namespaces",
        DecodeError::UnknownField(field) if field == "Partition" => "Partitions",
        _ => return error.to_string(),
    };
    format!("{error} - {feature} are a Consul Enterprise feature")
}

/// COMPAT: what Consul finds out after it has decoded and validated a definition is 500.
fn registration_status(error: &RegistrationError) -> StatusCode {
    match error {
        RegistrationError::NoSuchService(_)
        | RegistrationError::UnknownService(_)
        | RegistrationError::UnknownCheck(_) => StatusCode::NOT_FOUND,
        RegistrationError::ScriptsDisabled
        | RegistrationError::RemoteScriptsDisabled
        | RegistrationError::NotTtl(_)
        | RegistrationError::Persist(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn forward_text(error: &ForwardError) -> String {
    match error {
        ForwardError::NoServers => NO_SERVERS.to_owned(),
        ForwardError::NoPath(_) => NO_DATACENTER.to_owned(),
        other => other.to_string(),
    }
}

fn server_text(error: &ServerError) -> String {
    match error {
        ServerError::NoLeader => NO_LEADER.to_owned(),
        other => other.to_string(),
    }
}
