//! Writes one log line and one set of counters per connection, when it ends.
//!
//! The data path updates neither: a [`Record`] is filled in as the connection proceeds.

use std::{net::SocketAddr, time::Instant};

use lictor_api::SpiffeId;

use crate::{
    copy::Bytes,
    metrics,
    outcome::{Class, Outcome, Side},
};

/// The record of one connection.
#[derive(Debug)]
pub(crate) struct Record {
    side: Side,
    src_addr: SocketAddr,
    started: Instant,
    /// The destination service; for inbound, this sidecar's own.
    pub(crate) service: String,
    /// The peer's identity by its certificate: the client for inbound, the instance for outbound.
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

    /// Writes the log line and counts the connection.
    pub(crate) fn close(self, outcome: &Outcome) {
        metrics::connection_closed(self.side, &self.service, outcome.class, self.bytes);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "lictor_sidecar::access",
                    side = self.side.as_str(),
                    src.addr = %self.src_addr,
                    src.identity = self.source().map(tracing::field::display),
                    dst.service = %self.service,
                    dst.addr = self.dst_addr.map(tracing::field::display),
                    bytes.sent = self.bytes.sent,
                    bytes.received = self.bytes.received,
                    duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                    result = outcome.class.as_str(),
                    error = outcome.reason.as_deref(),
                    "connection closed"
                )
            };
        }
        match outcome.class {
            Class::Ok => line!(info),
            Class::Probe => line!(debug),
            _ => line!(warn),
        }
    }

    fn source(&self) -> Option<&SpiffeId> {
        self.identity.as_ref().filter(|_| self.side == Side::Inbound)
    }
}
