//! A client agent and a server in one process, over real sockets: what is forwarded, and what is
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
    /// The server, as gossip would name it to the client.
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

/// Serves the server RPC of an agent until `shutdown`. Returns the server as gossip would name it.
async fn serve_rpc(
    server: &Running,
    shutdown: &CancellationToken,
) -> (KnownServer, JoinHandle<()>) {
    let agent = server.agent();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let config = agent.config.load();
    let known = KnownServer {
        datacenter: config.datacenter.clone(),
        name: config.node_name.clone(),
        id: agent.node_id.clone(),
        address: listener.local_addr().unwrap(),
        expect: 1,
        started: 1,
    };
    let routes = rpc::server_services(agent, agent.server().unwrap(), shutdown);
    let bounds = Bounds::new(&config, SIGN_PATH);
    let (tls, tasks) = (agent.tls.rpc.clone(), Tasks::until(shutdown.clone()));
    (known, tokio::spawn(serve(listener, tls, routes, bounds, tasks)))
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
        let shutdown = CancellationToken::new();
        let (known, serving) = serve_rpc(&server, &shutdown).await;
        let client = agent("client-one", |config| {
            config.server = false;
            client(config);
        });
        let client = Running::start(client).await.unwrap();
        let pair = Self { server, client, known, shutdown, serving };
        pair.until(async || pair.send("GET /v1/status/leader").await.status == 200).await;
        pair
    }

    /// Waits until a condition holds, and keeps the server known to the client meanwhile.
    pub(super) async fn until(&self, holds: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        self.refresh_servers();
        while !holds().await {
            assert!(Instant::now() < deadline, "the condition does not hold in time");
            tokio::task::yield_now().await;
            self.refresh_servers();
        }
    }

    /// Makes the server known to the client, which empties its list once, because it has no pool.
    pub(super) fn refresh_servers(&self) {
        self.client.agent().forwarder.servers().replace(vec![self.known.clone()]);
    }

    /// Sends `"METHOD /path"` to the client.
    pub(super) async fn send(&self, request: &str) -> Response {
        self.refresh_servers();
        send(&self.client, request, &[], "").await
    }

    /// Registers the body of a `/v1/catalog/register` at the server.
    pub(super) async fn register(&self, body: &str) {
        let answer = send(&self.server, "PUT /v1/catalog/register", &[], body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Ends server RPC, so that the client reaches no server.
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

/// Sends `"METHOD /path"` to an agent, past its listeners.
pub(super) async fn send(
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

/// Returns the values of a field in the rows of a list, in their order.
fn column(response: &Response, pointer: &str) -> Vec<String> {
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&response.body).unwrap();
    rows.iter().map(|row| row.pointer(pointer).unwrap().as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn near_agent_is_the_agent_that_received_the_request() {
    let pair = Pair::start().await;
    let place = |node: &str, x: f64| {
        format!(
            r#"{{"Node":"{node}","Coord":{{"Vec":[{x},0,0,0,0,0,0,0],"Error":1,"Adjustment":0,"Height":0.00001}}}}"#
        )
    };
    for (node, x) in [("client-one", 0.3), ("far", 0.0), ("close", 0.31), ("server-one", 0.0)] {
        pair.register(&format!(r#"{{"Node":"{node}","Address":"10.0.0.1"}}"#)).await;
        let put = "PUT /v1/coordinate/update";
        assert_eq!(send(&pair.server, put, &[], &place(node, x)).await.status, 200);
    }
    let first = async |near: &str| {
        let answer = pair.send(&format!("GET /v1/catalog/nodes?{near}")).await;
        column(&answer, "/Node")[..2].to_vec()
    };
    let near_client = ["client-one", "close"];
    pair.until(async || first("near=client-one").await == near_client).await;
    for same in ["near=_agent", "near=%5Fagent", "pretty&near=_agent"] {
        assert_eq!(first(same).await, near_client, "{same}");
    }
    let at_server = send(&pair.server, "GET /v1/catalog/nodes?near=_agent", &[], "").await;
    assert_ne!(column(&at_server, "/Node")[..2], near_client);
    pair.stop().await;
}

#[tokio::test]
async fn a_session_without_a_node_belongs_to_the_agent_that_received_the_request() {
    let pair = Pair::start().await;
    for node in ["client-one", "server-one"] {
        pair.register(&format!(r#"{{"Node":"{node}","Address":"10.0.0.1"}}"#)).await;
    }
    let create = async |body: &str| {
        pair.refresh_servers();
        let made = send(&pair.client, "PUT /v1/session/create", &[], body).await;
        let made: serde_json::Value = serde_json::from_slice(&made.body).unwrap();
        let info = format!("GET /v1/session/info/{}", made["ID"].as_str().unwrap());
        column(&send(&pair.server, &info, &[], "").await, "/Node").remove(0)
    };
    for (body, node) in [
        (r#"{"NodeChecks":[]}"#, "client-one"),
        (r#"{"node":"","NodeChecks":[]}"#, "client-one"),
        (r#"{"node":"server-one","NodeChecks":[]}"#, "server-one"),
    ] {
        assert_eq!(create(body).await, node, "{body}");
    }
    pair.refresh_servers();
    let refused = send(&pair.client, "PUT /v1/session/create", &[], "[").await;
    assert_eq!(refused.status, 400, "{}", text(&refused));
    pair.stop().await;
}

#[tokio::test]
async fn a_client_agent_forwards_no_faster_than_rpc_rate() {
    let limit = |config: &mut RuntimeConfig| {
        config.limits.rpc_rate = Some(Rate { per_second: 0.0, burst: 3.0 });
    };
    let client = Running::start(agent("client-one", |config| {
        config.server = false;
        limit(config);
    }));
    let client = client.await.unwrap();
    for _ in 0..3 {
        let answer = send(&client, "GET /v1/kv/a", &[], "").await;
        assert_eq!((answer.status.as_u16(), text(&answer)), (500, "No known Consul servers"));
    }
    let exceeded = metrics::CLIENT_RPC_EXCEEDED.total();
    let refused = send(&client, "GET /v1/kv/a", &[], "").await;
    assert_eq!((refused.status.as_u16(), text(&refused)), (429, "RPC rate limit exceeded"));
    assert!(metrics::CLIENT_RPC_EXCEEDED.total() > exceeded);
    let own = send(&client, "GET /v1/agent/self", &[], "").await;
    assert_eq!(own.status, 200, "what the agent handles itself is not limited");
    client.shutdown().await;
    // Servers are not limited.
    let pair = Pair::start_with(limit, |_| {}).await;
    for _ in 0..5 {
        assert_eq!(pair.send("GET /v1/kv/a").await.status, 404);
    }
    pair.stop().await;
}

#[tokio::test]
async fn a_remote_datacenters_addresses_are_wan_addresses_if_translated() {
    let dc2 = |config: &mut RuntimeConfig| config.datacenter = "dc2".to_owned();
    // A server of dc1, so that it forwards to dc2 itself.
    for translates in [true, false] {
        let far = Running::start(agent("far-one", dc2)).await.unwrap();
        let register = r#"{"Node":"n1","Address":"10.0.0.1","TaggedAddresses":{"wan":"1.2.3.4"},
            "Service":{"Service":"web","Address":"10.0.0.9","Port":80,
                       "TaggedAddresses":{"wan":{"Address":"1.2.3.9","Port":8080}}}}"#;
        assert_eq!(send(&far, "PUT /v1/catalog/register", &[], register).await.status, 200);
        let near = agent("near-one", |config| config.translate_wan_addrs = translates);
        let near = Running::start(near).await.unwrap();
        let shutdown = CancellationToken::new();
        let (known, serving) = serve_rpc(&far, &shutdown).await;
        let from_dc2 = async |path: &str| {
            let deadline = Instant::now() + DEADLINE;
            loop {
                near.agent().forwarder.servers().replace(vec![known.clone()]);
                let answer = send(&near, &format!("GET {path}?dc=dc2"), &[], "").await;
                if answer.status == 200 {
                    return answer;
                }
                assert!(Instant::now() < deadline, "{path}: {answer:?}");
                tokio::task::yield_now().await;
            }
        };
        let health = from_dc2("/v1/health/service/web").await;
        let expected = if translates { ["1.2.3.4", "1.2.3.9"] } else { ["10.0.0.1", "10.0.0.9"] };
        let shown = ["/Node/Address", "/Service/Address"].map(|at| column(&health, at).remove(0));
        assert_eq!(shown, expected);
        let translated = header(&health, "x-consul-translate-addresses");
        assert_eq!(translated, translates.then_some("true"));
        let rows = column(&from_dc2("/v1/catalog/service/web").await, "/ServiceAddress");
        assert_eq!(rows, [expected[1]]);
        let question = dns_question("web.service.dc2.consul.");
        let forwarder = &near.agent().forwarder;
        let answer = forwarder.dns("dc2", question, false, translates).await.unwrap();
        assert_eq!(dns_address(&answer), expected[1]);
        // What a client agent of dc1 forwards to its own server.
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
async fn a_forwarding_loop_ends_at_the_hop_limit() {
    let pair = Pair::start().await;
    // This server takes itself for a server of another datacenter, and forwards to itself.
    let itself = KnownServer { datacenter: "dc9".to_owned(), ..pair.known.clone() };
    let cross_dc = metrics::RPC_CROSS_DC.with(&["dc9"]);
    let before = cross_dc.total();
    let forwarded = async {
        loop {
            pair.server.agent().forwarder.servers().replace(vec![itself.clone()]);
            let answer = send(&pair.server, "GET /v1/catalog/nodes?dc=dc9", &[], "").await;
            if pair.server.agent().forwarder.servers().datacenters() == ["dc9"] {
                return answer;
            }
        }
    };
    let answer = timeout(DEADLINE, forwarded).await.expect("the loop ends");
    assert_eq!((answer.status.as_u16(), text(&answer)), (500, "No path to datacenter"));
    assert!(cross_dc.total() >= before + 2, "{}", cross_dc.total() - before);
    pair.stop().await;
}

#[tokio::test]
async fn a_clients_hop_header_is_ignored() {
    let pair = Pair::start().await;
    pair.refresh_servers();
    let hops = [("x-lictor-hops", "200")];
    assert_eq!(send(&pair.client, "GET /v1/kv/a", &hops, "").await.status, 404);
    pair.stop().await;
}

#[test]
fn a_response_is_waited_for_longer_than_any_blocking_query_takes() {
    for minutes in [0, 1, 10, 60] {
        let wait = Duration::from_secs(60 * minutes);
        let longest = wait.mul_f64(1.0 + MAX_EXTENSION);
        assert!(response_timeout(wait) > longest, "{minutes} min");
    }
}

#[tokio::test]
async fn a_request_too_large_to_forward_names_the_bound() {
    let pair = Pair::start().await;
    let head = ::http::Request::put("/v1/snapshot").body(()).unwrap().into_parts().0;
    let request = Request::new(head, vec![0; MAX_REQUEST_BYTES].into(), Peer::Unix).unwrap();
    pair.refresh_servers();
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

#[test]
fn the_largest_value_of_a_key_can_be_forwarded() {
    let largest = lictor_config::runtime::MAX_KV_VALUE_BYTES;
    assert_eq!(largest, MAX_REQUEST_BYTES - MAX_HEAD_BYTES);
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
