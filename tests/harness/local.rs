//! A client on a machine of a test's network, as an application beside the agent is.
//!
//! Its sockets are made on the machine's own threads and therefore inside its namespace: faults
//! between machines do not touch it, loopback stays what it is.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use http::Method;
use lictor_api::client::{Answer, Client};
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};

/// How long one request may take.
pub const REQUEST: Duration = Duration::from_secs(20);

/// A client on one machine; cheap to clone.
#[derive(Clone)]
pub struct Local {
    handle: Handle,
    client: Client,
}

// === impl Local ===

impl Local {
    pub(crate) fn new(handle: Handle, client: Client) -> Self {
        Self { handle, client }
    }

    /// Runs a task on the machine.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.spawn(task)
    }

    /// Runs a task on the machine to its end.
    ///
    /// # Panics
    /// When the task panics.
    pub fn run<F>(&self, task: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.block_on(self.spawn(task)).expect("the task did not panic")
    }

    /// Sends a request to the agent, `path` with its query, from a task on the machine.
    ///
    /// # Errors
    /// Why there is no answer within `limit`.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
        limit: Duration,
    ) -> Result<Answer, String> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query: Vec<(&str, &str)> = query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .collect();
        match timeout(limit, self.client.send(method, path, &query, body.into())).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {limit:?}")),
        }
    }

    /// Sends a request and waits for its answer, from outside the machine's threads.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn request(&self, method: Method, path: &str, body: &str) -> Result<Answer, String> {
        let (local, path, body) = (self.clone(), path.to_owned(), body.to_owned());
        self.run(async move { local.send(method, &path, body, REQUEST).await })
    }
}
