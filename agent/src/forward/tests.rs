//! A client agent and a server in one process, over real sockets: what is passed on, and what is
//! not.

mod cached;
mod leaving;
mod lost;
mod names;

use lictor_config::{
    RuntimeConfig, Source,
    runtime::{Listen, Rate},
};
use lictor_runtime::Tasks;
use lictor_transport::listener::{Bounds, serve};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    app::Running,
    http::{self as api, Peer},
    rpc::{self, auto_encrypt::SIGN_PATH},
};

pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// A server with its server RPC port, and a client agent that knows it.
pub(super) struct Pair {
    pub(super) server: Running,
    pub(super) client: Running,
    known: KnownServer,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

fn agent(name: &str, edit: impl FnOnce(&mut RuntimeConfig)) -> RuntimeConfig {
    let source = Source { node_name: Some(name.to_owned()), ..Source::default() };
    let mut config = lictor_config::build(source, true, Vec::new()).unwrap();
    config.listen = Listen::default();
    (config.server_port, config.serf_lan_port, config.serf_wan_port) = (0, 0, 0);
    config.pretty_json = false;
    config.performance.rpc_hold_timeout = Duration::from_millis(500);
    edit(&mut config);
    config
}

impl Pair {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}, |_| {}).await
    }

    pub(super) async fn start_with(
        server: impl FnOnce(&mut RuntimeConfig),
        client: impl FnOnce(&mut RuntimeConfig),
    ) -> Self {
        let server = Running::start(agent("server-one", server)).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (agent_one, shutdown) = (server.agent().clone(), CancellationToken::new());
        let routes = rpc::server_services(&agent_one, agent_one.server().unwrap(), &shutdown);
        let bounds = Bounds::new(&agent_one.config.load(), SIGN_PATH);
        let tls = agent_one.tls.rpc.clone();
        let serving = serve(listener, tls, routes, bounds, Tasks::until(shutdown.clone()));
        let known = KnownServer {
            datacenter: agent_one.config.load().datacenter.clone(),
            name: "server-one".to_owned(),
            id: agent_one.node_id.clone(),
            address,
            expect: 1,
            started: 1,
        };
        let serving = tokio::spawn(serving);
        let client = agent("client-one", |config| {
            config.server = false;
            client(config);
        });
        let client = Running::start(client).await.unwrap();
        let pair = Self { server, client, known, shutdown, serving };
        pair.until(async || pair.ask("GET /v1/status/leader").await.status == 200).await;
        pair
    }

    /// Waits for something, while the client goes on knowing its server: without a pool it is told
    /// once that there is none.
    pub(super) async fn until(&self, is_so: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        self.introduce();
        while !is_so().await {
            assert!(Instant::now() < deadline, "it does not come to that");
            tokio::task::yield_now().await;
            self.introduce();
        }
    }

    pub(super) fn introduce(&self) {
        self.client.agent().forwarder.servers().replace(vec![self.known.clone()]);
    }

    pub(super) async fn ask(&self, request: &str) -> Response {
        self.introduce();
        ask(&self.client, request, &[], "").await
    }

    /// Registers what a body of `/v1/catalog/register` says, at the server.
    pub(super) async fn register(&self, body: &str) {
        let answer = ask(&self.server, "PUT /v1/catalog/register", &[], body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// No server is reached any more.
    pub(super) async fn cut(&mut self) {
        self.shutdown.cancel();
        (&mut self.serving).await.unwrap();
    }

    pub(super) async fn stop(self) {
        self.client.shutdown().await;
        self.shutdown.cancel();
        if !self.serving.is_finished() {
            self.serving.await.unwrap();
        }
        self.server.shutdown().await;
    }
}

/// Has an agent answer `"METHOD /path"`.
pub(super) async fn ask(
    agent: &Running,
    request: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let (method, uri) = request.split_once(' ').unwrap();
    let mut head = ::http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        head = head.header(*name, *value);
    }
    let (head, ()) = head.body(()).unwrap().into_parts();
    let body = Bytes::copy_from_slice(body.as_bytes());
    api::answer(agent.agent(), Request::new(head, body, Peer::Unix).unwrap()).await
}

pub(super) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.get(name).map(|value| value.to_str().unwrap())
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}

