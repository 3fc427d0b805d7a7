//! Clients that make a history: on every machine some that read and write, one that contends for a
//! lock ([`crate::locks`]), and two that watch.
//!
//! Their pauses are real time: the agents are processes of their own, whose clocks no test holds.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use harness::local::Local;
use http::{Method, StatusCode};
use lictor_api::{client::Answer, types::kv::KvPair};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinHandle;

use crate::{
    history::{History, Mode, Record, Seen},
    linearizable::model::KeyOperation,
    locks::Contender,
};

/// Keys that clients contend for.
pub(crate) const KEYS: usize = 4;
/// How long a client waits for a response.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);
/// Longer than an epoch: only a change or an error ends a watch.
const WATCH_TIMEOUT: Duration = Duration::from_secs(600);
/// Pause of a watch after a failed read. Real time: what it waits for is an agent that is being
/// restarted or cut off, which no event announces.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Counters over the whole run.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Operations invoked.
    pub(crate) invoked: AtomicU64,
    /// Those that returned.
    pub(crate) completed: AtomicU64,
    /// Writes with an unknown outcome.
    pub(crate) unknown: AtomicU64,
    /// Writes acknowledged; the nemesis waits until there are more.
    pub(crate) written: AtomicU64,
    /// Wake-ups of watchers.
    pub(crate) woken: AtomicU64,
}

/// The clients of one epoch.
pub(crate) struct Workload {
    /// What they invoke, and what returns.
    pub(crate) history: Arc<History>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<()>>,
}

/// One client on one machine.
struct Client {
    local: Local,
    number: u64,
    /// It never waits for a write, so that it reads what a cut-off server still returns.
    only_reads: bool,
    rng: StdRng,
    writes: u64,
    /// Value and index of each key as this client read them last.
    last_read: BTreeMap<usize, (Option<u64>, u64)>,
    history: Arc<History>,
    counters: Arc<Counters>,
}

// === impl Workload ===

impl Workload {
    /// Starts on each machine `per_machine` clients, the first of which only reads, a contender for
    /// the lock, and two watchers.
    pub(crate) fn start(
        epoch: u64,
        seed: u64,
        machines: &[Local],
        per_machine: u64,
        counters: &Arc<Counters>,
    ) -> Self {
        let history = Arc::new(History::new(epoch));
        let stop = Arc::new(AtomicBool::new(false));
        let (mut clients, mut watchers) = (Vec::new(), Vec::new());
        for (machine, local) in machines.iter().enumerate() {
            for client in 0..per_machine {
                let number = machine as u64 * per_machine + client;
                let client = Client {
                    local: local.clone(),
                    number,
                    only_reads: client == 0,
                    rng: StdRng::seed_from_u64(seed ^ (epoch << 16) ^ number),
                    writes: 0,
                    last_read: BTreeMap::new(),
                    history: history.clone(),
                    counters: counters.clone(),
                };
                clients.push(local.spawn(client.run(stop.clone())));
            }
            let number = machine as u64;
            let (history, counters) = (history.clone(), counters.clone());
            let contender = Contender { local: local.clone(), number, history, counters };
            clients.push(local.spawn(contender.run(stop.clone())));
        }
        for (machine, local) in machines.iter().enumerate() {
            for mode in [Mode::Default, Mode::Stale] {
                let task = watch(local.clone(), machine, mode, history.clone(), counters.clone());
                watchers.push(local.spawn(task));
            }
        }
        Self { history, stop, clients, watchers }
    }

    /// Stops the clients and contenders, each after its last operation; the watchers stay.
    pub(crate) async fn stop_clients(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.await.expect("a client does not panic");
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        for task in self.clients.iter().chain(&self.watchers) {
            task.abort();
        }
    }
}

