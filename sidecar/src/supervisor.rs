//! Opens and closes listeners as the configuration changes.
//!
//! The configured listeners are the sidecar's own upstreams and those of its registration, each
//! once, and the public listener. They are opened before their endpoints are known. A port in use
//! is logged once and retried every [`BIND_RETRY_INTERVAL`]; the other listeners serve meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use lictor_api::error::chain;
use tokio_util::sync::DropGuard;

use crate::{
    drain::Drain,
    inbound::Inbound,
    listener::{Accepted, BindError, accept, bind},
    metrics,
    outbound::Outbound,
    snapshot::{Snapshot, bind_address},
    state::Listeners,
    target::{Target, UpstreamKey},
};

/// The listeners of one sidecar.
pub(crate) struct Supervisor {
    public: Option<SocketAddr>,
    inbound: Arc<Inbound>,
    open_public: Option<(SocketAddr, Bound)>,
    open: BTreeMap<UpstreamKey, (Arc<Outbound>, Result<Bound, String>)>,
}

/// A bound listener with its accept loop, which ends when this is dropped.
struct Bound {
    address: SocketAddr,
    _closed: DropGuard,
}

/// Pause between attempts to bind ports that were in use.
const BIND_RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Creates a supervisor that serves `inbound` on the public listener: at `public`, or else at
    /// the registered address.
    pub(crate) fn new(public: Option<SocketAddr>, inbound: Inbound) -> Self {
        Self { public, inbound: Arc::new(inbound), open_public: None, open: BTreeMap::new() }
    }

    /// Opens and closes listeners as upstreams and registration change; never returns.
    pub(crate) async fn run(mut self) -> Infallible {
        let state = Arc::clone(&self.inbound.state);
        let mut snapshots = state.snapshot.subscribe();
        let mut own = state.own_upstreams.subscribe();
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            let mut wanted: BTreeSet<UpstreamKey> =
                own.borrow_and_update().iter().map(UpstreamKey::from).collect();
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
                () = tokio::time::sleep(BIND_RETRY_INTERVAL), if incomplete => {}
            }
        }
    }

    /// Opens the upstream's listener if it is not open, and updates its endpoints.
    fn open_upstream(
        &mut self,
        key: &UpstreamKey,
        target: Option<&Arc<Target>>,
        configured: bool,
    ) -> Result<SocketAddr, String> {
        let Inbound { state, limits, drain, .. } = &*self.inbound;
        let (outbound, bound) = self.open.entry(key.clone()).or_insert_with(|| {
            let outbound =
                Outbound::new(&key.service, Arc::clone(state), limits.clone(), drain.clone());
            (Arc::new(outbound), Err(String::new()))
        });
        // Configured here but unknown to the servers: fail with "no endpoints" instead of waiting.
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

    /// Opens the public listener, moving it if the registration's address has changed.
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
        let bound = listen(wanted, self.inbound.limits.max_connections, &self.inbound.drain, serve);
        let before = self.inbound.state.listeners.borrow().public.clone().and_then(Result::err);
        report_bind("public", before.as_ref(), &bound);
        Some(bound.map(|bound| {
            let address = bound.address;
            self.open_public = Some((wanted, bound));
            address
        }))
    }
}

/// Binds `wanted` and starts accepting; `serve` runs once per connection.
fn listen<F: Future<Output = ()> + Send + 'static>(
    wanted: SocketAddr,
    cap: usize,
    drain: &Drain,
    serve: impl Fn(Accepted) -> F + Send + Sync + 'static,
) -> Result<Bound, String> {
    let text = |error: BindError| chain(&error);
    let listener = bind(wanted).map_err(text)?;
    let address = listener.local_addr().map_err(|error| text(BindError::Other(wanted, error)))?;
    Ok(Bound { address, _closed: accept(listener, cap, drain, serve) })
}

/// Logs once that a listener is open, and once each new reason why it is not.
fn report_bind(listener: &str, before: Option<&String>, bound: &Result<Bound, String>) {
    match bound {
        Ok(bound) => tracing::info!(listener, addr = %bound.address, "listening"),
        Err(error) if Some(error) != before => {
            metrics::bind_failed();
            tracing::error!(listener, %error, "cannot listen, trying again");
        }
        Err(_) => {}
    }
}
