//! Every error that the HTTP API answers: its text and its status.
//!
//! These texts are wire contract: Consul's clients print and match them. An error that is found in a
//! handler is an entry of the table below. What the rest of the agent finds has a table in its own
//! module, which a variant here wraps and whose texts it passes on: registrations
//! (`local/error.rs`), intentions (`connect/intention/validate.rs` of the core), refused commands
//! (`fsm.rs` of the core), certificates (`ca.rs`), archives (`archive.rs`), events (`events.rs`),
//! filters (`filter.rs`), operations of transactions (`txn/operation.rs`). The mesh service, which
//! is gRPC, has `rpc/subject.rs`. Not errors of a request, and so not here: what
//! `agent/health.rs` answers about an unknown instance, and how `server.rs` refuses a connection.

mod wrapped;

use std::time::Duration;

use http::{Method, StatusCode};
use lictor_api::{
    GoDuration, ServiceId,
    duration::InvalidDuration,
    error::{NO_DATACENTER, NO_SERVERS},
    types::{session::MAX_TTL, txn::MAX_OPERATIONS},
    wire::DecodeError,
};
use lictor_core::{acl::PermissionDenied, connect::intention::InvalidIntention};
use lictor_membership::{KeyringError, SendError};

use super::{Response, filter::FilterError};
use crate::{
    archive::ArchiveError, ca::CaError, events::FireError, forward::ForwardError,
    local::RegistrationError, server::ServerError,
};
use wrapped::unknown_path;

/// Makes the enum, its texts and its statuses: `Name { fields } = STATUS("text", arguments);`.
/// A wrapped error is shown as `{0}`, or by a function of `wrapped` (`fmt =`): clients read its text.
macro_rules! errors {
    ($(
        #[doc = $doc:literal]
        $name:ident $(($($tuple:tt)*))? $({ $($fields:tt)* })? = $status:ident($($text:tt)*);
    )*) => {
        /// Why a request is refused or failed.
        #[derive(Debug, thiserror::Error)]
        pub enum HttpError {
            $(
                #[doc = $doc]
                #[error($($text)*)]
                $name $(($($tuple)*))? $({ $($fields)* })?,
            )*
        }

        impl HttpError {
            /// Returns the status that the table gives a variant.
            fn listed_status(&self) -> StatusCode {
                match self {
                    $(Self::$name { .. } => StatusCode::$status,)*
                }
            }
        }
    };
}

