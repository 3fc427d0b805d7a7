//! One line and one set of counters per connection, at its end.
//!
//! [`Class`] is closed: it is the metric's label and the line's `result`.

use std::{fmt, net::SocketAddr, time::Instant};

use lictor_api::SpiffeId;
use tracing::{debug, info, warn};

use crate::{copy::Bytes, metrics};

/// Which listener the connection came in by.
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
    /// Both sides ended it in order.
    Ok,
    /// One side broke off.
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
pub(crate) struct End {
    pub(crate) class: Class,
    pub(crate) reason: Option<String>,
}

impl End {
    pub(crate) fn new(class: Class) -> Self {
        Self { class, reason: None }
    }

    pub(crate) fn because(class: Class, reason: impl fmt::Display) -> Self {
        Self { class, reason: Some(reason.to_string()) }
    }
}

/// A connection on record.
#[derive(Debug)]
pub(crate) struct Record {
    side: Side,
    src_addr: SocketAddr,
    started: Instant,
    /// The destination service; our own for inbound.
    pub(crate) service: String,
    /// Whom the certificate names: the client for inbound, the instance for outbound.
    pub(crate) identity: Option<SpiffeId>,
    pub(crate) dst_addr: Option<SocketAddr>,
    pub(crate) bytes: Bytes,
}

impl Record {
    pub(crate) fn open(side: Side, service: &str, src_addr: SocketAddr) -> Self {
        metrics::connection_opened(side);
        Self {
            side,
            src_addr,
            started: Instant::now(),
            service: service.to_owned(),
            identity: None,
            dst_addr: None,
            bytes: Bytes::default(),
        }
    }

    /// Writes the line and counts.
    pub(crate) fn close(self, end: &End) {
        metrics::connection_closed(self.side, &self.service, end.class, self.bytes);
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    target: "lictor_sidecar::access",
                    side = self.side.as_str(),
                    src.addr = %self.src_addr,
                    src.identity = self.source().map(tracing::field::display),
                    dst.service = %self.service,
                    dst.addr = self.dst_addr.map(tracing::field::display),
                    bytes.sent = self.bytes.sent,
                    bytes.received = self.bytes.received,
                    duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                    result = end.class.as_str(),
                    error = end.reason.as_deref(),
                    "connection closed"
                )
            };
        }
        match end.class {
            Class::Ok => line!(info),
            Class::Probe => line!(debug),
            _ => line!(warn),
        }
    }

    fn source(&self) -> Option<&SpiffeId> {
        self.identity.as_ref().filter(|_| self.side == Side::Inbound)
    }
}
