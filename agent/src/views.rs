//! Views of the catalog that a client agent follows, each in a [`Store`] of its own.
//!
//! A view is opened by the first request for it and closed when it has not been used for
//! [`VIEW_TTL`]. It is a stream from one server; when the stream breaks, the last state stays until
//! another server has sent its own.
//!
//! INVARIANT: a view always shows a complete state that a server had: it may be old, and
//! [`Cached::age`] states its age, but it is never partial. The number of views is bounded.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use imbl::OrdMap;
use lictor_api::{
    error::chain,
    server::{PROTOCOL_VERSION, v1, v1::forward_client::ForwardClient},
};
use lictor_core::state::{State, Topic, view::View};
use lictor_runtime::{Tasks, backoff::Backoff};
use lictor_store::Store;
use lictor_transport::MAX_REQUEST_BYTES;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::forward::Forwarder;

/// Bounds of the pause before a broken stream is opened again.
const MIN_RETRY_INTERVAL: Duration = Duration::from_millis(100);
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// The most views at a time; requests beyond that are forwarded to a server.
const MAX_VIEWS: usize = 4096;
/// How long a view is followed after its last use.
const VIEW_TTL: Duration = Duration::from_secs(600);
/// Interval at which unused views are closed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How long the first request for a view waits for it.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

/// The views that this agent follows.
pub struct Views {
    forwarder: Arc<Forwarder>,
    datacenter: String,
    open: ArcSwap<OrdMap<View, Arc<Followed>>>,
    started: Instant,
    tasks: Tasks,
}

/// One view.
struct Followed {
    store: Arc<Store>,
    /// When it was last used, in seconds after [`Views::started`].
    last_used: AtomicU64,
    disconnected: Arc<Disconnected>,
    /// The task that reads its stream.
    tasks: Tasks,
}

/// When a view's stream broke; `None` while it is connected.
#[derive(Debug, Default)]
pub struct Disconnected(Mutex<Option<Instant>>);

/// A view that a request reads from.
#[derive(Clone)]
pub struct Cached {
    /// The view's state, which changes with the stream.
    pub store: Arc<Store>,
    /// Whether it was available before the request.
    pub hit: bool,
    /// How old it may be: the time since its stream broke.
    pub age: Duration,
}

impl Views {
    /// Returns an agent's views, none at first, and starts the task that closes unused ones.
    pub fn new(forwarder: Arc<Forwarder>, datacenter: String, tasks: Tasks) -> Arc<Self> {
        let views = Arc::new(Self {
            forwarder,
            datacenter,
            open: ArcSwap::default(),
            started: Instant::now(),
            tasks,
        });
        let swept = views.clone();
        // A restart begins with all views.
        views.tasks.restart("views.sweep", move || swept.clone().sweep());
        views
    }

    /// Returns the forwarder to the servers.
    pub fn forwarder(&self) -> &Arc<Forwarder> {
        &self.forwarder
    }

    /// Returns the datacenter of the views.
    pub fn datacenter(&self) -> &str {
        &self.datacenter
    }

    /// Returns the current state of a view; `None` if it is not followed or no server has sent it
    /// yet. Takes no lock.
    pub fn get(&self, view: &View) -> Option<Arc<State>> {
        let followed = self.open.load().get(view).cloned()?;
        self.touch(&followed);
        let state = followed.store.snapshot();
        (state.index > 0).then_some(state)
    }

    /// Follows a view and returns its state; `None` if no server sends it within three seconds, or
    /// at the limit of views.
    pub async fn wait(self: &Arc<Self>, view: &View) -> Option<Arc<State>> {
        let store = self.store(view)?;
        let sent = store.wait_for(|state, topics| {
            topics.add(Topic::Nodes);
            (state.index > 0).then_some(())
        });
        timeout(OPEN_TIMEOUT, sent).await.ok()?;
        Some(store.snapshot())
    }

    /// Follows a view and returns its store and age; `None` as for [`Views::wait`].
    pub async fn cached(self: &Arc<Self>, view: &View) -> Option<Cached> {
        let hit = self.get(view).is_some();
        if !hit {
            self.wait(view).await?;
        }
        let followed = self.open.load().get(view).cloned()?;
        Some(Cached { store: followed.store.clone(), hit, age: followed.disconnected.age() })
    }

    /// Follows a view and returns its store; `None` at the limit of views.
    pub fn store(self: &Arc<Self>, view: &View) -> Option<Arc<Store>> {
        let new = Arc::new(Followed {
            store: Arc::default(),
            last_used: AtomicU64::default(),
            disconnected: Arc::default(),
            tasks: self.tasks.group(),
        });
        self.open.rcu(|open| {
            if open.contains_key(view) || open.len() >= MAX_VIEWS {
                return open.clone();
            }
            Arc::new(open.update(view.clone(), new.clone()))
        });
        let followed = self.open.load().get(view).cloned()?;
        self.touch(&followed);
        if Arc::ptr_eq(&followed, &new) {
            start(
                &new.tasks,
                self.forwarder.clone(),
                self.datacenter.clone(),
                view.clone(),
                new.store.clone(),
                new.disconnected.clone(),
            );
        }
        Some(followed.store.clone())
    }