/// The values of a field in rows that are a list, in their order.
fn column(response: &Response, pointer: &str) -> Vec<String> {
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&response.body).unwrap();
    rows.iter().map(|row| row.pointer(pointer).unwrap().as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn near_agent_is_the_agent_that_is_asked_wherever_it_is_answered() {
    let pair = Pair::start().await;
    let place = |node: &str, x: f64| {
        format!(
            r#"{{"Node":"{node}","Coord":{{"Vec":[{x},0,0,0,0,0,0,0],"Error":1,"Adjustment":0,"Height":0.00001}}}}"#
        )
    };
    for (node, x) in [("client-one", 0.3), ("far", 0.0), ("close", 0.31), ("server-one", 0.0)] {
        pair.register(&format!(r#"{{"Node":"{node}","Address":"10.0.0.1"}}"#)).await;
        let put = "PUT /v1/coordinate/update";
        assert_eq!(ask(&pair.server, put, &[], &place(node, x)).await.status, 200);
    }
    let first = async |near: &str| {
        let answer = pair.ask(&format!("GET /v1/catalog/nodes?{near}")).await;
        column(&answer, "/Node")[..2].to_vec()
    };
    let near_client = ["client-one", "close"];
    pair.until(async || first("near=client-one").await == near_client).await;
    for same in ["near=_agent", "near=%5Fagent", "pretty&near=_agent"] {
        assert_eq!(first(same).await, near_client, "{same}");
    }
    let at_server = ask(&pair.server, "GET /v1/catalog/nodes?near=_agent", &[], "").await;
    assert_ne!(column(&at_server, "/Node")[..2], near_client);
    pair.stop().await;
}

#[tokio::test]
async fn a_session_is_of_the_agent_that_is_asked_for_it() {
    let pair = Pair::start().await;
    for node in ["client-one", "server-one"] {
        pair.register(&format!(r#"{{"Node":"{node}","Address":"10.0.0.1"}}"#)).await;
    }
    let create = async |body: &str| {
        pair.introduce();
        let made = ask(&pair.client, "PUT /v1/session/create", &[], body).await;
        let made: serde_json::Value = serde_json::from_slice(&made.body).unwrap();
        let info = format!("GET /v1/session/info/{}", made["ID"].as_str().unwrap());
        column(&ask(&pair.server, &info, &[], "").await, "/Node").remove(0)
    };
    for (body, node) in [
        (r#"{"NodeChecks":[]}"#, "client-one"),
        (r#"{"node":"","NodeChecks":[]}"#, "client-one"),
        (r#"{"node":"server-one","NodeChecks":[]}"#, "server-one"),
    ] {
        assert_eq!(create(body).await, node, "{body}");
    }
    pair.introduce();
    let refused = ask(&pair.client, "PUT /v1/session/create", &[], "[").await;
    assert_eq!(refused.status, 400, "{}", text(&refused));
    pair.stop().await;
}

#[tokio::test]
async fn a_client_agent_passes_requests_on_only_as_fast_as_allowed() {
    let limit = |config: &mut RuntimeConfig| {
        config.limits.rpc_rate = Some(Rate { per_second: 0.0, burst: 3.0 });
    };
    let client = Running::start(agent("client-one", |config| {
        config.server = false;
        limit(config);
    }));
    let client = client.await.unwrap();
    for _ in 0..3 {
        let answer = ask(&client, "GET /v1/kv/a", &[], "").await;
        assert_eq!((answer.status.as_u16(), text(&answer)), (500, "No known Consul servers"));
    }
    let refused = ask(&client, "GET /v1/kv/a", &[], "").await;
    assert_eq!((refused.status.as_u16(), text(&refused)), (429, "RPC rate limit exceeded"));
    assert_eq!(ask(&client, "GET /v1/agent/self", &[], "").await.status, 200, "its own are not");
    client.shutdown().await;
    // Servers are not limited.
    let pair = Pair::start_with(limit, |_| {}).await;
    for _ in 0..5 {
        assert_eq!(pair.ask("GET /v1/kv/a").await.status, 404);
    }
    pair.stop().await;
}

#[tokio::test]
async fn another_datacenters_addresses_are_those_of_the_wan_where_they_are_translated() {
    let dc2 = |config: &mut RuntimeConfig| config.datacenter = "dc2".to_owned();
    // The client stands for a server of dc1: it asks dc2 itself.
    for translates in [true, false] {
        let far = Running::start(agent("far-one", dc2)).await.unwrap();
        let register = r#"{"Node":"n1","Address":"10.0.0.1","TaggedAddresses":{"wan":"1.2.3.4"},
            "Service":{"Service":"web","Address":"10.0.0.9","Port":80,
                       "TaggedAddresses":{"wan":{"Address":"1.2.3.9","Port":8080}}}}"#;
        assert_eq!(ask(&far, "PUT /v1/catalog/register", &[], register).await.status, 200);
        let near = agent("near-one", |config| config.translate_wan_addrs = translates);
        let near = Running::start(near).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let known = KnownServer {
            datacenter: "dc2".to_owned(),
            name: "far-one".to_owned(),
            id: far.agent().node_id.clone(),
            address: listener.local_addr().unwrap(),
            expect: 1,
            started: 1,
        };
        let shutdown = CancellationToken::new();
        let routes = rpc::server_services(far.agent(), far.agent().server().unwrap(), &shutdown);
        let bounds = Bounds::new(&far.agent().config.load(), SIGN_PATH);
        let (tls, tasks) = (far.agent().tls.rpc.clone(), Tasks::until(shutdown.clone()));
        let serving = serve(listener, tls, routes, bounds, tasks);
        let serving = tokio::spawn(serving);
        let far_away = async |path: &str| loop {
            near.agent().forwarder.servers().replace(vec![known.clone()]);
            let answer = ask(&near, &format!("GET {path}?dc=dc2"), &[], "").await;
            if answer.status == 200 {
                return answer;
            }
            tokio::task::yield_now().await;
        };
        let health = far_away("/v1/health/service/web").await;
        let expected = if translates { ["1.2.3.4", "1.2.3.9"] } else { ["10.0.0.1", "10.0.0.9"] };
        let shown = ["/Node/Address", "/Service/Address"].map(|at| column(&health, at).remove(0));
        assert_eq!(shown, expected);
        let said = header(&health, "x-consul-translate-addresses");
        assert_eq!(said, translates.then_some("true"));
        let rows = column(&far_away("/v1/catalog/service/web").await, "/ServiceAddress");
        assert_eq!(rows, [expected[1]]);
        let asked = dns_question("web.service.dc2.consul.");
        let forwarder = &near.agent().forwarder;
        let answer = forwarder.dns("dc2", asked, false, translates).await.unwrap();
        assert_eq!(dns_address(&answer), expected[1]);
        // What a client agent of dc1 passes on to its own server.
        let query = crate::dns::ForwardedQuery {
            packet: dns_question("web.service.dc2.consul."),
            transport: crate::dns::truncate::Transport::Udp,
            wan: translates,
        };
        let (store, zone) = (&near.agent().store, near.agent().dns.load_full());
        near.agent().forwarder.servers().replace(vec![known.clone()]);
        let answer = crate::dns::answer_for(query, store, &zone, forwarder).await.unwrap();
        assert_eq!(dns_address(&answer), expected[1]);
        near.shutdown().await;
        shutdown.cancel();
        serving.await.unwrap();
        far.shutdown().await;
    }
}

#[tokio::test]
async fn a_request_that_comes_back_is_not_forwarded_for_ever() {
    let pair = Pair::start().await;
    // This server takes itself for one of another datacenter.
    let itself = KnownServer { datacenter: "dc9".to_owned(), ..pair.known.clone() };
    let asked = async {
        loop {
            pair.server.agent().forwarder.servers().replace(vec![itself.clone()]);
            let answer = ask(&pair.server, "GET /v1/catalog/nodes?dc=dc9", &[], "").await;
            if pair.server.agent().forwarder.servers().datacenters() == ["dc9"] {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(DEADLINE, asked).await.expect("it ends");
    assert_eq!((answer.status.as_u16(), text(&answer)), (500, "No path to datacenter"));
    pair.stop().await;
}

#[tokio::test]
async fn what_clients_say_about_hops_does_not_count() {
    let pair = Pair::start().await;
    pair.introduce();
    let hops = [("x-lictor-hops", "200")];
    assert_eq!(ask(&pair.client, "GET /v1/kv/a", &hops, "").await.status, 404);
    pair.stop().await;
}

#[test]
fn a_response_is_waited_for_longer_than_any_blocking_query_takes() {
    for minutes in [0, 1, 10, 60] {
        let wait = Duration::from_secs(60 * minutes);
        let longest = wait.mul_f64(1.0 + MAX_EXTENSION);
        assert_eq!(response_timeout(wait), longest + RESPONSE_TIMEOUT);
    }
}

#[tokio::test]
async fn what_is_too_large_to_be_passed_on_says_where_to_go() {
    let pair = Pair::start().await;
    let head = ::http::Request::put("/v1/snapshot").body(()).unwrap().into_parts().0;
    let request = Request::new(head, vec![0; MAX_REQUEST_BYTES].into(), Peer::Unix).unwrap();
    pair.introduce();
    let refused = api::answer(pair.client.agent(), request).await;
    assert_eq!(
        (refused.status.as_u16(), text(&refused)),
        (
            500,
            "the request is larger than the 67108864 bytes that agents pass on; ask a server itself"
        )
    );
    pair.stop().await;
}

fn dns_question(name: &str) -> Bytes {
    use hickory_proto::{
        op::{Message, MessageType, OpCode, Query},
        rr::{Name, RecordType},
    };
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap().into()
}

fn dns_address(answer: &[u8]) -> String {
    let message = hickory_proto::op::Message::from_vec(answer).unwrap();
    let record = message.answers.first().expect("an answer");
    record.data.to_string()
}
