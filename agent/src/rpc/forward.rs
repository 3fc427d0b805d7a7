//! `lictor.server.v1.Forward`: requests that other agents pass on to this server.
//!
//! INVARIANT: a request that was passed on is answered here or refused, never passed on again
//! within the datacenter, except once to the leader by what only the leader can answer. It comes
//! without the sender's loopback: its caller is who its token says, unless a server of this datacenter
//! has let it in and passes it on to the leader. FAILED_PRECONDITION, which makes
//! the sender ask elsewhere, is answered only to what was surely not carried out: to everything new
//! once this server is leaving, and to reads that are under way then.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use http::{HeaderName, HeaderValue, Method, Uri};
use lictor_api::{
    query::Consistency,
    server::{v1, v1::forward_server},
};
use lictor_core::state::{State, WatchSet, view::View};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    agent::Agent,
    dns::{self, truncate::Transport},
    http as api,
    server::{Server, ServerError},
    telemetry::metrics,
};
use lictor_transport::listener::Caller;

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
        metrics::RPC_REQUEST.increment();
        let caller = Caller::of(&request)?.clone();
        let datacenter = &self.agent.config.load().datacenter;
        let request = to_request(request.into_inner(), &caller, datacenter)?;
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
        if response.status.is_server_error() {
            metrics::RPC_REQUEST_ERROR.increment();
        }
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
            Some(Asked::Node(node)) => View::node(&node.into()),
            Some(Asked::Service(service)) => View::service(&service.into()),
            Some(Asked::Connect(service)) => View::connect(&service.into()),
            None => return Err(Status::invalid_argument("a view is required")),
        };
        let server = self.agent.server().ok_or_else(|| Status::unavailable("no server"))?;
        let watch =
            Watch { server: server.clone(), leaving: self.agent.leaving.clone(), view, sent: None };
        Ok(Response::new(Box::pin(stream::unfold(Some(watch), next_view))))
    }

    async fn dns(
        &self,
        request: Request<v1::DnsRequest>,
    ) -> Result<Response<v1::DnsResponse>, Status> {
        metrics::RPC_REQUEST.increment();
        let request = request.into_inner();
        let transport = if request.tcp { Transport::Tcp } else { Transport::Udp };
        let query = dns::ForwardedQuery { packet: request.message, transport, wan: request.wan };
        let zone = self.agent.dns.load_full();
        let answer = dns::answer_for(query, &self.agent.store, &zone, &self.agent.forwarder).await;
        let message = answer.ok_or_else(|| Status::invalid_argument("not a dns question"))?;
        Ok(Response::new(v1::DnsResponse { message: message.into() }))
    }
}

/// One followed view.
struct Watch {
    server: Arc<Server>,
    leaving: CancellationToken,
    view: View,
    /// The index of what was sent last.
    sent: Option<u64>,
}

type Step = Option<(Result<v1::WatchResponse, Status>, Option<Watch>)>;

/// The next state of a view that differs from the one sent, and what comes after it. A slow reader
/// gets fewer of them, never a queue. The first is as new as a default read: who comes from another
/// server must not be shown what is older than it was there.
async fn next_view(watch: Option<Watch>) -> Step {
    let mut watch = watch?;
    let leaving = watch.leaving.clone();
    let read = |state: &State, topics: &mut WatchSet| state.view(&watch.view, topics);
    let changed = async {
        match watch.sent {
            None => {
                watch.server.barrier(Consistency::Default).await?;
                Ok(watch.server.store().read(read))
            }
            Some(sent) => Ok(watch.server.store().read_after(sent, read).await),
        }
    };
    let changed: Result<_, ServerError> = tokio::select! {
        () = leaving.cancelled() => {
            return Some((Err(Status::unavailable("this server is leaving")), None));
        }
        changed = changed => changed,
    };
    let (index, state) = match changed {
        Ok(changed) => changed,
        Err(error) => return Some((Err(Status::unavailable(error.to_string())), None)),
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
    caller: &Caller,
    datacenter: &str,
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
    let is_authorized =
        head.headers.contains_key(api::TO_LEADER) && caller.role.is_server_of(datacenter);
    let peer = api::Peer::Forwarded { address: caller.address, is_authorized };
    api::Request::new(head, message.body, peer).map_err(|_| nonsense("encoding"))
}
