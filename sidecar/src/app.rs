//! Wires the parts of one sidecar together and ends them.
//!
//! Discovery, identity, listeners, annotations and the admin server are futures of one task; if
//! one of them fails, the sidecar ends with its error. Accept loops and connections are tracked
//! tasks that the drain waits for.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use lictor_api::mesh::v1;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    admin, annotations,
    config::{Config, Limits, Source, Static, Upstreams},
    discovery,
    drain::Drain,
    inbound::Inbound,
    listener::{self, Accepted, BindError},
    metrics,
    outbound::Outbound,
    readiness::Handle,
    report,
    snapshot::{Key, Snapshot, Target, bind_address},
    state::{Listeners, State},
    tls::identity,
};

/// The sidecar cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused for good; trying again would not help.
    #[error("the server refused {what}: {}", source.message())]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The server's answer.
        source: Box<tonic::Status>,
    },
    /// The admin or metrics listener could not be opened.
    #[error("opening the {what} listener")]
    Listener {
        /// `admin` or `metrics`.
        what: &'static str,
        /// Names address and port.
        source: BindError,
    },
}

/// Answers that no waiting changes.
pub(crate) fn is_final(code: tonic::Code) -> bool {
    use tonic::Code;
    matches!(
        code,
        Code::PermissionDenied
            | Code::Unauthenticated
            | Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::Unimplemented
    )
}

/// Runs a sidecar until `shutdown` is canceled and its connections are drained.
///
/// # Errors
/// The server refuses it for good, or the admin or metrics port is taken.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    Sidecar::new(config).0.run(shutdown).await
}

/// A sidecar that has not started yet.
#[derive(Debug)]
pub struct Sidecar {
    config: Config,
    state: Arc<State>,
}

impl Sidecar {
    /// The sidecar and a handle to watch it by.
    pub fn new(config: Config) -> (Self, Handle) {
        let own_upstreams = match &config.upstreams {
            Upstreams::Fixed(list) => list.clone(),
            Upstreams::Annotations(path) => annotations::first(path),
        };
        let state = Arc::new(State::new(own_upstreams));
        (Self { config, state: Arc::clone(&state) }, Handle(state))
    }

    /// Runs until `shutdown` is canceled and open connections are drained.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { config, state } = self;
        let drain = Drain::default();
        let inbound = Inbound {
            state: Arc::clone(&state),
            limits: config.limits.clone(),
            drain: drain.clone(),
            local_app: config.local_app,
        };
        let supervisor = Supervisor {
            state: Arc::clone(&state),
            limits: config.limits.clone(),
            drain: drain.clone(),
            public: config.public_listener,
            inbound: Arc::new(inbound),
            open_public: None,
            open: BTreeMap::new(),
        };
        let admin = admin::Listeners::open(config.admin, config.metrics)?;
        let running = async {
            tokio::select! {
                never = supervisor.run() => match never {},
                never = admin.run(Handle(Arc::clone(&state))) => match never {},
                never = follow_annotations(&config.upstreams, &state) => match never {},
                failed = follow_source(config.source, &state) => failed,
            }
        };
        let result = tokio::select! {
            Err(failed) = running => Err(failed),
            () = shutdown.cancelled() => Ok(()),
        };
        drain.finish(config.limits.drain).await;
        result
    }
}

async fn follow_annotations(upstreams: &Upstreams, state: &State) -> Infallible {
    match upstreams {
        Upstreams::Fixed(_) => std::future::pending().await,
        Upstreams::Annotations(path) => annotations::follow(path, &state.own_upstreams).await,
    }
}

async fn follow_source(source: Source, state: &State) -> Result<Infallible, Error> {
    match source {
        Source::Servers(servers) => tokio::select! {
            ended = discovery::run(&servers, state) => ended,
            ended = identity::run(&servers, state) => ended,
        },
        Source::Static(fixed) => {
            let Static { leaf, roots, policy, targets } = *fixed;
            let service = leaf.summary().spiffe_id.service_name().unwrap_or_default().to_owned();
            state.certs.set_leaf(leaf);
            let targets = targets.into_iter().map(|t| (t.bind.to_string(), Arc::new(t))).collect();
            state.publish(Snapshot {
                roots: Some(Arc::new(roots)),
                proxy: Some(Arc::new(v1::Proxy { service, ..<_>::default() })),
                policy: Some(Arc::new(policy)),
                targets,
                ..Snapshot::default()
            });
            std::future::pending().await
        }
    }
}

/// Keeps the open listeners equal to the wanted ones.
struct Supervisor {
    state: Arc<State>,
    limits: Limits,
    drain: Drain,
    public: Option<SocketAddr>,
    inbound: Arc<Inbound>,
    open_public: Option<(SocketAddr, Bound)>,
    open: BTreeMap<Key, (Arc<Outbound>, Result<Bound, String>)>,
}

/// An accept loop, which ends when this is dropped.
struct Bound {
    address: SocketAddr,
    _closed: oneshot::Sender<Infallible>,
}