errors! {
    // === any request
    /// No endpoint has this path; `v1` tells whether it looks like one of the API.
    UnknownPath { v1: bool } = NOT_FOUND("{}", unknown_path(*v1));
    /// The endpoint does not have this method; `allow` is the header of the response.
    MethodNotAllowed { method: Method, allow: String } = METHOD_NOT_ALLOWED(
        "method {method} not allowed"
    );
    /// Path or query are not percent-encoded UTF-8.
    Encoding = BAD_REQUEST("Invalid URL: not percent-encoded UTF-8");
    /// The body was not received.
    Body = BAD_REQUEST("Request body could not be read");
    /// The body is larger than `limit`; `bytes` is its length, or what was received of it.
    BodyTooLarge { bytes: u64, limit: usize } = PAYLOAD_TOO_LARGE(
        "Request body({bytes} bytes) too large, max size: {limit} bytes. See https://developer.hashicorp.com/docs/agent/config/config-files#kv_max_value_size."
    );
    /// The body is not what the endpoint takes.
    Decode(#[source] DecodeError) = BAD_REQUEST(fmt = wrapped::decode);
    /// The response has no JSON form.
    Encode(#[source] serde_json::Error) = INTERNAL_SERVER_ERROR("encoding the answer failed");
    /// A query parameter of Consul Enterprise.
    EnterpriseParameter { parameter: &'static str, feature: &'static str } = BAD_REQUEST(
        "Invalid query parameter: \"{parameter}\" - {feature} are a Consul Enterprise feature"
    );
    /// A header of Consul Enterprise.
    EnterpriseHeader { header: &'static str, feature: &'static str } = BAD_REQUEST(
        "Invalid header: \"{header}\" - {feature} are a Consul Enterprise feature"
    );
    /// The request names a datacenter that is not reachable from here.
    NoDatacenter = INTERNAL_SERVER_ERROR("{NO_DATACENTER}");
    /// A client agent knows no server.
    NoServers = INTERNAL_SERVER_ERROR("{NO_SERVERS}");
    /// The request was forwarded and not answered.
    Forward(#[from] ForwardError) = INTERNAL_SERVER_ERROR(fmt = wrapped::forward);
    /// Requests are forwarded no faster than `limits.rpc_rate`; nothing was sent.
    RateLimited = TOO_MANY_REQUESTS("RPC rate limit exceeded");
    /// The caller is not allowed to.
    PermissionDenied(#[from] PermissionDenied) = FORBIDDEN("{0}");
    /// The servers could not, or refused.
    Server(#[from] ServerError) = INTERNAL_SERVER_ERROR(fmt = wrapped::server);
    /// There is no Prometheus page (`telemetry.prometheus_retention_time`).
    PrometheusOff = UNSUPPORTED_MEDIA_TYPE(
        "Prometheus is not enabled since its retention time is not positive"
    );
    /// A defect of the agent; the log has the details.
    Panicked = INTERNAL_SERVER_ERROR("internal error");
    /// The servers answered a command with a response of another; the log has the details.
    UnexpectedResponse = INTERNAL_SERVER_ERROR("internal error");

    // === reads
    /// `?index=` is not a number.
    InvalidIndex = BAD_REQUEST("Invalid index");
    /// `?wait=` is not a duration.
    InvalidWait = BAD_REQUEST("Invalid wait time");
    /// `?max_stale=` is not a duration.
    InvalidMaxStale(String) = BAD_REQUEST("Invalid max_stale value {0:?}");
    /// Both `?stale` and `?consistent`.
    StaleWithConsistent = BAD_REQUEST(
        "Cannot specify ?stale with ?consistent, conflicting semantics."
    );
    /// Both `?cached` and `?consistent`.
    CachedWithConsistent = BAD_REQUEST(
        "Cannot specify ?cached with ?consistent, conflicting semantics."
    );
    /// `?filter=` cannot be used.
    Filter(#[from] FilterError) = INTERNAL_SERVER_ERROR(
        "Failed to create boolean expression evaluator: {0}"
    );
    /// A numeric parameter is not a number.
    Number(String) = INTERNAL_SERVER_ERROR("strconv.ParseUint: parsing {0:?}: invalid syntax");

    // === kv
    /// The path names no key.
    MissingKey = BAD_REQUEST("Missing key name");
    /// Parameters exclude each other; with the whole query.
    ConflictingFlags(String) = BAD_REQUEST("Conflicting flags: {0}\n");

    // === sessions and transactions
    /// The path names no session.
    MissingSession = BAD_REQUEST("Missing session");
    /// The session to renew does not exist.
    NoSession(String) = NOT_FOUND("Session id '{0}' not found");
    /// `Behavior` is neither `release` nor `delete`.
    InvalidBehavior(String) = INTERNAL_SERVER_ERROR("Invalid Behavior setting '{0}'");
    /// `TTL` is not a duration.
    UnreadableTtl { ttl: String, reason: InvalidDuration } = INTERNAL_SERVER_ERROR(
        "Session TTL '{ttl}' invalid: {reason}"
    );
    /// `TTL` is out of bounds; `shortest` is `session_ttl_min`.
    InvalidTtl { ttl: Duration, shortest: Duration } = INTERNAL_SERVER_ERROR(
        "Invalid Session TTL '{}', must be between [{}={}]", .ttl.as_nanos(), GoDuration(*.shortest), GoDuration(MAX_TTL)
    );
    /// The body of a transaction cannot be decoded.
    TxnDecode(#[source] DecodeError) = BAD_REQUEST(fmt = wrapped::txn_decode);
    /// A transaction has too many operations.
    TooManyOperations(usize) = PAYLOAD_TOO_LARGE(
        "Transaction contains too many operations ({0} > {MAX_OPERATIONS})"
    );
    /// The body of a transaction is larger than `limit`.
    TxnTooLarge { bytes: usize, limit: usize } = PAYLOAD_TOO_LARGE(
        "Request body({bytes} bytes) too large, max size: {limit} bytes. See https://developer.hashicorp.com/docs/agent/config/config-files#txn_max_req_len."
    );

    // === catalog and health
    /// The path names no service.
    MissingServiceName = BAD_REQUEST("Missing service name");
    /// The path names no node.
    MissingNodeName = BAD_REQUEST("Missing node name");
    /// The path names no state.
    MissingCheckState = BAD_REQUEST("Missing check state");
    /// `?passing=` is not a boolean.
    InvalidPassing = BAD_REQUEST("Invalid value for ?passing");
    /// A deregistration names no node.
    MissingNode = INTERNAL_SERVER_ERROR("Must provide node");
    /// An instance has an ID and no service name.
    MissingServiceOfId = INTERNAL_SERVER_ERROR(
        "Must provide service name (Service.Service) when service ID is provided"
    );
    /// A proxy has no destination.
    MissingProxyDestination = INTERNAL_SERVER_ERROR(
        "Proxy.DestinationServiceName must be non-empty for Connect proxy services"
    );
    /// `?sg=` names a sameness group, which Consul CE does not have.
    SamenessGroup = INTERNAL_SERVER_ERROR("sameness groups are not supported in consul CE");

    // === agent
    /// The agent refuses a definition or a report.
    Registration(#[from] RegistrationError) = BAD_REQUEST("{0}");
    /// A read names an instance that is not registered on this agent.
    UnknownServiceId(ServiceId) = NOT_FOUND("unknown service ID: {0}");
    /// The path names no instance.
    MissingServiceId = BAD_REQUEST("Missing service ID");
    /// The path names no check.
    MissingCheckId = BAD_REQUEST("Missing check ID");
    /// A report names an unknown state.
    InvalidCheckStatus(String) = BAD_REQUEST("Invalid check status: '{0}'");
    /// Maintenance without `?enable=`.
    MissingEnable = BAD_REQUEST("Missing value for enable");
    /// `?enable=` is not a boolean.
    InvalidEnable(String) = BAD_REQUEST("Invalid value for enable: {0:?}");
    /// The new configuration cannot be used, in the words of the process that read it.
    Reload(String) = INTERNAL_SERVER_ERROR("{0}");
    /// This agent is not in the pool.
    NoGossip = INTERNAL_SERVER_ERROR(
        "this agent is not in that pool: its port is off in the configuration"
    );
    /// No address could be joined.
    Join(String) = INTERNAL_SERVER_ERROR("{0}");
    /// The pool has no such member.
    NoMember(String) = INTERNAL_SERVER_ERROR("agent: No node found with name '{0}'");
    /// The event cannot be fired.
    Event(#[from] FireError) = BAD_REQUEST("{0}");

    // === coordinates and keys
    /// A coordinate has numbers that are not finite.
    InvalidCoordinate = BAD_REQUEST("invalid coordinate");
    /// A coordinate has other dimensions.
    IncompatibleCoordinate = BAD_REQUEST("incompatible coordinate");
    /// The text is not a gossip key.
    Key(KeyringError) = BAD_REQUEST("{0}");
    /// `?relay-factor=` is out of range.
    RelayFactor(u64) = BAD_REQUEST("Relay factor {0} is out of range; the range is [0, 5]");
    /// The pool does not send the message.
    Send(#[from] SendError) = INTERNAL_SERVER_ERROR("{0}");
    /// Members failed a key operation, or did not answer.
    Keyring { pool: &'static str, failed: usize, answered: usize, nodes: usize, errors: String } = INTERNAL_SERVER_ERROR(
        "{pool} keyring: {failed}/{nodes} nodes reported failure, {answered}/{nodes} answered: {errors}"
    );

    // === config entries
    /// A config entry has no `Kind`.
    MissingKind = BAD_REQUEST(
        "Request decode failed: Payload does not contain a kind/Kind key at the top level"
    );
    /// Config entries of this kind are not stored.
    UnsupportedKind(String) = BAD_REQUEST(
        "Request decode failed: invalid config entry kind: {0:?}, this version stores service-intentions only"
    );
    /// A config entry cannot be used.
    InvalidEntry(InvalidIntention) = INTERNAL_SERVER_ERROR("{0}");
    /// An intention cannot be used; in the words of the older endpoints.
    InvalidIntention(InvalidIntention) = INTERNAL_SERVER_ERROR(fmt = wrapped::flat_intention);
    /// There is no such config entry.
    NoEntry { kind: String, name: String } = NOT_FOUND(
        "Config entry not found for {kind:?} / {name:?}"
    );
    /// A read names no kind.
    MissingKindAndName = NOT_FOUND("Must provide either a kind or both kind and name");
    /// A deletion names no kind or no name.
    MissingKindOrName = NOT_FOUND("Must provide both a kind and name to delete");

    // === snapshot
    /// The archive cannot be written or read.
    Archive(#[source] ArchiveError) = INTERNAL_SERVER_ERROR(fmt = wrapped::archive);

    // === operator
    /// The request names no peer.
    MissingPeer = BAD_REQUEST(
        "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove"
    );
    /// The request names a peer twice.
    ConflictingPeer = BAD_REQUEST("Must specify only one of ?id or ?address");
    /// There is no such peer; `name` is the parameter.
    UnknownPeer { name: &'static str, value: String } = INTERNAL_SERVER_ERROR(
        "{name} {value:?} was not found in the Raft configuration"
    );

    // === connect
    /// The mesh is off.
    ConnectDisabled = INTERNAL_SERVER_ERROR(
        "Connect must be enabled in order to use this endpoint"
    );
    /// The certificate authority could not, or refused.
    Ca(CaError) = INTERNAL_SERVER_ERROR("{0}");
    /// An authorization names no destination.
    MissingTarget = BAD_REQUEST("Target service must be specified");
    /// An authorization is not for the identity of a service.
    InvalidClientCertUri = BAD_REQUEST("ClientCertURI not a valid Connect identifier");
    /// There is no such intention.
    NoIntention = NOT_FOUND("Intention not found");
    /// A change by ID names another destination.
    IntentionDestination = BAD_REQUEST(
        "Cannot modify Destination partition/namespace/name for an intention once it exists."
    );
    /// A new intention comes with an ID.
    IntentionIdGiven = INTERNAL_SERVER_ERROR("ID must be empty when creating an intention");
    /// `PUT /exact` writes one source of an entry, which has the meta.
    IntentionMeta = INTERNAL_SERVER_ERROR(
        "Meta must not be specified; it belongs to the service-intentions config entry"
    );
    /// The ID in the path is not a UUID.
    IntentionId = BAD_REQUEST("failed intention lookup: index error: UUID must be 36 characters");
    /// There is an intention between the same names.
    DuplicateIntention(String) = INTERNAL_SERVER_ERROR("duplicate intention found: {0}");
    /// A required query parameter is missing.
    MissingParameter(&'static str) = INTERNAL_SERVER_ERROR(
        "required query parameter '{0}' not set"
    );
    /// `?by=` is neither `source` nor `destination`.
    InvalidMatchBy = INTERNAL_SERVER_ERROR(
        "'by' parameter must be one of 'source' or 'destination'"
    );
    /// A name is in a namespace or partition that does not exist.
    IntentionName { parameter: &'static str, value: String } = BAD_REQUEST(
        "error parsing {parameter} {value:?}: only the default namespace and partition exist"
    );
}

impl HttpError {
    /// Returns the status that the request is answered with.
    pub fn status(&self) -> StatusCode {
        let wrapped = match self {
            Self::Registration(error) => wrapped::registration_status(error),
            Self::Ca(error) => wrapped::ca_status(error),
            Self::Event(error) => wrapped::event_status(error),
            _ => None,
        };
        wrapped.unwrap_or_else(|| self.listed_status())
    }

    /// Returns the response to the request.
    pub fn into_response(self) -> Response {
        let response = Response::text(self.status(), self.to_string());
        match self {
            Self::MethodNotAllowed { allow, .. } => response.with_header("allow", &allow),
            _ => response,
        }
    }
}
