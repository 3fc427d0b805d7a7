//! How a sidecar ends: stop accepting, let open connections finish, reset the rest.
//!
//! Every listener and connection is a task of [`Drain`]; none outlives [`Drain::finish`].

use std::time::Duration;

use lictor_runtime::{Tasks, accept::Connections};
use tokio_util::sync::CancellationToken;

/// Timeout for connections that were cut to be reset and recorded.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// Shared by listeners and connections.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    /// Listeners close at its shutdown.
    pub(crate) tasks: Tasks,
    pub(crate) connections: Connections,
    /// Connections are reset when it is canceled.
    pub(crate) cut: CancellationToken,
}

impl Default for Drain {
    fn default() -> Self {
        let tasks = Tasks::new();
        let connections = Connections::new(&tasks, "connection");
        Self { tasks, connections, cut: CancellationToken::new() }
    }
}

impl Drain {
    /// Stops accepting, waits up to `grace` for open connections, then resets the rest.
    pub(crate) async fn finish(&self, grace: Duration) {
        self.tasks.shutdown().cancel();
        let open = self.connections.open();
        if open > 0 {
            tracing::info!(open, grace = ?grace, "draining");
        }
        let cutting = async {
            tokio::time::sleep(grace).await;
            tracing::warn!(open = self.connections.open(), "cutting connections that did not end");
            self.cut.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = self.connections.drain(grace + CUT_TIMEOUT) => {}
            () = cutting => {}
        }
    }
}
