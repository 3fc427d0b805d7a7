//! `lictor.mesh.v1`: certificates and configuration for sidecars.
//!
//! INVARIANT: a Watch holds one compiled snapshot and sends the difference to the next; a slow
//! client receives fewer, larger updates, never a queue. A disconnected client costs nothing: the
//! stream is polled by its connection and dropped with it.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use lictor_api::mesh::v1::{
    SignRequest, SignResponse, UpstreamRequest, WatchRequest, WatchResponse, mesh_server,
};
use lictor_core::{
    connect::proxy::{self, ProxySnapshot, Settings},
    state::{State, WatchSet},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    identity::{self, Requester},
    subject::{self, Target},
};
use crate::{
    agent::Agent,
    ca::{
        CaError,
        sign::{RequestError, check_service_name},
    },
    http::Peer,
};

/// The most concurrent streams.
const MAX_STREAMS: usize = 16_384;
/// The most upstreams in one request.
const MAX_UPSTREAMS: usize = 1024;
/// Changes within this time are sent together.
const COALESCE_INTERVAL: Duration = Duration::from_millis(20);

/// The service.
pub(super) struct Mesh {
    agent: Arc<Agent>,
    shutdown: CancellationToken,
    streams: Arc<Semaphore>,
}

impl Mesh {
    pub(super) fn new(agent: Arc<Agent>, shutdown: CancellationToken) -> Self {
        Self { agent, shutdown, streams: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }

    async fn identify<T>(&self, request: &Request<T>) -> Result<Requester, Status> {
        let peer = request.extensions().get::<Peer>().copied();
        identity::identify(&self.agent, request.metadata(), peer).await
    }
}

#[tonic::async_trait]
impl mesh_server::Mesh for Mesh {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let requester = self.identify(&request).await?;
        let request = request.into_inner();
        let service = identity::service_of(&self.agent, &requester, &request.service).await?;
        let authority = self.agent.authority().ok_or_else(not_a_server)?;
        let signed = authority.sign(&request.csr_der, &service).await.map_err(status)?;
        tracing::debug!(service, spiffe_id = %signed.spiffe_id, "certificate signed");
        Ok(Response::new(SignResponse {
            chain_der: signed.issued.chain.iter().map(|der| der.to_vec()).collect(),
            service,
            spiffe_id: signed.spiffe_id.to_string(),
            not_before: signed.issued.not_before,
            not_after: signed.issued.not_after,
            roots: Some(proxy::roots_message(&signed.ca, &self.agent.config.load().datacenter)),
        }))
    }

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let full = |_| Status::resource_exhausted("too many streams, try again later");
        let permit = self.streams.clone().try_acquire_owned().map_err(full)?;
        let requester = self.identify(&request).await?;
        let request = request.into_inner();
        check_upstreams(&request.upstreams)?;
        let target = subject::find(&self.agent, &requester, request.subject, &request.node).await?;
        let watch = Watch {
            agent: self.agent.clone(),
            shutdown: self.shutdown.clone(),
            target,
            upstreams: request.upstreams,
            sent: None,
            not_before: Instant::now(),
            _permit: permit,
        };
        Ok(Response::new(Box::pin(stream::unfold(Some(watch), watch_step))))
    }
}

/// One open stream.
struct Watch {
    agent: Arc<Agent>,
    shutdown: CancellationToken,
    target: Target,
    upstreams: Vec<UpstreamRequest>,
    sent: Option<ProxySnapshot>,
    not_before: Instant,
    _permit: OwnedSemaphorePermit,
}

type Step = Option<(Result<WatchResponse, Status>, Option<Watch>)>;

/// Returns the next message and the rest of the stream.
async fn watch_step(watch: Option<Watch>) -> Step {
    let mut watch = watch?;
    let shutdown = watch.shutdown.clone();
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Some((Err(Status::unavailable("the server is stopping")), None)),
        response = watch.next() => Some((Ok(response), Some(watch))),
    }
}

impl Watch {
    /// Waits for the next change of the snapshot and returns the difference.
    async fn next(&mut self) -> WatchResponse {
        tokio::time::sleep_until(self.not_before).await;
        let config = self.agent.config.load_full();
        let settings = Settings {
            datacenter: &config.datacenter,
            default_allow: config.connect.default_allow,
            upstreams: &self.upstreams,
        };
        let changed = self.agent.store.wait_for(|state: &State, topics: &mut WatchSet| {
            let target = self.target.follow(state, topics);
            let compiled = proxy::snapshot(state, topics, target.subject(), settings)?;
            (self.sent.as_ref() != Some(&compiled)).then_some((state.index, target, compiled))
        });
        let (index, target, compiled) = changed.await;
        let response = proxy::diff(self.sent.as_ref(), &compiled, index);
        self.target = target;
        self.sent = Some(compiled);
        self.not_before = Instant::now() + COALESCE_INTERVAL;
        response
    }
}

fn check_upstreams(upstreams: &[UpstreamRequest]) -> Result<(), Status> {
    if upstreams.len() > MAX_UPSTREAMS {
        return Err(Status::invalid_argument(format!(
            "{} upstreams, at most {MAX_UPSTREAMS} are possible",
            upstreams.len()
        )));
    }
    for upstream in upstreams {
        check_service_name(&upstream.service)
            .map_err(|error| Status::invalid_argument(format!("upstream: {error}")))?;
        if !(1..=u32::from(u16::MAX)).contains(&upstream.bind_port) {
            return Err(Status::invalid_argument(format!(
                "upstream {:?}: port {} is not a number from 1 to 65535",
                upstream.service, upstream.bind_port
            )));
        }
    }
    Ok(())
}

fn not_a_server() -> Status {
    Status::unavailable("this agent is not a server")
}

/// Maps an authority's error to a status: UNAVAILABLE and RESOURCE_EXHAUSTED are retryable.
fn status(error: CaError) -> Status {
    match &error {
        CaError::NotInitialized | CaError::Server(_) => Status::unavailable(error.to_string()),
        CaError::RateLimited => Status::resource_exhausted(error.to_string()),
        CaError::Request(RequestError::OtherIdentity(..)) => {
            Status::permission_denied(error.to_string())
        }
        CaError::Request(_) | CaError::ServiceName(_) => {
            Status::invalid_argument(error.to_string())
        }
        _ => {
            tracing::error!(error = &error as &dyn std::error::Error, "certificate not signed");
            Status::internal("the certificate authority cannot sign")
        }
    }
}
