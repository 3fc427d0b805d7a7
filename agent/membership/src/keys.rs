//! Changing gossip keys on all members at once: install everywhere, use, then remove the old one.
//!
//! INVARIANT: a member answers that it has done what was asked only after its file says so. A
//! member that did not answer, or refused, is in the report: a key is used only after everybody
//! has it, and that is the operator's decision.
//!
//! The engine's own key queries are not used: they write the file in place, and refuse to work while
//! encryption is being introduced (`encrypt_verify_outgoing = false`).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Key, KeyringError, MemberStatus, Pool, Query, SendError};

const NAME: &str = "keys";
/// How long members that count as alive may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked of every member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOperation {
    /// Accept messages with this key.
    Install(Key),
    /// Encrypt with this key, which must be installed.
    Use(Key),
    /// Refuse messages with this key, which must not be in use.
    Remove(Key),
    /// Say which keys there are.
    List,
}

/// What the members answered.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KeyReport {
    /// Members that were asked.
    pub nodes: usize,
    /// Members that answered.
    pub answered: usize,
    /// What went wrong, by member.
    pub errors: BTreeMap<String, String>,
    /// Base64, and on how many members. Secret.
    pub keys: BTreeMap<String, usize>,
    /// The same of the keys in use.
    pub primary_keys: BTreeMap<String, usize>,
}

#[derive(Serialize, Deserialize)]
struct Asked {
    operation: String,
    #[serde(default)]
    key: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Told {
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

/// Answers the other members' key queries from now on.
pub(super) fn answer(pool: &Pool) {
    let weak = std::sync::Arc::downgrade(&pool.0);
    pool.answer(NAME, move |payload| {
        let weak = weak.clone();
        Box::pin(async move {
            let pool = Pool(weak.upgrade()?);
            let told = tokio::task::spawn_blocking(move || pool.apply(&payload)).await.ok()?;
            serde_json::to_vec(&told).ok().map(Bytes::from)
        })
    });
}

impl Pool {
    /// Asks every member and waits until all that are alive have answered, or time is over.
    ///
    /// # Errors
    /// [`SendError`]; nobody was asked. What members refuse is in the report.
    pub async fn keys(
        &self,
        operation: KeyOperation,
        relay_factor: u8,
    ) -> Result<KeyReport, SendError> {
        let payload = encode(operation);
        let query = Query { name: NAME, payload, timeout: Some(PATIENCE), relay_factor };
        let mut answers = self.query(query).await?;
        let alive = self.members().iter().filter(|m| m.status == MemberStatus::Alive).count();
        let mut report = KeyReport { nodes: alive, ..KeyReport::default() };
        while report.answered < report.nodes {
            let Some(answer) = answers.next().await else { break };
            report.add(answer.from, &answer.payload);
        }
        Ok(report)
    }

    /// The keys of this agent alone.
    pub fn local_keys(&self) -> KeyReport {
        let mut report = KeyReport { nodes: 1, ..KeyReport::default() };
        let told = self.apply(&encode(KeyOperation::List));
        report.count(self.name().to_owned(), told);
        report
    }

    fn apply(&self, payload: &[u8]) -> Told {
        let done = serde_json::from_slice(payload)
            .map_err(|error| format!("reading key query: {error}"))
            .and_then(|asked: Asked| self.change_keys(&asked));
        match done {
            Ok(keys) => Told { keys: keys.iter().map(Key::reveal).collect(), ..Told::default() },
            Err(error) => Told { error, ..Told::default() },
        }
    }

    fn change_keys(&self, asked: &Asked) -> Result<Vec<Key>, String> {
        let (Some(ring), Some(file)) = (self.0.engine.memberlist().keyring(), &self.0.keyring)
        else {
            return Err("gossip is not encrypted on this agent".into());
        };
        let keys = || -> Vec<Key> { ring.keys().map(Key::from).collect() };
        if asked.operation == "list" {
            return Ok(keys());
        }
        let text = |error: KeyringError| error.to_string();
        let key = Key::parse(&asked.key).map_err(text)?;
        match asked.operation.as_str() {
            "install" if !keys().contains(&key) => ring.insert(key.secret()),
            "install" => {}
            "use" => ring.use_key(key.secret().as_ref()).map_err(|error| error.to_string())?,
            "remove" => ring.remove(key.secret().as_ref()).map_err(|error| error.to_string())?,
            other => return Err(format!("unknown key operation {other:?}")),
        }
        file.with_keys(keys()).write().map_err(text)?;
        tracing::info!(target: "agent", operation = asked.operation, "gossip keys changed");
        Ok(Vec::new())
    }
}

impl KeyReport {
    fn add(&mut self, from: String, payload: &[u8]) {
        match serde_json::from_slice(payload) {
            Ok(told) => self.count(from, told),
            Err(error) => {
                let told = Told { error: format!("reading answer: {error}"), keys: Vec::new() };
                self.count(from, told);
            }
        }
    }

    fn count(&mut self, from: String, told: Told) {
        self.answered += 1;
        if !told.error.is_empty() {
            self.errors.insert(from, told.error);
        }
        if let Some(primary) = told.keys.first() {
            *self.primary_keys.entry(primary.clone()).or_default() += 1;
        }
        for key in told.keys {
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
    let asked = Asked { operation: operation.to_owned(), key };
    serde_json::to_vec(&asked).unwrap_or_default().into()
}
