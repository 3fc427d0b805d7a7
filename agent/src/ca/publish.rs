//! The ConfigMap that distributes the mesh's roots, written by the leader whenever they change.
//!
//! It is rewritten periodically, which reverts foreign edits.

use std::time::Duration;

use lictor_api::contract::ROOTS_KEY;
use lictor_core::state::{CertificateAuthority, State, Topic, WatchSet};
use tokio_util::sync::CancellationToken;

use crate::{kubernetes::Kubernetes, server::Server};

/// Pause after a failed write.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);
/// How often it is rewritten without a change.
const REFRESH_INTERVAL: Duration = Duration::from_secs(600);

/// The content of the ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Published {
    roots: String,
    trust_domain: String,
}

impl Published {
    fn of(ca: &CertificateAuthority) -> Self {
        Self { roots: ca.bundle_pem(), trust_domain: ca.trust_domain() }
    }

    fn data(&self) -> [(&'static str, &str); 2] {
        [(ROOTS_KEY, &self.roots), ("trust-domain", &self.trust_domain)]
    }
}

/// Writes the state's roots to the ConfigMap while this server leads, until `shutdown`.
pub async fn run(kubernetes: &Kubernetes, server: &Server, shutdown: CancellationToken) {
    let name = kubernetes.roots_config_map().to_owned();
    let mut leader = server.consensus().leader();
    let mut written: Option<Published> = None;
    loop {
        let leads = leader.borrow_and_update().as_ref().is_some_and(|leader| leader.is_self);
        let changed = server.store().wait_for(|state: &State, topics: &mut WatchSet| {
            topics.add(Topic::Roots);
            let now = Published::of(state.ca.as_deref()?);
            (written.as_ref() != Some(&now)).then_some(now)
        });
        let next = tokio::select! {
            () = shutdown.cancelled() => return,
            changed = leader.changed() => match changed {
                Ok(()) => continue,
                // Consensus ended, which it reports itself.
                Err(_) => return shutdown.cancelled().await,
            },
            next = changed, if leads => next,
            () = tokio::time::sleep(REFRESH_INTERVAL), if leads && written.is_some() => {
                written = None;
                continue;
            }
        };
        match kubernetes.apply_config_map(&name, next.data()).await {
            Ok(()) => {
                tracing::debug!(config_map = name, "roots published");
                written = Some(next);
            }
            Err(error) => {
                tracing::warn!(
                    config_map = name,
                    error = &error as &dyn std::error::Error,
                    "roots not published, trying again"
                );
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(RETRY_INTERVAL) => {}
                }
            }
        }
    }
}
