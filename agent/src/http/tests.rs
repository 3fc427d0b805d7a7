//! The HTTP API over real sockets: an agent in memory, a listener on port 0, a hyper client.

mod agent;
mod catalog;
mod config_entry;
mod connect;
mod gossip;
mod health;
mod kv;
mod limits;
mod metrics;
mod operator;
mod rules;
mod session;
mod snapshot;
mod txn;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use lictor_config::{RuntimeConfig, Source, runtime::Listen};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::server::{Listener, serve};
use crate::app::Running;

/// An agent that answers HTTP.
struct TestAgent {
    running: Running,
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

/// What came back.
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn index(&self) -> u64 {
        self.header("x-consul-index").unwrap().parse().unwrap()
    }

    /// The body with Raft indexes replaced by `N`.
    fn golden(&self) -> String {
        let indexes = regex::Regex::new(r#""(Create|Modify)Index":\d+"#).unwrap();
        indexes.replace_all(self.text(), "\"${1}Index\":N").into_owned()
    }
}

impl TestAgent {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(edit: impl FnOnce(&mut RuntimeConfig)) -> Self {
        let source = Source { node_name: Some("agent-one".into()), ..Source::default() };
        let mut config = lictor_config::build(source, true, Vec::new()).unwrap();
        config.listen = Listen::default();
        config.server_port = 0;
        (config.serf_lan_port, config.serf_wan_port) = (0, 0);
        config.pretty_json = false;
        edit(&mut config);
        let running = Running::start(config).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let listeners = vec![Listener::Tcp(listener)];
        let tasks = lictor_runtime::Tasks::until(shutdown.clone());
        let serving = tokio::spawn(serve(running.agent().clone(), listeners, None, tasks));
        Self { running, address, shutdown, serving }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
        self.running.shutdown().await;
    }

    /// Returns once a blocking query sleeps, beside the leader's watch over sessions.
    async fn until_someone_blocks(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.running.agent().store.sleepers() < 2 {
            assert!(Instant::now() < deadline, "nobody blocks");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sends `"METHOD /path"` with a body.
    async fn send(&self, request: &str, body: impl Into<Bytes>) -> Answer {
        self.send_with(request, &[], body).await
    }

    async fn send_with(
        &self,
        request: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (method, path) = request.split_once(' ').unwrap();
        let mut request =
            http::Request::builder().method(method).uri(path).header("host", "lictor");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let (head, body) = client.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(client);
        connection.await.unwrap().unwrap();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), "").await
    }

    /// Sends a request and compares status, body and the headers named.
    async fn check(
        &self,
        request: &str,
        body: &str,
        status: u16,
        headers: &[(&str, &str)],
        expected: &str,
    ) {
        let answer = self.send(request, body.to_owned()).await;
        assert_eq!((answer.status, &*answer.golden()), (status, expected), "{request} {body}");
        for (name, value) in headers {
            assert_eq!(answer.header(name), Some(*value), "{request}: {name}");
        }
    }

    /// Registers node `foo` with two instances of `redis` and their checks.
    async fn register_redis(&self) {
        for (id, tag, status) in [("redis1", "v1", "passing"), ("redis2", "v2", "warning")] {
            let body = format!(
                r#"{{"Node":"foo","Address":"192.168.10.10","NodeMeta":{{"os":"linux"}},
                    "Service":{{"ID":"{id}","Service":"redis","Tags":["{tag}","x"],"Port":6379,
                                "Meta":{{"version":"{tag}"}}}},
                    "Check":{{"CheckID":"{id}-check","Name":"check of {id}","Status":"{status}",
                              "ServiceID":"{id}"}}}}"#
            );
            self.check("PUT /v1/catalog/register", &body, 200, &[], "true").await;
        }
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");
const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");
