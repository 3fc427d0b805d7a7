//! How a sidecar ends: stop accepting, let open connections finish, cut what is left.
//!
//! Every connection runs under the tracker; none outlives [`Drain::finish`].

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// Shared by listeners and connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain {
    /// Listeners close when it is canceled.
    pub(crate) stop: CancellationToken,
    /// Connections are reset when it is canceled.
    pub(crate) cut: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Drain {
    /// Ends everything within `grace` and a moment.
    pub(crate) async fn finish(&self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        let open = self.tasks.len();
        if open > 0 {
            info!(open, grace = ?grace, "draining");
        }
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            warn!(open = self.tasks.len(), "cutting connections that did not end");
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }
}
