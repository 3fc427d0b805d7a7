//! A sidecar's configuration: typed and checked, with no options left to decide later.
//!
//! Built by `main.rs` from flags and environment, and by the agent's `connect proxy`. Files named
//! here are read by other modules: [`Credential::TokenFile`] at every call (kubelet rotates it),
//! the annotations file whenever it changes.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use http::Uri;
use lictor_api::upstream::Upstream;

use crate::{
    metrics::Metrics,
    policy::Policy,
    target::Target,
    tls::material::{Leaf, Roots},
};

/// Everything a sidecar needs to start.
#[derive(Debug)]
pub struct Config {
    /// Where certificate and configuration come from.
    pub source: Source,
    /// Upstreams beyond those of the registration.
    pub upstreams: Upstreams,
    /// The public listener; `None` takes the registered address.
    pub public_listener: Option<SocketAddr>,
    /// The application; `None` takes the registered address.
    pub local_app: Option<SocketAddr>,
    /// Listener of readiness for `probe`: `GET /ready`. Loopback only.
    pub admin: Option<SocketAddr>,
    /// Listener of Prometheus metrics: `GET /metrics`.
    pub metrics: Option<(SocketAddr, Metrics)>,
    /// Timeouts and bounds.
    pub limits: Limits,
}

/// Where certificate and configuration come from.
#[derive(Debug)]
pub enum Source {
    /// The agent or the servers.
    Servers(Servers),
    /// Fixed at start; no server is contacted.
    Static(Box<Static>),
}

/// The control plane.
#[derive(Debug)]
pub struct Servers {
    /// `http://host:8500` (an agent) or `https://host:8503`; tried in random order, names looked
    /// up again at every connection.
    pub uris: Vec<Uri>,
    /// Needed when a URI is `https`.
    pub tls: Option<ServerTls>,
    /// Authenticates the sidecar to the servers.
    pub credential: Credential,
    /// The proxy to run as.
    pub subject: Subject,
}

/// How the servers' certificate is checked.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// PEM file with the only roots trusted for this; read at every connection.
    pub roots_file: PathBuf,
    /// DNS name in the servers' certificate: `server.<dc>.<domain>`.
    pub server_name: String,
}

/// How the sidecar authenticates to the servers.
#[derive(Clone)]
pub enum Credential {
    /// Not at all; enough for an agent in `-dev`.
    Anonymous,
    /// A Kubernetes token, read from this file at every call.
    TokenFile(PathBuf),
    /// An ACL token.
    AclToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::TokenFile(path) => f.debug_tuple("TokenFile").field(path).finish(),
            Self::AclToken(_) => f.write_str("AclToken(<redacted>)"),
        }
    }
}

/// The proxy to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The registered proxy with this service ID.
    ProxyId(String),
    /// The one sidecar registered for the service with this ID.
    SidecarFor(String),
    /// A service by name, registered or not. In a pod it may be empty: the servers derive the name.
    Service(String),
}

/// Upstreams beyond those of the registration.
#[derive(Debug, Clone)]
pub enum Upstreams {
    /// From flags.
    Fixed(Vec<Upstream>),
    /// From the downward-API file of the pod's annotations, followed as it changes.
    Annotations(PathBuf),
}

/// A sidecar without a control plane.
#[derive(Debug)]
pub struct Static {
    /// Own certificate.
    pub leaf: Leaf,
    /// Trusted roots.
    pub roots: Roots,
    /// The sources that may connect to the public listener.
    pub policy: Policy,
    /// Upstream listeners and their endpoints.
    pub targets: Vec<Target>,
}

/// Timeouts and bounds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections per listener; more are refused. Default 10000.
    pub max_connections: usize,
    /// Timeout of a TLS handshake, either side. Default 10 s.
    pub handshake_timeout: Duration,
    /// Timeout of connecting to an endpoint, unless its upstream sets one. Default 5 s.
    pub connect_timeout: Duration,
    /// How long open connections may last after shutdown begins. Default 5 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            drain: Duration::from_secs(5),
        }
    }
}
