//! Changing gossip keys on all members at once: install everywhere, use, then remove the old one.
//!
//! INVARIANT: a member reports success only after its keyring file holds the change. A member that
//! did not respond, or refused, is in the report: whether all members have a key before it is used
//! is the operator's decision.
//!
//! The engine's own key queries are not used: they write the file in place, and refuse to work
//! while encryption is being introduced (`encrypt_verify_outgoing = false`).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Key, KeyringError, MemberStatus, Pool, Query, SendError};

/// Name of the query.
const QUERY_NAME: &str = "keys";
/// How long alive members may take to respond.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// An operation that every member carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOperation {
    /// Accept messages with this key.
    Install(Key),
    /// Encrypt with this key, which must be installed.
    Use(Key),
    /// Refuse messages with this key, which must not be in use.
    Remove(Key),
    /// Report the installed keys.
    List,
}

/// Responses of the members, counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KeyReport {
    /// Members that were alive when the query was sent.
    pub nodes: usize,
    /// Members that responded.
    pub answered: usize,
    /// Error texts by member name.
    pub errors: BTreeMap<String, String>,
    /// Keys in base64, a secret, with the number of members that have each.
    pub keys: BTreeMap<String, usize>,
    /// The same for the primary keys, which members encrypt with.
    pub primary_keys: BTreeMap<String, usize>,
}

#[derive(Serialize, Deserialize)]
struct KeyRequest {
    operation: String,
    #[serde(default)]
    key: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct KeyResponse {
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

/// Answers the other members' key queries from now on.
pub(super) fn handle_queries(pool: &Pool) {
    let weak = std::sync::Arc::downgrade(&pool.0);
    pool.handle_query(QUERY_NAME, move |payload| {
        let weak = weak.clone();
        Box::pin(async move {
            let pool = Pool(weak.upgrade()?);
            let response = tokio::task::spawn_blocking(move || pool.apply(&payload)).await.ok()?;
            serde_json::to_vec(&response).ok().map(Bytes::from)
        })
    });
}

impl Pool {
    /// Sends the operation to every member and waits until all alive members have responded, at
    /// most five seconds.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent. Refusals of members are in the report.
    pub async fn keys(
        &self,
        operation: KeyOperation,
        relay_factor: u8,
    ) -> Result<KeyReport, SendError> {
        let payload = encode(operation);
        let query =
            Query { name: QUERY_NAME, payload, timeout: Some(RESPONSE_TIMEOUT), relay_factor };
        let mut responses = self.query(query).await?;
        let alive = self.members().iter().filter(|m| m.status == MemberStatus::Alive).count();
        let mut report = KeyReport { nodes: alive, ..KeyReport::default() };
        while report.answered < report.nodes {
            let Some(response) = responses.next().await else { break };
            report.add(response.from, &response.payload);
        }
        Ok(report)
    }

    /// Returns the keys of this agent alone.
    pub fn local_keys(&self) -> KeyReport {
        let mut report = KeyReport { nodes: 1, ..KeyReport::default() };
        let response = self.apply(&encode(KeyOperation::List));
        report.count(self.name().to_owned(), response);
        report
    }

    fn apply(&self, payload: &[u8]) -> KeyResponse {
        let done = serde_json::from_slice(payload)
            .map_err(|error| format!("reading key query: {error}"))
            .and_then(|request: KeyRequest| self.change_keys(&request));
        match done {
            Ok(keys) => {
                let keys = keys.iter().map(Key::reveal).collect();
                KeyResponse { keys, ..KeyResponse::default() }
            }
            Err(error) => KeyResponse { error, ..KeyResponse::default() },
        }
    }

    /// Carries out a request on this agent; the error text goes to the requesting member.
    fn change_keys(&self, request: &KeyRequest) -> Result<Vec<Key>, String> {
        let (Some(ring), Some(file)) = (self.0.engine.memberlist().keyring(), &self.0.keyring)
        else {
            return Err("gossip is not encrypted on this agent".into());
        };
        let keys = || -> Vec<Key> { ring.keys().map(Key::from).collect() };
        if request.operation == "list" {
            return Ok(keys());
        }
        let text = |error: KeyringError| error.to_string();
        let key = Key::parse(&request.key).map_err(text)?;
        match request.operation.as_str() {
            "install" if !keys().contains(&key) => ring.insert(key.secret()),
            "install" => {}
            "use" => ring.use_key(key.secret().as_ref()).map_err(|error| error.to_string())?,
            "remove" => ring.remove(key.secret().as_ref()).map_err(|error| error.to_string())?,
            other => return Err(format!("unknown key operation {other:?}")),
        }
        file.with_keys(keys()).write().map_err(text)?;
        tracing::info!(target: "agent", operation = request.operation, "gossip keys changed");
        Ok(Vec::new())
    }
}

impl KeyReport {
    fn add(&mut self, from: String, payload: &[u8]) {
        match serde_json::from_slice(payload) {
            Ok(response) => self.count(from, response),
            Err(error) => {
                let error = format!("reading answer: {error}");
                self.count(from, KeyResponse { error, ..KeyResponse::default() });
            }
        }
    }

    fn count(&mut self, from: String, response: KeyResponse) {
        self.answered += 1;
        if !response.error.is_empty() {
            self.errors.insert(from, response.error);
        }
        if let Some(primary) = response.keys.first() {
            *self.primary_keys.entry(primary.clone()).or_default() += 1;
        }
        for key in response.keys {
            *self.keys.entry(key).or_default() += 1;
        }
    }
}

fn encode(operation: KeyOperation) -> Bytes {
    let (operation, key) = match operation {
        KeyOperation::Install(key) => ("install", key.reveal()),
        KeyOperation::Use(key) => ("use", key.reveal()),
        KeyOperation::Remove(key) => ("remove", key.reveal()),
        KeyOperation::List => ("list", String::new()),
    };
    let request = KeyRequest { operation: operation.to_owned(), key };
    serde_json::to_vec(&request).unwrap_or_default().into()
}
