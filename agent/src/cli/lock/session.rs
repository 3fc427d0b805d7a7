//! The session that holds a lock, renewed for as long as this process lives.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::StatusCode;
use lictor_api::{GoDuration, client::Client};
use lictor_runtime::Tasks;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

/// COMPAT: the Go client's TTL of locks.
const SESSION_TTL: Duration = Duration::from_secs(15);
/// The pause after a renewal that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A session that renews itself.
pub(super) struct LockSession {
    client: Client,
    id: String,
    renewal: Tasks,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

impl LockSession {
    /// Creates a session on the agent's node and starts renewing it.
    ///
    /// # Errors
    /// The agent cannot be reached or refuses the session.
    pub(super) async fn create(client: Client, name: &str, behavior: &str) -> anyhow::Result<Self> {
        let body = json!({ "Name": name, "TTL": GoDuration(SESSION_TTL).to_string(), "Behavior": behavior });
        let answer = client
            .put_json("/v1/session/create", &[], &body)
            .await
            .context("failed to create session")?;
        let Created { id } = answer.json()?;
        let renewal = Tasks::new();
        let (until, renewed) = (renewal.shutdown().clone(), renew(client.clone(), id.clone()));
        // Its end is noticed by the loss of the lock.
        renewal.spawn_transient("lock.renewal", async move {
            until.run_until_cancelled(renewed).await;
        });
        Ok(Self { client, id, renewal })
    }

    /// Returns its ID.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Destroys it. If that fails, it expires by its TTL.
    pub(super) async fn destroy(self) {
        self.renewal.end().await;
        let path = format!("/v1/session/destroy/{}", self.id);
        if let Err(error) = self.client.put(&path, &[], Bytes::new()).await {
            tracing::debug!(%error, "destroying the lock's session");
        }
    }
}

/// Renews at half of the TTL until the session is gone or no renewal succeeded for a whole TTL.
async fn renew(client: Client, id: String) {
    let path = format!("/v1/session/renew/{id}");
    let (mut renewed, mut pause) = (Instant::now(), SESSION_TTL / 2);
    while renewed.elapsed() <= SESSION_TTL {
        sleep(pause).await;
        match client.put(&path, &[], Bytes::new()).await {
            Ok(_) => (renewed, pause) = (Instant::now(), SESSION_TTL / 2),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => return,
            Err(_) => pause = RETRY_INTERVAL,
        }
    }
}
