//! TLS between agents. Not configurable yet: server RPC is plain, and every agent may be a server.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, ServerName};

/// What an agent may do on the server RPC port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// There is no TLS: it may be anything.
    Open,
    /// A server of this datacenter.
    Server {
        /// The datacenter in its certificate.
        datacenter: String,
    },
    /// A client agent.
    Client,
}

impl Role {
    /// Whether it is a server of `datacenter`.
    pub fn is_server_of(&self, datacenter: &str) -> bool {
        match self {
            Self::Open => true,
            Self::Server { datacenter: own } => own == datacenter,
            Self::Client => false,
        }
    }
}

/// TLS settings of server RPC.
#[derive(Debug, Default)]
pub struct InternalRpc;

impl InternalRpc {
    /// How connections are accepted; `None` in the clear.
    pub fn acceptor(&self) -> Option<Arc<rustls::ServerConfig>> {
        None
    }

    /// How a server of `datacenter` is connected to; `None` in the clear.
    pub fn connector(
        &self,
        _datacenter: &str,
    ) -> Option<(Arc<rustls::ClientConfig>, ServerName<'static>)> {
        None
    }

    /// What the holder of these certificates may do.
    pub fn role(&self, _certificates: &[CertificateDer<'_>]) -> Role {
        Role::Open
    }
}
