//! Errors of other modules as the HTTP API answers them: where text or status differ from theirs.

use std::fmt::{self, Formatter};

use http::StatusCode;
use lictor_api::{
    error::{NO_DATACENTER, NO_LEADER, NO_SERVERS, chain},
    wire::DecodeError,
};
use lictor_core::connect::intention::InvalidIntention;
use lictor_membership::SendError;

use super::HttpError;
use crate::{
    archive::ArchiveError,
    ca::CaError,
    events::FireError,
    forward::ForwardError,
    local::RegistrationError,
    message::MalformedRequest,
    server::{ServerError, snapshots::SnapshotError},
};

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

/// Returns the status of a refused registration. COMPAT: what Consul finds after it has decoded and
/// validated a definition is 500.
pub(super) fn registration_status(error: &RegistrationError) -> Option<StatusCode> {
    match error {
        RegistrationError::NoSuchService(_)
        | RegistrationError::UnknownService(_)
        | RegistrationError::UnknownCheck(_) => Some(StatusCode::NOT_FOUND),
        RegistrationError::ScriptsDisabled
        | RegistrationError::RemoteScriptsDisabled
        | RegistrationError::NotTtl(_)
        | RegistrationError::Persist(_) => Some(StatusCode::INTERNAL_SERVER_ERROR),
        _ => None,
    }
}

/// Returns the status of what the certificate authority refuses because of the request.
pub(super) fn ca_status(error: &CaError) -> Option<StatusCode> {
    match error {
        CaError::RateLimited => Some(StatusCode::TOO_MANY_REQUESTS),
        CaError::ServiceName(_) => Some(StatusCode::BAD_REQUEST),
        _ => None,
    }
}

/// Returns the status of an event that the pool did not send for a reason of its own.
pub(super) fn event_status(error: &FireError) -> Option<StatusCode> {
    match error {
        FireError::Send(SendError::Stopped | SendError::Engine(_)) => {
            Some(StatusCode::INTERNAL_SERVER_ERROR)
        }
        _ => None,
    }
}

/// Returns the text about a path without an endpoint.
pub(super) fn unknown_path(v1: bool) -> &'static str {
    if v1 {
        "Invalid URL path: not a recognized HTTP API endpoint\n"
    } else {
        "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"
    }
}

/// Writes the text about a body that cannot be decoded.
pub(super) fn decode(error: &DecodeError, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "Request decode failed: {}", named(error))
}

/// Writes the text about a transaction that cannot be decoded.
pub(super) fn txn_decode(error: &DecodeError, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "Failed to parse body: {}", named(error))
}

/// Names the Enterprise feature that an unknown field belongs to.
fn named(error: &DecodeError) -> String {
    let feature = match error {
        DecodeError::UnknownField(field) if field == "Namespace" => "Namespaces",
        DecodeError::UnknownField(field) if field == "Partition" => "Partitions",
        _ => return error.to_string(),
    };
    format!("{error} - {feature} are a Consul Enterprise feature")
}

/// Writes the text about a request that was forwarded in vain.
pub(super) fn forward(error: &ForwardError, f: &mut Formatter<'_>) -> fmt::Result {
    match error {
        ForwardError::NoServers => f.write_str(NO_SERVERS),
        ForwardError::NoPath(_) => f.write_str(NO_DATACENTER),
        other => write!(f, "{other}"),
    }
}

/// Writes the text about what the servers could not do.
pub(super) fn server(error: &ServerError, f: &mut Formatter<'_>) -> fmt::Result {
    match error {
        ServerError::NoLeader => f.write_str(NO_LEADER),
        other => write!(f, "{other}"),
    }
}

/// Writes the text about an archive, with its causes.
pub(super) fn archive(error: &ArchiveError, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "failed to read snapshot file: {}", chain(error))
}

/// Writes the text about an intention that was not written as an entry.
pub(super) fn flat_intention(error: &InvalidIntention, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str(&error.flat())
}
