//! Replication to one peer: a stream of requests, and one of responses in the same order.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use lictor_api::server::v1;
use lictor_transport::connections::Connections;
use openraft::{
    base::BoxStream,
    errors::{NetworkError, RPCError},
    raft::{AppendEntriesRequest, StreamAppendResult},
};
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{AdvertisedCommit, Peer, RpcResult};
use crate::{types::TypeConfig, wire};

/// Requests that wait between the engine and a connection.
const MAX_QUEUED_REQUESTS: usize = 1;
/// The shortest time after which a peer that owes a response counts as gone.
const MIN_RESPONSE_TIMEOUT: Duration = Duration::from_millis(1500);

/// Responses of a peer, in the order of the requests.
pub(super) type Responses<'a> = BoxStream<'a, RpcResult<StreamAppendResult<TypeConfig>>>;

/// Sends the engine's requests to a peer. The call is made when the first response is polled, so
/// that the engine can drop it meanwhile.
pub(super) fn stream<S>(peer: &Peer, input: S, soft_ttl: Duration) -> Responses<'_>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let responses = stream::once(async move {
        open(peer, input, soft_ttl).await.unwrap_or_else(|error| {
            let response: Responses<'_> = Box::pin(stream::once(async { Err(error) }));
            response
        })
    });
    Box::pin(responses.flatten())
}

/// Waits for the first request, which the engine holds back after errors, then opens a stream
/// for it and all that follow.
async fn open<S>(peer: &Peer, mut input: S, soft_ttl: Duration) -> RpcResult<Responses<'static>>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let Some(first) = input.next().await else { return Ok(Box::pin(stream::empty())) };
    let (address, mut client) = peer.client().await?;
    let first = peer.advertised.encode(&first)?;
    let (queue, queued) = mpsc::channel(MAX_QUEUED_REQUESTS);
    let requests = stream::once(async { first }).chain(ReceiverStream::new(queued));
    let response_timeout = soft_ttl.max(MIN_RESPONSE_TIMEOUT);
    let responses = peer.response(address, response_timeout, client.append(requests)).await?;
    let append = Append {
        input: Some((input, queue)),
        responses,
        advertised: peer.advertised.clone(),
        owed: 1,
        response_timeout,
        deadline: Instant::now() + response_timeout,
        address,
        connections: peer.peers.connections.clone(),
    };
    Ok(Box::pin(stream::unfold(Some(append), next_response)))
}

/// Both sides of an append stream.
///
/// INVARIANT: only this stream polls the engine for requests, never the HTTP/2 connection: that may
/// outlive the stream until it notices that its peer is gone, and the engine's next stream to the
/// peer, on a new connection, would wait for requests that the old one holds.
struct Append<S> {
    /// The engine's requests and the queue to the connection; `None` when there are no more.
    input: Option<(S, mpsc::Sender<v1::AppendRequest>)>,
    responses: Streaming<v1::AppendResponse>,
    advertised: AdvertisedCommit,
    /// Requests without a response.
    owed: usize,
    response_timeout: Duration,
    /// When the next response is late, if one is owed.
    deadline: Instant,
    address: SocketAddr,
    connections: Arc<Connections>,
}

type NextResponse<S> = Option<(RpcResult<StreamAppendResult<TypeConfig>>, Option<Append<S>>)>;

/// Sends the engine's requests until a response arrives. Silence is an error only while one is
/// owed.
async fn next_response<S>(append: Option<Append<S>>) -> NextResponse<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let mut this = append?;
    loop {
        tokio::select! {
            message = this.responses.message() => return match message {
                Ok(Some(message)) => {
                    this.owed = this.owed.saturating_sub(1);
                    this.deadline = Instant::now() + this.response_timeout;
                    let result = wire::to_append_result(message);
                    let result = result.map_err(|error| NetworkError::new(&error).into());
                    let goes_on = matches!(result, Ok(Ok(_)));
                    Some((result, goes_on.then_some(this)))
                }
                Ok(None) => None,
                Err(status) => Some((Err(broken(&this, status)), None)),
            },
            () = time::sleep_until(this.deadline), if this.owed > 0 => {
                let silence = io::Error::new(io::ErrorKind::TimedOut, "no response in time");
                return Some((Err(broken(&this, silence)), None));
            }
            forwarded = forward_request(&mut this.input, &this.advertised), if this.input.is_some() =>
                match forwarded {
                    Some(Ok(())) => {
                        if this.owed == 0 {
                            this.deadline = Instant::now() + this.response_timeout;
                        }
                        this.owed += 1;
                    }
                    Some(Err(error)) => return Some((Err(error), None)),
                    None => this.input = None,
                },
        }
    }
}

/// Forwards the engine's next request once the queue has room; `None` when there are no more.
///
/// # Cancel safety
/// Cancel-safe: no request is lost.
async fn forward_request<S>(
    input: &mut Option<(S, mpsc::Sender<v1::AppendRequest>)>,
    advertised: &AdvertisedCommit,
) -> Option<RpcResult<()>>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    let (input, queue) = input.as_mut()?;
    let room = queue.reserve().await.ok()?;
    let request = advertised.encode(&input.next().await?);
    Some(request.map(|request| room.send(request)).map_err(Into::into))
}

fn broken<S>(
    append: &Append<S>,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> RPCError<TypeConfig> {
    append.connections.forget(append.address);
    NetworkError::new(&io::Error::other(error)).into()
}
