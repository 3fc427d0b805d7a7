//! Replication to one peer: a stream of requests, and one of answers.

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

use super::{Peer, RpcResult, Told};
use crate::{types::TypeConfig, wire};

/// Requests between the engine and a connection.
const QUEUED: usize = 1;
/// The shortest time after which a peer that owes an answer is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// What a peer answers, in the order of the requests.
pub(super) type Answers<'a> = BoxStream<'a, RpcResult<StreamAppendResult<TypeConfig>>>;

/// Sends the engine's requests to a peer. The call is made when an answer is first asked for, so that
/// the engine can give it up meanwhile.
pub(super) fn stream<S>(peer: &Peer, input: S, soft_ttl: Duration) -> Answers<'_>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let answers = stream::once(async move {
        open(peer, input, soft_ttl).await.unwrap_or_else(|error| {
            let answer: Answers<'_> = Box::pin(stream::once(async { Err(error) }));
            answer
        })
    });
    Box::pin(answers.flatten())
}

/// Waits for the first request, which the engine holds back after errors, then opens a stream
/// for it and all that follow.
async fn open<S>(peer: &Peer, mut input: S, soft_ttl: Duration) -> RpcResult<Answers<'static>>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let Some(first) = input.next().await else { return Ok(Box::pin(stream::empty())) };
    let (address, mut client) = peer.client().await?;
    let first = peer.told.encode(&first)?;
    let (queue, queued) = mpsc::channel(QUEUED);
    let requests = stream::once(async { first }).chain(ReceiverStream::new(queued));
    let patience = soft_ttl.max(ANSWER_TIMEOUT);
    let answers = peer.answer(address, patience, client.append(requests)).await?;
    let append = Append {
        input: Some((input, queue)),
        answers,
        told: peer.told.clone(),
        owed: 1,
        patience,
        deadline: Instant::now() + patience,
        address,
        connections: peer.peers.connections.clone(),
    };
    Ok(Box::pin(stream::unfold(Some(append), next_answer)))
}

/// Both sides of an append stream.
///
/// INVARIANT: nobody but this asks the engine for requests, never the HTTP/2 connection: that may
/// outlive the stream, for as long as it takes to see that its peer is gone, and the engine's next
/// stream to the peer, on a new connection, would wait for requests that the old one holds.
struct Append<S> {
    /// The engine's requests and where they go; gone when there are no more.
    input: Option<(S, mpsc::Sender<v1::AppendRequest>)>,
    answers: Streaming<v1::AppendResponse>,
    told: Told,
    /// Requests without an answer.
    owed: usize,
    patience: Duration,
    /// When the next answer is late, if one is owed.
    deadline: Instant,
    address: SocketAddr,
    connections: Arc<Connections>,
}

type Answered<S> = Option<(RpcResult<StreamAppendResult<TypeConfig>>, Option<Append<S>>)>;

/// Sends what the engine has until there is an answer. Silence is an error only while one is owed.
async fn next_answer<S>(append: Option<Append<S>>) -> Answered<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let mut this = append?;
    loop {
        tokio::select! {
            message = this.answers.message() => return match message {
                Ok(Some(message)) => {
                    this.owed = this.owed.saturating_sub(1);
                    this.deadline = Instant::now() + this.patience;
                    let result = wire::to_append_result(message);
                    let result = result.map_err(|error| NetworkError::new(&error).into());
                    let goes_on = matches!(result, Ok(Ok(_)));
                    Some((result, goes_on.then_some(this)))
                }
                Ok(None) => None,
                Err(status) => Some((Err(broken(&this, status)), None)),
            },
            () = time::sleep_until(this.deadline), if this.owed > 0 => {
                let silence = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                return Some((Err(broken(&this, silence)), None));
            }
            passed = pass_request(&mut this.input, &this.told), if this.input.is_some() =>
                match passed {
                    Some(Ok(())) => {
                        if this.owed == 0 {
                            this.deadline = Instant::now() + this.patience;
                        }
                        this.owed += 1;
                    }
                    Some(Err(error)) => return Some((Err(error), None)),
                    None => this.input = None,
                },
        }
    }
}

/// Passes the engine's next request on when there is room for it; `None` when there are no more.
/// Nothing is lost when this is dropped.
async fn pass_request<S>(
    input: &mut Option<(S, mpsc::Sender<v1::AppendRequest>)>,
    told: &Told,
) -> Option<RpcResult<()>>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    let (input, queue) = input.as_mut()?;
    let room = queue.reserve().await.ok()?;
    let request = told.encode(&input.next().await?);
    Some(request.map(|request| room.send(request)).map_err(Into::into))
}

fn broken<S>(
    append: &Append<S>,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> RPCError<TypeConfig> {
    append.connections.forget(append.address);
    NetworkError::new(&io::Error::other(error)).into()
}
