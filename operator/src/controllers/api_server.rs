//! An API server for tests: answers each request as a function says.

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

struct Answers<F>(F);

impl<F: Fn(&Request<Incoming>) -> (u16, Value) + Send + Sync + 'static> Handler for Answers<F> {
    async fn answer(&self, request: Request<Incoming>) -> net::Answer {
        let (status, body) = (self.0)(&request);
        net::text(StatusCode::from_u16(status).unwrap(), body.to_string())
    }
}

/// Starts an API server on a free port; returns what a controller is given that talks to it. The
/// server ends with the guard.
pub(crate) async fn context(
    answer: impl Fn(&Request<Incoming>) -> (u16, Value) + Send + Sync + 'static,
) -> (Arc<Context<MemoryServers>>, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(net::serve(listener, None, Arc::new(Answers(answer)), Tasks::until(stop.clone())));
    let client = Client::try_from(kube::Config::new(uri)).unwrap();
    let context = Context::new(client, Arc::new(Config::for_tests()), MemoryServers::default());
    (Arc::new(context), stop.drop_guard())
}
