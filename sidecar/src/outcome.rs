//! How a connection ended, in the words that metrics and the access log share.
//!
//! [`Class`] is a closed set: it is a metric label and the access log's `result`.

use std::fmt;

/// Which kind of listener accepted the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// From the mesh to the application.
    Inbound,
    /// From the application to the mesh.
    Outbound,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Both sides closed it in order.
    Ok,
    /// One side aborted it.
    Reset,
    /// The peer left before or during the TLS handshake; what a TCP health check looks like.
    Probe,
    /// The TLS handshake failed or took too long.
    HandshakeFailed,
    /// The peer's certificate or identity is not acceptable.
    IdentityRefused,
    /// No intention allows it.
    Denied,
    /// It was open when an intention was changed to deny it.
    Revoked,
    /// The application does not listen.
    DialFailed,
    /// The upstream has no healthy instance.
    NoEndpoints,
    /// No endpoint could be reached.
    ConnectFailed,
    /// There is no certificate or no configuration yet.
    NotReady,
    /// The listener's cap is reached.
    TooMany,
    /// It was open at the end of the drain.
    Drained,
}

impl Class {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Reset => "reset",
            Self::Probe => "probe",
            Self::HandshakeFailed => "handshake_failed",
            Self::IdentityRefused => "identity_refused",
            Self::Denied => "denied",
            Self::Revoked => "revoked",
            Self::DialFailed => "dial_failed",
            Self::NoEndpoints => "no_endpoints",
            Self::ConnectFailed => "connect_failed",
            Self::NotReady => "not_ready",
            Self::TooMany => "too_many_connections",
            Self::Drained => "drained",
        }
    }
}

impl Side {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// How a connection ended, and why if it is a failure.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) class: Class,
    pub(crate) reason: Option<String>,
}

impl Outcome {
    pub(crate) fn new(class: Class) -> Self {
        Self { class, reason: None }
    }

    pub(crate) fn because(class: Class, reason: impl fmt::Display) -> Self {
        Self { class, reason: Some(reason.to_string()) }
    }
}
