//! `lictor.server.v1.Forward`: requests that other agents pass on to this server.
//!
//! INVARIANT: a request that was passed on is answered here or refused, never passed on again
//! within the datacenter, except once to the leader by what only the leader can answer. It comes
//! without the sender's loopback: its caller is who its token says. FAILED_PRECONDITION, which makes
//! the sender ask elsewhere, is answered only to what was surely not carried out: to everything new
//! once this server is leaving, and to reads that are under way then.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use http::{HeaderName, HeaderValue, Method, Uri};
use lictor_api::server::{v1, v1::forward_server};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::listener::Caller;
use crate::{
    agent::Agent,
    dns::{self, truncate::Transport},
    http as api,
    state::{State, Store, WatchSet, view::View},
};

/// The service.
pub(super) struct Forward {
    agent: Arc<Agent>,
}

impl Forward {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }
}

#[tonic::async_trait]
impl forward_server::Forward for Forward {
    async fn http(
        &self,
        request: Request<v1::HttpRequest>,
    ) -> Result<Response<v1::HttpResponse>, Status> {
        let address = Caller::of(&request)?.address;
        let request = to_request(request.into_inner(), address)?;
        let elsewhere = || Status::failed_precondition("this server is leaving");
        if self.agent.leaving.is_cancelled() {
            return Err(elsewhere());
        }
        let _under_way = self.agent.calls.token();
        let is_read = request.method() == Method::GET;
        let response = tokio::select! {
            response = Box::pin(api::answer(&self.agent, request)) => response,
            () = self.agent.leaving.cancelled(), if is_read => return Err(elsewhere()),
        };
        let headers = response.headers.iter().map(|(name, value)| v1::Header {
            name: name.to_string(),
            value: bytes::Bytes::copy_from_slice(value.as_bytes()),
        });
        Ok(Response::new(v1::HttpResponse {
            status: response.status.as_u16().into(),
            headers: headers.collect(),
            body: response.body,
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        use v1::watch_request::View as Asked;
        let view = match request.into_inner().view {
            Some(Asked::Node(node)) => View::Node(node.into()),
            Some(Asked::Service(service)) => View::Service(service.into()),
            Some(Asked::Connect(service)) => View::Connect(service.into()),
            None => return Err(Status::invalid_argument("a view is required")),
        };
        let watch = Watch {
            store: self.agent.store.clone(),
            leaving: self.agent.leaving.clone(),
            view,
            sent: None,
        };
        Ok(Response::new(Box::pin(stream::unfold(Some(watch), next_view))))
    }

    async fn dns(
        &self,
        request: Request<v1::DnsRequest>,
    ) -> Result<Response<v1::DnsResponse>, Status> {
        let request = request.into_inner();
        let transport = if request.tcp { Transport::Tcp } else { Transport::Udp };
        let question =
            dns::remote::Question { packet: request.message, transport, wan: request.wan };
        let zone = self.agent.dns.load_full();
        let answer =
            dns::answer_for(question, &self.agent.store, &zone, &self.agent.forwarder).await;
        let message = answer.ok_or_else(|| Status::invalid_argument("not a dns question"))?;
        Ok(Response::new(v1::DnsResponse { message: message.into() }))
    }
}

/// One followed view.
struct Watch {
    store: Arc<Store>,
    leaving: CancellationToken,
    view: View,
    /// The index of what was sent last.
    sent: Option<u64>,
}

type Step = Option<(Result<v1::WatchResponse, Status>, Option<Watch>)>;

/// The next state of a view that differs from the one sent, and what comes after it. A slow reader
/// gets fewer of them, never a queue.
async fn next_view(watch: Option<Watch>) -> Step {
    let mut watch = watch?;
    let leaving = watch.leaving.clone();
    let read = |state: &State, topics: &mut WatchSet| state.view(&watch.view, topics);
    let changed = async {
        match watch.sent {
            None => watch.store.read(read),
            Some(sent) => watch.store.read_after(sent, read).await,
        }
    };
    let (index, state) = tokio::select! {
        () = leaving.cancelled() => {
            return Some((Err(Status::unavailable("this server is leaving")), None));
        }
        changed = changed => changed,
    };
    match state.to_snapshot() {
        Ok(state) => {
            watch.sent = Some(index);
            let response = v1::WatchResponse { index, state: state.into() };
            Some((Ok(response), Some(watch)))
        }
        Err(error) => Some((Err(Status::internal(error.to_string())), None)),
    }
}

fn to_request(
    message: v1::HttpRequest,
    address: std::net::SocketAddr,
) -> Result<api::Request, Status> {
    let nonsense = |what: &str| Status::invalid_argument(format!("forwarded request: {what}"));
    let mut builder = http::Request::builder()
        .method(Method::from_bytes(message.method.as_bytes()).map_err(|_| nonsense("method"))?)
        .uri(message.uri.parse::<Uri>().map_err(|_| nonsense("uri"))?);
    for header in message.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(header.value);
        builder = builder
            .header(name.map_err(|_| nonsense("header"))?, value.map_err(|_| nonsense("header"))?);
    }
    let (head, ()) = builder.body(()).map_err(|_| nonsense("head"))?.into_parts();
    let peer = api::Peer::Forwarded { address };
    api::Request::new(head, message.body, peer).map_err(|_| nonsense("encoding"))
}
