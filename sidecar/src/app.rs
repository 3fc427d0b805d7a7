//! Wires the parts of one sidecar together, runs them, and drains them at the end.
//!
//! Discovery, identity, supervisor, annotations and the admin server are futures of one task; if
//! one of them fails, the sidecar ends with its error. Accept loops and connections are tracked
//! tasks that the drain waits for.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use lictor_api::mesh::v1;
use tokio_util::sync::CancellationToken;

use crate::{
    admin, annotations,
    config::{Config, Source, Static, Upstreams},
    discovery,
    drain::Drain,
    error::Error,
    identity,
    inbound::Inbound,
    readiness::Handle,
    snapshot::Snapshot,
    state::State,
    supervisor::Supervisor,
};

/// Runs a sidecar until `shutdown` is canceled and its connections are drained.
///
/// # Errors
/// A server rejected the sidecar with a final status, the admin or metrics port is in use, or a
/// task failed.
pub fn run(config: Config, shutdown: CancellationToken) -> Running {
    Sidecar::new(config).0.run(shutdown)
}

/// A running sidecar. Boxed, so that its code is compiled once, in this crate, and not again in
/// every crate that polls it.
pub type Running = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A sidecar that has not started yet.
#[derive(Debug)]
pub struct Sidecar {
    config: Config,
    state: Arc<State>,
}

impl Sidecar {
    /// Returns the sidecar and a handle to observe it.
    pub fn new(config: Config) -> (Self, Handle) {
        let own_upstreams = match &config.upstreams {
            Upstreams::Fixed(list) => list.clone(),
            Upstreams::Annotations(path) => annotations::initial(path),
        };
        let state = Arc::new(State::new(own_upstreams));
        (Self { config, state: Arc::clone(&state) }, Handle(state))
    }

    /// Runs until `shutdown` is canceled and open connections are drained.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(self, shutdown: CancellationToken) -> Running {
        Box::pin(self.serve(shutdown))
    }

    async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { config, state } = self;
        let drain = Drain::default();
        let inbound = Inbound {
            state: Arc::clone(&state),
            limits: config.limits.clone(),
            drain: drain.clone(),
            local_app: config.local_app,
        };
        let supervisor = Supervisor::new(config.public_listener, inbound);
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
            failed = drain.tasks.failed() => Err(failed.into()),
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