/// How soon a port that was taken is tried again.
const BIND_RETRY: Duration = Duration::from_secs(1);

impl Supervisor {
    async fn run(mut self) -> Infallible {
        let state = Arc::clone(&self.state);
        let mut snapshots = state.snapshot.subscribe();
        let mut own = state.own_upstreams.subscribe();
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            let mut wanted: BTreeSet<Key> = own.borrow_and_update().iter().map(Key::from).collect();
            wanted.extend(snapshot.targets.values().map(|target| target.key()));
            let mut status = Listeners { public: self.open_public(&snapshot), ..<_>::default() };
            self.open.retain(|key, _| wanted.contains(key));
            for key in wanted {
                let known = snapshot.targets.values().find(|target| target.key() == key);
                let bound = self.open_upstream(&key, known, snapshot.policy.is_some());
                status.upstreams.insert(key, bound);
            }
            let mut all = status.public.iter().chain(status.upstreams.values());
            let incomplete = all.any(Result::is_err);
            state.listeners.send_if_modified(|current| {
                let changed = *current != status;
                *current = status;
                changed
            });
            tokio::select! {
                _ = snapshots.changed() => {}
                _ = own.changed() => {}
                () = tokio::time::sleep(BIND_RETRY), if incomplete => {}
            }
        }
    }

    /// The upstream's listener with its current endpoints.
    fn open_upstream(
        &mut self,
        key: &Key,
        target: Option<&Arc<Target>>,
        configured: bool,
    ) -> Result<SocketAddr, String> {
        let Self { state, limits, drain, open, .. } = self;
        let (outbound, bound) = open.entry(key.clone()).or_insert_with(|| {
            let outbound =
                Outbound::new(&key.service, Arc::clone(state), limits.clone(), drain.clone());
            (Arc::new(outbound), Err(String::new()))
        });
        // The servers have spoken and do not know it: that is "no endpoints", not "wait".
        let unknown = || Arc::new(Target::without_endpoints(key));
        let target = target.cloned().or_else(|| configured.then(unknown));
        outbound.update(target.as_ref());
        if bound.is_err() {
            let serve = {
                let outbound = Arc::clone(outbound);
                move |accepted: Accepted| Arc::clone(&outbound).serve(accepted)
            };
            let now = listen(key.bind, limits.max_connections, drain, serve);
            report_bind(&key.service, bound.as_ref().err(), &now);
            *bound = now;
        }
        bound.as_ref().map(|bound| bound.address).map_err(Clone::clone)
    }

    /// The public listener, where we were told or where the registration says.
    fn open_public(&mut self, snapshot: &Snapshot) -> Option<Result<SocketAddr, String>> {
        let registered = snapshot.proxy.as_ref().and_then(|proxy| {
            let address = match proxy.bind_address.as_str() {
                "" => "0.0.0.0",
                address => address,
            };
            bind_address(address, proxy.bind_port)
        });
        let Some(wanted) = self.public.or(registered) else {
            self.open_public = None;
            return None;
        };
        if let Some((address, bound)) = &self.open_public
            && *address == wanted
        {
            return Some(Ok(bound.address));
        }
        self.open_public = None;
        let inbound = Arc::clone(&self.inbound);
        let serve = move |accepted: Accepted| Arc::clone(&inbound).serve(accepted);
        let bound = listen(wanted, self.limits.max_connections, &self.drain, serve);
        let before = self.state.listeners.borrow().public.clone().and_then(Result::err);
        report_bind("public", before.as_ref(), &bound);
        Some(bound.map(|bound| {
            let address = bound.address;
            self.open_public = Some((wanted, bound));
            address
        }))
    }
}

/// Binds and starts accepting.
fn listen<F: Future<Output = ()> + Send + 'static>(
    wanted: SocketAddr,
    cap: usize,
    drain: &Drain,
    serve: impl Fn(Accepted) -> F + Send + Sync + 'static,
) -> Result<Bound, String> {
    let text = |error: BindError| report::chain(&error);
    let listener = listener::bind(wanted).map_err(text)?;
    let address = listener.local_addr().map_err(|error| text(BindError::Other(wanted, error)))?;
    let (closed, dropped) = oneshot::channel::<Infallible>();
    let listeners = drain.listeners.clone();
    let drain = drain.clone();
    let accepting: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let dropped = async { drop(dropped.await) };
        listener::accept_loop(listener, cap, &drain, serve, dropped).await;
    });
    listeners.spawn(accepting);
    Ok(Bound { address, _closed: closed })
}

/// Says once that a listener is open, and once for each different reason that it is not.
fn report_bind(listener: &str, before: Option<&String>, bound: &Result<Bound, String>) {
    match bound {
        Ok(bound) => info!(listener, addr = %bound.address, "listening"),
        Err(error) if Some(error) != before => {
            metrics::bind_failed();
            error!(listener, %error, "cannot listen, trying again");
        }
        Err(_) => {}
    }
}
