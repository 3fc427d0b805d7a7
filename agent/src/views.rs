//! Views of the catalog that a client agent follows, each in a [`Store`] of its own.
//!
//! A view is opened by the first question about it and closed when nobody has asked for a while. It
//! is a stream from some server; when the stream breaks, the last state stays until another server
//! has sent its own, so that what is answered from it is old at worst.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use imbl::OrdMap;
use lictor_api::server::{PROTOCOL_VERSION, v1, v1::forward_client::ForwardClient};
use lictor_core::state::{State, Topic, view::View};
use lictor_store::Store;
use lictor_transport::MAX_REQUEST_BYTES;
use tokio::time::{Instant, interval, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::forward::Forwarder;

/// Before a broken stream is begun again; doubled up to the longest, with jitter.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Views at a time; with more, the answer is a server's.
const MAX_VIEWS: usize = 4096;
/// How long a view is followed after the last question.
const IDLE: Duration = Duration::from_secs(600);
/// How often views that nobody asks for are looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// How long the first question about a view waits for it.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

/// The views that this agent follows.
pub struct Views {
    forwarder: Arc<Forwarder>,
    datacenter: String,
    open: ArcSwap<OrdMap<View, Arc<Followed>>>,
    begun: Instant,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// One view.
struct Followed {
    store: Arc<Store>,
    /// Seconds after `begun` of the last question.
    asked: AtomicU64,
    lost: Arc<Lost>,
    close: CancellationToken,
}

/// Since when a view is not followed; nothing while it is.
#[derive(Debug, Default)]
pub struct Lost(Mutex<Option<Instant>>);

/// A view that a question is answered from.
#[derive(Clone)]
pub struct Cached {
    /// What the view shows, and will show.
    pub store: Arc<Store>,
    /// Whether it was there before the question.
    pub hit: bool,
    /// How old it may be.
    pub age: Duration,
}

impl Views {
    /// None yet.
    pub fn new(
        forwarder: Arc<Forwarder>,
        datacenter: String,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let views = Arc::new(Self {
            forwarder,
            datacenter,
            open: ArcSwap::default(),
            begun: Instant::now(),
            tasks,
            shutdown,
        });
        views.tasks.spawn(views.clone().sweep());
        views
    }

    /// The way to the servers.
    pub fn forwarder(&self) -> &Arc<Forwarder> {
        &self.forwarder
    }

    /// The datacenter that the views are of.
    pub fn datacenter(&self) -> &str {
        &self.datacenter
    }

    /// What a view shows now, if it is followed and has been sent. Takes no lock.
    pub fn get(&self, view: &View) -> Option<Arc<State>> {
        let followed = self.open.load().get(view).cloned()?;
        self.touch(&followed);
        let state = followed.store.snapshot();
        (state.index > 0).then_some(state)
    }

    /// What a view shows, followed from now on; `None` if no server sends it within three seconds.
    pub async fn wait(self: &Arc<Self>, view: &View) -> Option<Arc<State>> {
        let store = self.store(view)?;
        let sent = store.wait_for(|state, topics| {
            topics.add(Topic::Nodes);
            (state.index > 0).then_some(())
        });
        timeout(OPEN_TIMEOUT, sent).await.ok()?;
        Some(store.snapshot())
    }

    /// What a view shows, now and later, followed from now on; `None` as for [`Views::wait`].
    pub async fn cached(self: &Arc<Self>, view: &View) -> Option<Cached> {
        let hit = self.get(view).is_some();
        if !hit {
            self.wait(view).await?;
        }
        let followed = self.open.load().get(view).cloned()?;
        Some(Cached { store: followed.store.clone(), hit, age: followed.lost.age() })
    }

    /// The store of a view that is followed from now on; `None` with too many of them.
    pub fn store(self: &Arc<Self>, view: &View) -> Option<Arc<Store>> {
        let new = Arc::new(Followed {
            store: Arc::default(),
            asked: AtomicU64::default(),
            lost: Arc::default(),
            close: self.shutdown.child_token(),
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
            self.tasks.spawn(follow(
                self.forwarder.clone(),
                self.datacenter.clone(),
                view.clone(),
                new.store.clone(),
                new.lost.clone(),
                new.close.clone(),
            ));
        }
        Some(followed.store.clone())
    }

    fn touch(&self, followed: &Followed) {
        followed.asked.store(self.begun.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Closes what nobody asks for.
    async fn sweep(self: Arc<Self>) {
        let mut ticks = interval(SWEEP);
        while self.shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let now = self.begun.elapsed().as_secs();
            let is_idle = |followed: &Followed| {
                // Whoever blocks on it still asks.
                followed.store.sleepers() == 0
                    && now.saturating_sub(followed.asked.load(Ordering::Relaxed)) > IDLE.as_secs()
            };
            for (view, followed) in self.open.load_full().iter() {
                if is_idle(followed) {
                    self.open.rcu(|open| Arc::new(open.without(view)));
                    followed.close.cancel();
                }
            }
        }
    }
}

// === impl Lost ===

impl Lost {
    fn since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether the stream is gone; the first time counts.
    fn set(&self, is_lost: bool) {
        let mut since = self.since();
        *since = is_lost.then(|| since.unwrap_or_else(Instant::now));
    }

    fn age(&self) -> Duration {
        self.since().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Why a view was not followed further.
#[derive(Debug, thiserror::Error)]
enum ViewError {
    #[error(transparent)]
    Forward(#[from] crate::forward::ForwardError),
    #[error("the stream broke: {0}")]
    Broken(#[from] tonic::Status),
    #[error("the server ended the stream")]
    Ended,
    #[error(transparent)]
    Damaged(#[from] lictor_core::state::snapshot::SnapshotError),
}

/// Keeps `store` at what the servers of `datacenter` show of `view`, until `shutdown`.
pub async fn follow(
    forwarder: Arc<Forwarder>,
    datacenter: String,
    view: View,
    store: Arc<Store>,
    lost: Arc<Lost>,
    shutdown: CancellationToken,
) {
    let mut retry = RETRY_MIN;
    loop {
        let mut heard = false;
        let error = tokio::select! {
            () = shutdown.cancelled() => return,
            error = follow_once(&forwarder, &datacenter, &view, &mut heard, |state| {
                store.replace(state);
                lost.set(false);
            }) => error,
        };
        lost.set(true);
        if let Err(error) = error {
            tracing::debug!(?view, %error, "view is not followed right now");
        }
        retry = if heard { RETRY_MIN } else { (retry * 2).min(RETRY_MAX) };
        let pause = retry.mul_f64(rand::random_range(0.5..1.0));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn follow_once(
    forwarder: &Forwarder,
    datacenter: &str,
    view: &View,
    heard: &mut bool,
    replace: impl Fn(State),
) -> Result<(), ViewError> {
    let (_, connection) = forwarder.connect(datacenter).await?;
    let mut client = ForwardClient::new(connection).max_decoding_message_size(MAX_REQUEST_BYTES);
    let request = v1::WatchRequest { protocol_version: PROTOCOL_VERSION, view: Some(asked(view)) };
    let mut states = client.watch(request).await?.into_inner();
    while let Some(message) = states.message().await? {
        replace(State::from_snapshot(&message.state)?);
        *heard = true;
    }
    Err(ViewError::Ended)
}

fn asked(view: &View) -> v1::watch_request::View {
    use v1::watch_request::View as Asked;
    match view {
        View::Node(node) => Asked::Node(node.to_string()),
        View::Service(service) => Asked::Service(service.to_string()),
        View::Connect(service) => Asked::Connect(service.to_string()),
    }
}
