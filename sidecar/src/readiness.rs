//! Reports whether the sidecar is ready, and otherwise what it waits for.
//!
//! Ready means: the configuration was received, the certificate is valid, and every listener is
//! open. Upstream health never counts, or services that depend on each other could not start.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use crate::{state::State, tls::material::LeafSummary};

/// Observes a running sidecar.
#[derive(Debug, Clone)]
pub struct Handle(pub(crate) Arc<State>);

impl Handle {
    /// Checks whether the sidecar is ready.
    ///
    /// # Errors
    /// What is missing, in a few words.
    pub fn check(&self) -> Result<(), String> {
        let Some(leaf) = self.certificate() else { return Err("waiting for a certificate".into()) };
        if leaf.not_after <= SystemTime::now() {
            return Err("the certificate has expired".into());
        }
        if self.0.policy.borrow().is_none() {
            return Err("waiting for the configuration".into());
        }
        let listeners = self.0.listeners.borrow();
        let public = listeners.public.iter();
        let mut failed =
            public.chain(listeners.upstreams.values()).filter_map(|l| l.as_ref().err());
        failed.next().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Waits until the sidecar is ready, without a timeout.
    pub async fn ready(&self) {
        let mut certs = self.0.certs.current().subscribe();
        let mut policy = self.0.policy.subscribe();
        let mut listeners = self.0.listeners.subscribe();
        while self.check().is_err() {
            let changed = tokio::select! {
                changed = certs.changed() => changed,
                changed = policy.changed() => changed,
                changed = listeners.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Returns the current certificate.
    pub fn certificate(&self) -> Option<LeafSummary> {
        self.0.certs.current().borrow().as_ref().map(|identity| identity.leaf().clone())
    }

    /// Returns the address of the public listener, if it is open.
    pub fn public_address(&self) -> Option<SocketAddr> {
        self.0.listeners.borrow().public.clone()?.ok()
    }

    /// Returns the local address of the upstream `service`, if its listener is open.
    pub fn upstream_address(&self, service: &str) -> Option<SocketAddr> {
        let listeners = self.0.listeners.borrow();
        let mut of_service = listeners.upstreams.iter().filter(|(key, _)| key.service == service);
        of_service.find_map(|(_, bound)| bound.clone().ok())
    }
}
