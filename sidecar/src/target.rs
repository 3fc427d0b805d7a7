//! Upstreams as plain values: a local listener, the service behind it, and its instances.

use std::{net::SocketAddr, time::Duration};

use lictor_api::{SpiffeId, upstream::Upstream};

/// Identifies a local listener: the service behind it and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UpstreamKey {
    pub(crate) service: String,
    pub(crate) bind: SocketAddr,
}

/// An upstream with its endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The destination service.
    pub service: String,
    /// Where the application connects.
    pub bind: SocketAddr,
    /// Timeout of connecting to one endpoint; `None` takes the sidecar's `connect_timeout`.
    pub connect_timeout: Option<Duration>,
    /// Healthy instances.
    pub endpoints: Vec<Endpoint>,
}

/// One instance of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// IP address or host name.
    pub host: String,
    /// The public port of its sidecar.
    pub port: u16,
    /// The exact identity its certificate must carry.
    pub spiffe_id: SpiffeId,
    /// Share of connections relative to the others; at least 1.
    pub weight: u32,
}

impl Target {
    /// Returns an upstream without endpoints, for one that the servers do not list.
    pub(crate) fn without_endpoints(key: &UpstreamKey) -> Self {
        let (service, bind) = (key.service.clone(), key.bind);
        Self { service, bind, connect_timeout: None, endpoints: Vec::new() }
    }

    pub(crate) fn key(&self) -> UpstreamKey {
        UpstreamKey { service: self.service.clone(), bind: self.bind }
    }
}

impl From<&Upstream> for UpstreamKey {
    fn from(upstream: &Upstream) -> Self {
        Self { service: upstream.service.clone(), bind: upstream.bind() }
    }
}