// === impl Client ===

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let key = self.rng.random_range(0..KEYS);
            let choice = self.rng.random_range(0..20);
            match choice {
                _ if self.only_reads => {
                    let mode = if choice < 15 { Mode::Default } else { Mode::Stale };
                    self.read(key, mode).await;
                }
                0..4 => self.read(key, Mode::Default).await,
                4..7 => self.read(key, Mode::Consistent).await,
                7..10 => self.read(key, Mode::Stale).await,
                10..13 => self.write(key).await,
                13 => self.delete(key).await,
                14..17 => self.compare_and_set(key).await,
                _ => self.write_once().await,
            }
            let pause = self.rng.random_range(1..20);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    fn next_value(&mut self) -> u64 {
        self.writes += 1;
        (self.number + 1) * 1_000_000 + self.writes
    }

    fn path(&self, key: usize) -> String {
        format!("/v1/kv/{}{key}", self.history.prefix())
    }

    async fn read(&mut self, key: usize, mode: Mode) {
        let path = format!("{}?{}", self.path(key), mode.parameter());
        self.counters.invoked.fetch_add(1, Ordering::Relaxed);
        let called = self.history.now();
        let Ok(answer) = self.local.send(Method::GET, &path, "", REQUEST_TIMEOUT).await else {
            return;
        };
        let returned = Some(self.history.now());
        let pair = match pair(&answer) {
            None => return,
            Some(Ok(pair)) => pair,
            Some(Err(problem)) => return self.history.complain(format!("{path}: {problem}")),
        };
        self.counters.completed.fetch_add(1, Ordering::Relaxed);
        let (value, modified) = (pair.as_ref().map(value), pair.map(|pair| pair.modify_index));
        if mode != Mode::Stale {
            self.last_read.insert(key, (value, modified.unwrap_or(0)));
        }
        let operation = KeyOperation::Read(value);
        let index = Some(answer.index());
        self.history.add(Record { key, mode, operation, called, returned, index, modified });
    }

    async fn write(&mut self, key: usize) {
        let value = self.next_value();
        let path = self.path(key);
        let operation = KeyOperation::Write(Some(value));
        self.change(Method::PUT, path, value.to_string(), key, operation).await;
    }

    async fn delete(&mut self, key: usize) {
        let path = self.path(key);
        self.change(Method::DELETE, path, String::new(), key, KeyOperation::Write(None)).await;
    }

    /// Compares with what this client read last; others may have written since.
    async fn compare_and_set(&mut self, key: usize) {
        let Some(&(expected, index)) = self.last_read.get(&key) else { return };
        let value = self.next_value();
        let path = format!("{}?cas={index}", self.path(key));
        let operation = KeyOperation::CompareAndSet { expected, new: Some(value), done: true };
        self.change(Method::PUT, path, value.to_string(), key, operation).await;
    }

    async fn change(
        &mut self,
        method: Method,
        path: String,
        body: String,
        key: usize,
        mut operation: KeyOperation,
    ) {
        self.counters.invoked.fetch_add(1, Ordering::Relaxed);
        let called = self.history.now();
        let answer = self.local.send(method, &path, body, REQUEST_TIMEOUT).await;
        let now = self.history.now();
        let returned = match outcome(answer) {
            Outcome::Refused => return,
            Outcome::Unknown => None,
            Outcome::Completed(done) => {
                if let KeyOperation::CompareAndSet { done: is_set, .. } = &mut operation {
                    *is_set = done;
                } else if !done {
                    self.history.complain(format!("{path} returned false"));
                }
                Some(now)
            }
        };
        self.count(returned.is_some());
        let mode = Mode::Default;
        let (index, modified) = (None, None);
        self.history.add(Record { key, mode, operation, called, returned, index, modified });
    }

    /// Writes a key that nobody else writes, so that its loss would be seen whatever follows.
    async fn write_once(&mut self) {
        let key = format!("{}{}", self.history.once_prefix(), self.next_value());
        let path = format!("/v1/kv/{key}");
        self.counters.invoked.fetch_add(1, Ordering::Relaxed);
        let answer = self.local.send(Method::PUT, &path, "x", REQUEST_TIMEOUT).await;
        match outcome(answer) {
            Outcome::Completed(true) => {
                self.count(true);
                self.history.acknowledge(key);
            }
            Outcome::Completed(false) => self.history.complain(format!("{path} returned false")),
            Outcome::Unknown => self.count(false),
            Outcome::Refused => {}
        }
    }

    fn count(&self, is_known: bool) {
        if is_known {
            self.counters.completed.fetch_add(1, Ordering::Relaxed);
            self.counters.written.fetch_add(1, Ordering::Relaxed);
        } else {
            self.counters.unknown.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What is known of a write.
pub(crate) enum Outcome {
    /// Nothing was sent.
    Refused,
    /// Whether it has an effect, now or later, is not known.
    Unknown,
    /// It returned: done (true), or refused by the comparison (false).
    Completed(bool),
}

pub(crate) fn outcome(answer: Result<Answer, String>) -> Outcome {
    match answer {
        Ok(answer) if answer.status == StatusCode::OK => match answer.text().trim() {
            "true" => Outcome::Completed(true),
            "false" => Outcome::Completed(false),
            _ => Outcome::Unknown,
        },
        Ok(_) => Outcome::Unknown,
        Err(reason) if reason.contains("connection refused") => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    }
}

/// Returns the pair that a read of one key returned, `Some(Ok(None))` if the key does not exist,
/// and what is wrong with a body that is not one pair. `None` if the read failed.
pub(crate) fn pair(answer: &Answer) -> Option<Result<Option<KvPair>, String>> {
    let exists = answer.status == StatusCode::OK;
    let pair = pairs(answer)?.and_then(|mut pairs| match (exists, pairs.len()) {
        (true, 1) => Ok(pairs.pop()),
        (false, _) => Ok(None),
        (true, count) => Err(format!("{count} pairs for one key")),
    });
    Some(pair)
}

/// Returns the pairs that a read returned, and what is wrong with a body that is no list of pairs.
/// `None` if the read failed.
fn pairs(answer: &Answer) -> Option<Result<Vec<KvPair>, String>> {
    match answer.status {
        StatusCode::OK => {
            let decoded = answer.json::<Vec<KvPair>>();
            Some(decoded.map_err(|error| format!("{error:?} in {:?}", answer.text())))
        }
        StatusCode::NOT_FOUND => Some(Ok(Vec::new())),
        _ => None,
    }
}

/// Returns the number that a client wrote. Anything else is 0, which no client writes, so that the
/// check of the history refuses the read.
pub(crate) fn value(pair: &KvPair) -> u64 {
    std::str::from_utf8(&pair.value).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Holds a blocking query on the prefix for as long as the epoch lasts.
async fn watch(
    local: Local,
    machine: usize,
    mode: Mode,
    history: Arc<History>,
    counters: Arc<Counters>,
) {
    let mut index = 0;
    loop {
        let prefix = history.prefix();
        let parameter = mode.parameter();
        let path = format!("/v1/kv/{prefix}?recurse&wait=10m&index={index}&{parameter}");
        let answer = local.send(Method::GET, &path, "", WATCH_TIMEOUT).await;
        let read = answer.ok().and_then(|answer| Some((pairs(&answer)?, answer.index())));
        let (pairs, returned) = match read {
            Some((Ok(pairs), returned)) => (pairs, returned),
            failed => {
                if let Some((Err(problem), _)) = failed {
                    history.complain(format!("{path}: {problem}"));
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            }
        };
        counters.woken.fetch_add(1, Ordering::Relaxed);
        let number = |pair: &KvPair| pair.key.strip_prefix(&prefix)?.parse().ok();
        let values = pairs.iter().filter_map(|pair| Some((number(pair)?, value(pair)))).collect();
        // As Consul's clients do: an index that went back is not waited for.
        index = if returned < index { 0 } else { returned };
        history.watch(machine, mode, Seen { index: returned, values });
    }
}
