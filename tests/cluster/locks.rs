//! One client per machine that acquires and releases a lock that all contend for.
//!
//! Sessions belong to a node of the catalog that no agent stands for and have neither checks nor a
//! TTL: none of them ends by itself, so two holders at once are two holders.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use harness::local::Local;
use http::Method;
use serde_json::{Value, json};

use crate::{
    history::History,
    linearizable::{Interval, model::LockOperation},
    workload::{Counters, Outcome, REQUEST_TIMEOUT, outcome},
};

/// The node that sessions belong to.
const NODE: &str = "locks";

/// A client that acquires and releases the lock until it is stopped.
pub(crate) struct Contender {
    pub(crate) local: Local,
    pub(crate) number: u64,
    pub(crate) history: Arc<History>,
    pub(crate) counters: Arc<Counters>,
}

// === impl Contender ===

impl Contender {
    pub(crate) async fn run(self, stop: Arc<AtomicBool>) {
        let mut session = None;
        while !stop.load(Ordering::Relaxed) {
            match &session {
                None => session = self.session().await,
                Some(id) => self.round(id).await,
            }
            tokio::time::sleep(Duration::from_millis(30 + self.number % 7)).await;
        }
    }

    /// Acquires the lock if it can, and releases it in any case.
    async fn round(&self, session: &str) {
        for verb in ["acquire", "release"] {
            let path = format!("/v1/kv/{}?{verb}={session}", self.history.lock_key());
            let called = self.history.now();
            let answer =
                self.local.send(Method::PUT, &path, session.to_owned(), REQUEST_TIMEOUT).await;
            let now = self.history.now();
            count(&self.counters.invoked);
            let (done, returned) = match outcome(answer) {
                Outcome::Refused => return,
                Outcome::Unknown => (true, None),
                Outcome::Completed(done) => (done, Some(now)),
            };
            count(if returned.is_some() {
                &self.counters.completed
            } else {
                &self.counters.unknown
            });
            let operation = match verb {
                "acquire" => LockOperation::Acquire(self.number, done),
                _ => LockOperation::Release(self.number, done),
            };
            self.history.add_lock(Interval { operation, called, returned });
        }
    }

    async fn session(&self) -> Option<String> {
        let node = json!({"Node": NODE, "Address": "192.0.2.1"}).to_string();
        self.local.send(Method::PUT, "/v1/catalog/register", node, REQUEST_TIMEOUT).await.ok()?;
        let session = json!({"Node": NODE, "LockDelay": "0s", "NodeChecks": [], "Name": "lock"});
        let body = session.to_string();
        let answer =
            self.local.send(Method::PUT, "/v1/session/create", body, REQUEST_TIMEOUT).await.ok()?;
        answer.json::<Value>().ok()?["ID"].as_str().map(str::to_owned)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
