//! The state that the parts of a sidecar share, and how they are notified of changes.
//!
//! Discovery and identity write, listeners and connections read; each value is a watch, so that a
//! reader takes the newest without waiting and can also wait for the first. Policy is separate from
//! the snapshot because every open connection waits for changes of the policy and of nothing else.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use lictor_api::upstream::Upstream;
use tokio::sync::watch;

use crate::{policy::Policy, snapshot::Snapshot, target::UpstreamKey, tls::certs::Certs};

/// Shared by all parts of one sidecar.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) certs: Certs,
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(crate) policy: watch::Sender<Option<Arc<Policy>>>,
    /// Upstreams from flags or annotations.
    pub(crate) own_upstreams: watch::Sender<Arc<Vec<Upstream>>>,
    pub(crate) listeners: watch::Sender<Listeners>,
}

/// The configured listeners: where each is bound, or why it is not.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Listeners {
    pub(crate) public: Option<Result<SocketAddr, String>>,
    pub(crate) upstreams: BTreeMap<UpstreamKey, Result<SocketAddr, String>>,
}

impl State {
    pub(crate) fn new(own_upstreams: Vec<Upstream>) -> Self {
        Self {
            certs: Certs::default(),
            snapshot: watch::Sender::default(),
            policy: watch::Sender::default(),
            own_upstreams: watch::Sender::new(Arc::new(own_upstreams)),
            listeners: watch::Sender::default(),
        }
    }

    /// Publishes a new configuration to every part.
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        if let Some(roots) = &snapshot.roots {
            self.certs.set_roots(Arc::clone(roots));
        }
        self.policy.send_if_modified(|policy| {
            let changed = *policy != snapshot.policy;
            policy.clone_from(&snapshot.policy);
            changed
        });
        self.snapshot.send_replace(Arc::new(snapshot));
    }
}

/// Waits up to `limit` for the value of `watch` to be set; `None` at the timeout.
pub(crate) async fn wait_until_set<T: Clone>(
    watch: &watch::Sender<Option<T>>,
    limit: Duration,
) -> Option<T> {
    if let Some(value) = &*watch.borrow() {
        return Some(value.clone());
    }
    let mut changes = watch.subscribe();
    let value = tokio::time::timeout(limit, changes.wait_for(Option::is_some)).await;
    value.ok()?.ok()?.clone()
}
