//! Clients that make a history: on every machine some that read and write, and two that watch.

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
/// How long a client waits for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);
/// Longer than an epoch: only a change or an error ends a watch.
const WATCH: Duration = Duration::from_secs(600);

/// Counters over the whole run.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Operations asked for.
    pub(crate) asked: AtomicU64,
    /// Those that were answered.
    pub(crate) answered: AtomicU64,
    /// Writes with an unknown outcome.
    pub(crate) unknown: AtomicU64,
    /// Writes acknowledged; the nemesis waits for it to grow.
    pub(crate) written: AtomicU64,
    /// Wake-ups of watchers.
    pub(crate) woken: AtomicU64,
}

/// The clients of one epoch.
pub(crate) struct Workload {
    /// What they do and are told.
    pub(crate) history: Arc<History>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<()>>,
}

/// One client on one machine.
struct Client {
    local: Local,
    number: u64,
    /// It never waits for a write, so that it sees what a cut-off server still answers.
    only_reads: bool,
    rng: StdRng,
    writes: u64,
    /// Value and index of each key as last read here.
    known: BTreeMap<usize, (Option<u64>, u64)>,
    history: Arc<History>,
    counters: Arc<Counters>,
}

// === impl Workload ===

impl Workload {
    /// Starts `per_machine` clients, the first of which only reads, and two watchers on each machine.
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
                    known: BTreeMap::new(),
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

    /// Stops the clients, each after its last answer; the watchers stay.
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
        self.counters.asked.fetch_add(1, Ordering::Relaxed);
        let called = self.history.now();
        let Ok(answer) = self.local.send(Method::GET, &path, "", PATIENCE).await else { return };
        let returned = Some(self.history.now());
        let Some(pair) = pair(&answer) else { return };
        self.counters.answered.fetch_add(1, Ordering::Relaxed);
        let (value, modified) = (pair.as_ref().map(value), pair.map(|pair| pair.modify_index));
        if mode != Mode::Stale {
            self.known.insert(key, (value, modified.unwrap_or(0)));
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
        let Some(&(expected, index)) = self.known.get(&key) else { return };
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
        self.counters.asked.fetch_add(1, Ordering::Relaxed);
        let called = self.history.now();
        let answer = self.local.send(method, &path, body, PATIENCE).await;
        let now = self.history.now();
        let returned = match outcome(answer) {
            Outcome::Refused => return,
            Outcome::Unknown => None,
            Outcome::Told(done) => {
                if let KeyOperation::CompareAndSet { done: told, .. } = &mut operation {
                    *told = done;
                } else if !done {
                    self.history.complain(format!("{path} was told false"));
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
        self.counters.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.local.send(Method::PUT, &path, "x", PATIENCE).await;
        match outcome(answer) {
            Outcome::Told(true) => {
                self.count(true);
                self.history.acknowledge(key);
            }
            Outcome::Told(false) => self.history.complain(format!("{path} was told false")),
            Outcome::Unknown => self.count(false),
            Outcome::Refused => {}
        }
    }

    fn count(&self, is_known: bool) {
        if is_known {
            self.counters.answered.fetch_add(1, Ordering::Relaxed);
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
    /// It is done (true), or refused by the comparison (false).
    Told(bool),
}

pub(crate) fn outcome(answer: Result<Answer, String>) -> Outcome {
    match answer {
        Ok(answer) if answer.status == StatusCode::OK => match answer.text().trim() {
            "true" => Outcome::Told(true),
            "false" => Outcome::Told(false),
            _ => Outcome::Unknown,
        },
        Ok(_) => Outcome::Unknown,
        Err(reason) if reason.contains("connection refused") => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    }
}

/// The pair in an answer, `Some(None)` for a key that does not exist.
pub(crate) fn pair(answer: &Answer) -> Option<Option<KvPair>> {
    match answer.status {
        StatusCode::OK => answer.json::<Vec<KvPair>>().ok()?.into_iter().next().map(Some),
        StatusCode::NOT_FOUND => Some(None),
        _ => None,
    }
}

/// The number that a client wrote.
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
        let Ok(answer) = local.send(Method::GET, &path, "", WATCH).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let pairs = match answer.status {
            StatusCode::OK => answer.json::<Vec<KvPair>>().unwrap_or_default(),
            StatusCode::NOT_FOUND => Vec::new(),
            _ => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        counters.woken.fetch_add(1, Ordering::Relaxed);
        let number = |pair: &KvPair| pair.key.strip_prefix(&prefix)?.parse().ok();
        let values = pairs.iter().filter_map(|pair| Some((number(pair)?, value(pair)))).collect();
        // As Consul's clients do: an index that went back is not waited for.
        index = if answer.index() < index { 0 } else { answer.index() };
        history.watch(machine, mode, Seen { index: answer.index(), values });
    }
}
