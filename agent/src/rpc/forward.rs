//! `lictor.server.v1.Forward`: requests that other agents forward to this server.
//!
//! INVARIANT: a forwarded request is served or rejected here and never forwarded again within the
//! datacenter, except once to the leader by handlers that need the leader. It does not count as
//! local: its token identifies the caller, unless a server of this datacenter has authorized it and
//! forwards it to the leader. FAILED_PRECONDITION, on which the sender tries another server, is
//! returned only for requests that certainly had no effect: new ones while this server is leaving,
//! and reads in progress at that time.

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
        let leaving = || Status::failed_precondition("this server is leaving");
        if self.agent.leaving.is_cancelled() {
            return Err(leaving());
        }
        let _in_flight = self.agent.calls.token();
        let is_read = request.method() == Method::GET;
        let response = tokio::select! {
            response = Box::pin(api::answer(&self.agent, request)) => response,
            () = self.agent.leaving.cancelled(), if is_read => return Err(leaving()),
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
        use v1::watch_request::View as Requested;
        let view = match request.into_inner().view {
            Some(Requested::Node(node)) => View::node(&node.into()),
            Some(Requested::Service(service)) => View::service(&service.into()),
            Some(Requested::Connect(service)) => View::connect(&service.into()),
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

/// The stream of one view.
struct Watch {
    server: Arc<Server>,
    leaving: CancellationToken,
    view: View,
    /// The index of the last state sent.
    sent: Option<u64>,
}

type Step = Option<(Result<v1::WatchResponse, Status>, Option<Watch>)>;

/// Returns the next state of a view that differs from the last one sent, and the rest of the
/// stream. A slow client receives fewer states, never a queue. The first is as fresh as a default
/// read: a client that comes from another server must not receive an older state than it had there.
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
    let invalid = |what: &str| Status::invalid_argument(format!("forwarded request: {what}"));
    let mut builder = http::Request::builder()
        .method(Method::from_bytes(message.method.as_bytes()).map_err(|_| invalid("method"))?)
        .uri(message.uri.parse::<Uri>().map_err(|_| invalid("uri"))?);
    for header in message.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(header.value);
        builder = builder
            .header(name.map_err(|_| invalid("header"))?, value.map_err(|_| invalid("header"))?);
    }
    let (head, ()) = builder.body(()).map_err(|_| invalid("head"))?.into_parts();
    let is_authorized =
        head.headers.contains_key(api::TO_LEADER) && caller.role.is_server_of(datacenter);
    let peer = api::Peer::Forwarded { address: caller.address, is_authorized };
    api::Request::new(head, message.body, peer).map_err(|_| invalid("encoding"))
}
