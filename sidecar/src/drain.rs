//! How a sidecar ends: stop accepting, let open connections finish, cut what is left.
//!
//! Every listener and connection runs under a tracker; none outlives [`Drain::finish`].

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by listeners and connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain {
    /// Listeners close when it is canceled.
    pub(crate) stop: CancellationToken,
    /// Connections are reset when it is canceled.
    pub(crate) cut: CancellationToken,
    pub(crate) connections: TaskTracker,
    pub(crate) listeners: TaskTracker,
}

impl Drain {
    /// Stops accepting, waits up to `grace` for open connections, then resets the rest.
    pub(crate) async fn finish(&self, grace: Duration) {
        self.stop.cancel();
        self.listeners.close();
        self.listeners.wait().await;
        self.connections.close();
        let open = self.connections.len();
        if open > 0 {
            tracing::info!(open, grace = ?grace, "draining");
        }
        if tokio::time::timeout(grace, self.connections.wait()).await.is_err() {
            tracing::warn!(open = self.connections.len(), "cutting connections that did not end");
            self.cut.cancel();
            self.connections.wait().await;
        }
    }
}
