//! An API server for tests: a function returns the response to each request.

use std::sync::Arc;

use http::StatusCode;
use hyper::{Request, body::Incoming};
use kube::Client;
use lictor_runtime::Tasks;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    config::Config,
    context::Context,
    net::{self, Handler},
    servers::memory::MemoryServers,
};

struct Responses<F>(F);

impl<F: Fn(&Request<Incoming>) -> (u16, Value) + Send + Sync + 'static> Handler for Responses<F> {
    async fn respond(&self, request: Request<Incoming>) -> net::HttpResponse {
        let (status, body) = (self.0)(&request);
        net::text(StatusCode::from_u16(status).unwrap(), body.to_string())
    }
}

/// Starts an API server on a free port; returns a controller's context that uses it. The server
/// ends with the guard.
pub(crate) async fn context(
    respond: impl Fn(&Request<Incoming>) -> (u16, Value) + Send + Sync + 'static,
) -> (Arc<Context<MemoryServers>>, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let stop = CancellationToken::new();
    let handler = Arc::new(Responses(respond));
    tokio::spawn(net::serve(listener, None, handler, Tasks::until(stop.clone())));
    let client = Client::try_from(kube::Config::new(uri)).unwrap();
    let context = Context::new(client, Arc::new(Config::for_tests()), MemoryServers::default());
    (Arc::new(context), stop.drop_guard())
}
