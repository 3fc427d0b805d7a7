//! Views of the catalog that a client agent follows, each in a [`Store`] of its own.
//!
//! A view is a stream from some server; when the stream breaks, the last state stays until another
//! server has sent its own, so that what is answered from it is old at worst.

use std::{sync::Arc, time::Duration};

use lictor_api::server::{PROTOCOL_VERSION, v1, v1::forward_client::ForwardClient};
use tokio_util::sync::CancellationToken;

use crate::{
    forward::Forwarder,
    rpc::MAX_REQUEST,
    state::{State, Store, view::View},
};

/// Before a broken stream is begun again; doubled up to the longest, with jitter.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

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
    Damaged(#[from] crate::state::snapshot::SnapshotError),
}

/// Keeps `store` at what the servers of `datacenter` show of `view`, until `shutdown`.
pub async fn follow(
    forwarder: Arc<Forwarder>,
    datacenter: String,
    view: View,
    store: Arc<Store>,
    shutdown: CancellationToken,
) {
    let mut retry = RETRY_MIN;
    loop {
        let mut heard = false;
        let error = tokio::select! {
            () = shutdown.cancelled() => return,
            error = follow_once(&forwarder, &datacenter, &view, &store, &mut heard) => error,
        };
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
    store: &Store,
    heard: &mut bool,
) -> Result<(), ViewError> {
    let (_, connection) = forwarder.connect(datacenter).await?;
    let mut client = ForwardClient::new(connection).max_decoding_message_size(MAX_REQUEST);
    let request = v1::WatchRequest { protocol_version: PROTOCOL_VERSION, view: Some(asked(view)) };
    let mut states = client.watch(request).await?.into_inner();
    while let Some(message) = states.message().await? {
        store.replace(State::from_snapshot(&message.state)?);
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
