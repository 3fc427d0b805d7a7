//! Every error that the HTTP API answers: its text and its status.
//!
//! These texts are wire contract: Consul's clients print and match them. This is the only table of
//! them in the agent; handlers name a variant.

use http::{Method, StatusCode};
use lictor_api::{
    error::{NO_DATACENTER, NO_LEADER},
    wire::DecodeError,
};

use super::{Response, filter::FilterError};
use crate::{acl::PermissionDenied, server::ServerError};

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
}

impl HttpError {
    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::PermissionDenied(_) => StatusCode::FORBIDDEN,
            Self::Encoding
            | Self::Body
            | Self::Decode(_)
            | Self::EnterpriseParameter { .. }
            | Self::EnterpriseHeader { .. }
            | Self::InvalidIndex
            | Self::InvalidWait
            | Self::InvalidMaxStale(_)
            | Self::StaleWithConsistent
            | Self::CachedWithConsistent => StatusCode::BAD_REQUEST,
            Self::Encode(_)
            | Self::Filter(_)
            | Self::NoDatacenter
            | Self::Server(_)
            | Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
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

/// A field of Consul's paid edition is named as such.
fn decode_text(error: &DecodeError) -> String {
    let feature = match error {
        DecodeError::UnknownField(field) if field == "Namespace" => "Namespaces",
        DecodeError::UnknownField(field) if field == "Partition" => "Partitions",
        _ => return format!("Request decode failed: {error}"),
    };
    format!("Request decode failed: {error} - {feature} are a Consul Enterprise feature")
}

fn server_text(error: &ServerError) -> String {
    match error {
        ServerError::NoLeader => NO_LEADER.to_owned(),
        other => other.to_string(),
    }
}