    /// Records the use of a view.
    fn touch(&self, followed: &Followed) {
        followed.last_used.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Closes unused views until shutdown.
    async fn sweep(self: Arc<Self>) {
        let mut ticks = interval(SWEEP_INTERVAL);
        while self.tasks.shutdown().run_until_cancelled(ticks.tick()).await.is_some() {
            let now = self.started.elapsed().as_secs();
            let is_idle = |followed: &Followed| {
                // A blocking query uses the view for as long as it waits.
                let unused = now.saturating_sub(followed.last_used.load(Ordering::Relaxed));
                followed.store.sleepers() == 0 && unused > VIEW_TTL.as_secs()
            };
            for (view, followed) in self.open.load_full().iter() {
                if is_idle(followed) {
                    self.open.rcu(|open| Arc::new(open.without(view)));
                    followed.tasks.shutdown().cancel();
                }
            }
        }
    }
}

// === impl Disconnected ===

impl Disconnected {
    fn since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records whether the stream is broken. Later failed attempts do not change the time.
    fn set(&self, is_disconnected: bool) {
        let mut since = self.since();
        *since = is_disconnected.then(|| since.unwrap_or_else(Instant::now));
    }

    /// Returns the time since the stream broke; zero while it is connected.
    fn age(&self) -> Duration {
        self.since().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Why a view's stream ended.
#[derive(Debug, thiserror::Error)]
enum ViewError {
    #[error(transparent)]
    Forward(#[from] crate::forward::ForwardError),
    #[error("the stream broke")]
    Broken(#[from] tonic::Status),
    #[error("the server ended the stream")]
    Ended,
    #[error(transparent)]
    Damaged(#[from] lictor_core::state::snapshot::SnapshotError),
}

/// Starts a task that updates `store` from `view` at the servers of `datacenter`, until shutdown of
/// `tasks`.
pub fn start(
    tasks: &Tasks,
    forwarder: Arc<Forwarder>,
    datacenter: String,
    view: View,
    store: Arc<Store>,
    disconnected: Arc<Disconnected>,
) {
    // After a restart the next stream begins with the whole view.
    tasks.restart_until_shutdown("views.follow", move || {
        let (forwarder, datacenter) = (forwarder.clone(), datacenter.clone());
        let (view, store, disconnected) = (view.clone(), store.clone(), disconnected.clone());
        async move { follow(&forwarder, &datacenter, &view, &store, &disconnected).await }
    });
}

/// Follows a view forever, over one stream after the other.
async fn follow(
    forwarder: &Forwarder,
    datacenter: &str,
    view: &View,
    store: &Store,
    disconnected: &Disconnected,
) {
    let mut backoff = Backoff::new(MIN_RETRY_INTERVAL, MAX_RETRY_INTERVAL);
    // After a restart the view counts as disconnected until a state arrives.
    disconnected.set(store.snapshot().index > 0);
    loop {
        let followed = follow_once(forwarder, datacenter, view, |state| {
            store.replace(state);
            disconnected.set(false);
            backoff.reset();
        });
        let Err(error) = followed.await;
        disconnected.set(true);
        tracing::debug!(?view, error = chain(&error), "view is not followed right now");
        sleep(backoff.next_pause()).await;
    }
}

/// Passes every state of a view that a server sends to `replace`, until the stream ends.
async fn follow_once(
    forwarder: &Forwarder,
    datacenter: &str,
    view: &View,
    mut replace: impl FnMut(State),
) -> Result<Infallible, ViewError> {
    let (_, connection) = forwarder.connect(datacenter).await?;
    let mut client = ForwardClient::new(connection).max_decoding_message_size(MAX_REQUEST_BYTES);
    let request = v1::WatchRequest { protocol_version: PROTOCOL_VERSION, view: Some(encode(view)) };
    let mut states = client.watch(request).await?.into_inner();
    while let Some(message) = states.message().await? {
        replace(State::from_snapshot(&message.state)?);
    }
    Err(ViewError::Ended)
}

fn encode(view: &View) -> v1::watch_request::View {
    use v1::watch_request::View as Encoded;
    match view {
        View::Node(node) => Encoded::Node(node.to_string()),
        View::Service(service) => Encoded::Service(service.to_string()),
        View::Connect(service) => Encoded::Connect(service.to_string()),
    }
}
