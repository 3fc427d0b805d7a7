//! The session that a lock is held by, renewed for as long as this process lives.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::StatusCode;
use lictor_api::client::Client;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// COMPAT: the Go client's TTL of locks.
const TTL: Duration = Duration::from_secs(15);
/// The pause after a renewal that failed.
const RETRY: Duration = Duration::from_secs(1);

/// A session that renews itself.
pub(super) struct LockSession {
    client: Client,
    id: String,
    renewal: JoinHandle<()>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

impl LockSession {
    /// Makes a session on the agent's node.
    pub(super) async fn create(client: Client, name: &str, behavior: &str) -> anyhow::Result<Self> {
        let body = json!({ "Name": name, "TTL": "15s", "Behavior": behavior });
        let answer = client
            .put_json("/v1/session/create", &[], &body)
            .await
            .context("failed to create session")?;
        let Created { id } = answer.json()?;
        let renewal = tokio::spawn(renew(client.clone(), id.clone()));
        Ok(Self { client, id, renewal })
    }

    /// Its ID.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Ends it. If that fails, its TTL ends it.
    pub(super) async fn destroy(self) {
        self.renewal.abort();
        let path = format!("/v1/session/destroy/{}", self.id);
        if let Err(error) = self.client.put(&path, &[], Bytes::new()).await {
            tracing::debug!(%error, "destroying the lock's session");
        }
    }
}

/// Renews at half of the TTL until the session is gone or could not be renewed for a whole one.
async fn renew(client: Client, id: String) {
    let path = format!("/v1/session/renew/{id}");
    let (mut renewed, mut pause) = (Instant::now(), TTL / 2);
    while renewed.elapsed() <= TTL {
        sleep(pause).await;
        match client.put(&path, &[], Bytes::new()).await {
            Ok(_) => (renewed, pause) = (Instant::now(), TTL / 2),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => return,
            Err(_) => pause = RETRY,
        }
    }
}
