//! Follows the Watch stream of the servers, and reopens it for as long as the sidecar runs.
//!
//! Every stream begins with a snapshot, so a sidecar resumes with a new request. Between streams
//! the last configuration stays in force: a sidecar serves without its servers. When its own
//! upstreams (annotations) change, it closes the stream and requests one with the new list.

use std::{convert::Infallible, ops::ControlFlow, time::Duration};

use lictor_api::error::chain;
use lictor_api::mesh::{PROTOCOL_VERSION, v1};
use lictor_runtime::Backoff;

use crate::{
    config::{Servers, Subject},
    error, metrics, servers,
    state::State,
};

/// The stream could not be opened, or broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("opening the configuration stream")]
    Servers(#[from] servers::Error),
    #[error("following the configuration stream")]
    Status(#[from] Box<tonic::Status>),
    #[error("the server ended the configuration stream")]
    Ended,
}

/// Longer than servers wait for a pod's registration before they respond.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Updates `state` from the stream; returns only on error.
///
/// # Errors
/// A server sent a final status before any message was received. Later failures are retried.
pub(crate) async fn run(config: &Servers, state: &State) -> Result<Infallible, error::Error> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut served = false;
    let mut warned = false;
    loop {
        let mut received = false;
        let ended = follow(config, state, &mut received, &mut warned).await;
        metrics::server_connected(false);
        if received {
            served = true;
            backoff.reset();
        }
        let failure = match ended {
            Ok(ControlFlow::Continue(())) => continue,
            Ok(ControlFlow::Break(())) => Error::Ended,
            Err(Error::Status(status)) if !served && servers::is_final(status.code()) => {
                return Err(error::Error::Refused { what: "a configuration", status });
            }
            Err(failure) => failure,
        };
        metrics::stream_failed();
        let text = chain(&failure);
        // Once per outage: a server that is down for hours must not fill the log.
        match &failure {
            _ if warned => tracing::debug!(error = %text, "still no configuration stream"),
            Error::Status(status) if servers::is_final(status.code()) => {
                tracing::error!(error = %text, "configuration refused, keeping the last known");
            }
            _ => tracing::warn!(error = %text, "no server, keeping the last known configuration"),
        }
        warned = true;
        tokio::time::sleep(backoff.next_pause()).await;
    }
}

/// Follows one stream until it ends: `Break` if the server ended it, `Continue` if this sidecar's
/// upstreams have changed and the next stream should be opened at once. Sets `received` at the
/// first message.
async fn follow(
    config: &Servers,
    state: &State,
    received: &mut bool,
    warned: &mut bool,
) -> Result<ControlFlow<()>, Error> {
    let mut upstreams = state.own_upstreams.subscribe();
    let message = request(config, &upstreams.borrow_and_update());
    let mut client = servers::connect(config).await?;
    let request = servers::request(&config.credential, message).await?;
    let mut stream = tokio::time::timeout(OPEN_TIMEOUT, client.watch(request))
        .await
        .map_err(|_| {
            Box::new(tonic::Status::deadline_exceeded(format!("no answer within {OPEN_TIMEOUT:?}")))
        })?
        .map_err(Box::new)?
        .into_inner();
    let mut snapshot = state.snapshot.borrow().as_ref().clone();
    loop {
        let message = tokio::select! {
            message = stream.message() => message.map_err(Box::new)?,
            changed = upstreams.changed() => {
                return Ok(if changed.is_ok() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                });
            }
        };
        let Some(message) = message else { return Ok(ControlFlow::Break(())) };
        if !*received {
            *received = true;
            *warned = false;
            metrics::server_connected(true);
            tracing::info!(index = message.index, "configuration stream open");
        }
        for rejected in snapshot.apply(message) {
            let error = chain(&rejected);
            tracing::error!(%error, "configuration from the server not used");
        }
        state.publish(snapshot.clone());
    }
}

fn request(config: &Servers, upstreams: &[lictor_api::upstream::Upstream]) -> v1::WatchRequest {
    use v1::watch_request::Subject as Wire;
    let subject = match &config.subject {
        Subject::ProxyId(id) => Wire::ProxyId(id.clone()),
        Subject::SidecarFor(id) => Wire::SidecarFor(id.clone()),
        Subject::Service(name) => Wire::Service(name.clone()),
    };
    let upstream = |upstream: &lictor_api::upstream::Upstream| v1::UpstreamRequest {
        service: upstream.service.clone(),
        datacenter: upstream.datacenter.clone().unwrap_or_default(),
        bind_address: upstream.bind_address.to_string(),
        bind_port: upstream.bind_port.into(),
    };
    v1::WatchRequest {
        protocol_version: PROTOCOL_VERSION,
        subject: Some(subject),
        upstreams: upstreams.iter().map(upstream).collect(),
        node: String::new(),
    }
}
