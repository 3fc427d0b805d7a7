//! Holds the current certificate and roots, ready for handshakes.
//!
//! Leaf and roots change independently; either change publishes a new [`Identity`] in one step.
//! A handshake uses the identity that is current when it starts, and open connections keep their
//! keys, so a renewal closes none. Sessions are not resumed: a resumed session would skip the check
//! of the peer's certificate against roots and names that may have changed since.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use lictor_api::SpiffeId;
use rustls::{ClientConfig, ServerConfig, client::Resumption};
use tokio::sync::watch;

use super::{
    material::{Leaf, LeafSummary, Roots},
    verify::{AnyService, ExactPeer},
};

/// Holds the current leaf and roots, and the identity made of them.
#[derive(Debug, Default)]
pub(crate) struct Certs {
    parts: Mutex<Parts>,
    current: watch::Sender<Option<Arc<Identity>>>,
}

#[derive(Debug, Default)]
struct Parts {
    leaf: Option<Leaf>,
    roots: Option<Arc<Roots>>,
}

/// A leaf and the roots to check peers with, compiled for handshakes.
pub(crate) struct Identity {
    leaf: Leaf,
    roots: Arc<Roots>,
    server: Arc<ServerConfig>,
}

// === impl Certs ===

impl Certs {
    /// Returns the watch of the current identity; `None` until leaf and roots are both set.
    pub(crate) fn current(&self) -> &watch::Sender<Option<Arc<Identity>>> {
        &self.current
    }

    pub(crate) fn set_leaf(&self, leaf: Leaf) {
        self.change(|parts| parts.leaf = Some(leaf));
    }

    pub(crate) fn set_roots(&self, roots: Arc<Roots>) {
        self.change(|parts| {
            if parts.roots.as_ref() != Some(&roots) {
                parts.roots = Some(roots);
            }
        });
    }

    /// Sets the roots that came with a certificate, unless the stream has sent some already.
    pub(crate) fn set_first_roots(&self, roots: Roots) {
        self.change(|parts| {
            parts.roots.get_or_insert_with(|| Arc::new(roots));
        });
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut parts);
        let (Some(leaf), Some(roots)) = (&parts.leaf, &parts.roots) else { return };
        self.current.send_if_modified(|current| {
            if current.as_ref().is_some_and(|identity| identity.is_of(leaf, roots)) {
                return false;
            }
            *current = Some(Arc::new(Identity::new(leaf.clone(), Arc::clone(roots))));
            true
        });
    }
}

// === impl Identity ===

impl Identity {
    fn new(leaf: Leaf, roots: Arc<Roots>) -> Self {
        let verifier = Arc::new(AnyService { roots: Arc::clone(&roots) });
        let mut server = ServerConfig::builder_with_provider(super::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has suites for TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(leaf.resolver());
        server.send_tls13_tickets = 0;
        Self { leaf, roots, server: Arc::new(server) }
    }

    fn is_of(&self, leaf: &Leaf, roots: &Arc<Roots>) -> bool {
        self.leaf.is(leaf) && Arc::ptr_eq(&self.roots, roots)
    }

    pub(crate) fn leaf(&self) -> &LeafSummary {
        self.leaf.summary()
    }

    /// Returns the TLS configuration of the public listener.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// Returns the TLS configuration for connecting to the endpoint with the ID `expected`.
    pub(crate) fn client(&self, expected: &SpiffeId) -> Arc<ClientConfig> {
        let verifier =
            Arc::new(ExactPeer { roots: Arc::clone(&self.roots), expected: expected.clone() });
        let mut client = ClientConfig::builder_with_provider(super::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has suites for TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(self.leaf.resolver());
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Arc::new(client)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("leaf", &self.leaf).field("roots", &self.roots).finish()
    }
}
