//! Whole agents: a server, and a client that has only `ca_file`.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, StatusCode};
use lictor_api::server::{
    PROTOCOL_VERSION, v1,
    v1::{forward_client::ForwardClient, peer_client::PeerClient, raft_client::RaftClient},
};
use lictor_config::runtime::{Listen, TlsProtocol};
use lictor_runtime::Tasks;
use lictor_transport::{
    listener::{Bounds, serve},
    servers::KnownServer,
};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::*;
use crate::{
    app::Running,
    http::{self as api, Peer, Request},
    rpc,
};

/// A server with TLS, answering server RPC on a port of its own.
struct TestServer {
    running: Running,
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

fn alone(config: &mut RuntimeConfig) {
    config.data_dir = None;
    config.listen = Listen::default();
    (config.server_port, config.serf_lan_port, config.serf_wan_port) = (0, 0, 0);
}

impl TestServer {
    async fn start(ca: &Ca, edit: impl FnOnce(&mut RuntimeConfig)) -> Self {
        ca.issue("server", &["server.dc1.consul"], SystemTime::now() + DAY);
        let config = ca.config("server", true, |config| {
            alone(config);
            config.bootstrap_expect = 1;
            edit(config);
        });
        let running = Running::start(config).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (agent, shutdown) = (running.agent().clone(), CancellationToken::new());
        let services = rpc::server_services(&agent, agent.server().unwrap(), &shutdown);
        let bounds = Bounds::new(&agent.config.load(), SIGN_PATH);
        let (tls, tasks) = (agent.tls.rpc.clone(), Tasks::until(shutdown.clone()));
        let serving = serve(listener, tls, services, bounds, tasks);
        Self { running, address, shutdown, serving: tokio::spawn(serving) }
    }

    fn known(&self) -> Vec<KnownServer> {
        vec![KnownServer {
            datacenter: "dc1".to_owned(),
            name: "server".to_owned(),
            id: self.running.agent().node_id.clone(),
            address: self.address,
            expect: 1,
            started: 1,
        }]
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
        self.running.shutdown().await;
    }
}

fn hands_out(config: &mut RuntimeConfig) {
    config.auto_encrypt.allow_tls = true;
}

/// A client agent that trusts `ca` and has no certificate.
fn client_config(ca: &Ca) -> RuntimeConfig {
    ca.config("nobody", false, |config| {
        alone(config);
        config.node_name = "client-one".to_owned();
        config.auto_encrypt.tls = true;
        config.performance.rpc_hold_timeout = Duration::from_millis(200);
        let rpc = &mut config.tls.internal_rpc;
        *rpc = TlsProtocol { cert_file: None, key_file: None, ..rpc.clone() };
    })
}

fn signing_servers(ca: &Ca, server: &TestServer) -> (SigningServers, Arc<Connections>) {
    let rpc = Arc::new(InternalRpc::load(&client_config(ca)).unwrap());
    let connections = Arc::new(Connections::new(rpc));
    let servers = Arc::new(Servers::default());
    servers.replace(server.known());
    (SigningServers::new(connections.clone(), servers), connections)
}

async fn call(running: &Running, method: Method, uri: &str, body: &'static [u8]) -> api::Response {
    let head = http::Request::builder().method(method).uri(uri).body(()).unwrap();
    let (head, ()) = head.into_parts();
    let request = Request::new(head, Bytes::from_static(body), Peer::Unix).unwrap();
    api::answer(running.agent(), request).await
}

#[tokio::test]
async fn a_client_agent_with_only_ca_file_gets_a_certificate_and_is_heard() {
    let ca = Ca::new();
    let server = TestServer::start(&ca, hands_out).await;
    let client = Running::start(client_config(&ca)).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // The task that follows gossip may still replace the list with an empty one.
        client.agent().forwarder.servers().replace(server.known());
        let answer = call(&client, Method::PUT, "/v1/kv/a", b"value").await;
        if answer.status == StatusCode::OK {
            break;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
    }
    assert!(!client.agent().tls.rpc.awaits_certificate());
    let answer = call(&client, Method::GET, "/v1/kv/a?raw", b"").await;
    assert_eq!(&answer.body[..], b"value");
    client.shutdown().await;
    server.stop().await;
}

#[tokio::test]
async fn servers_without_allow_tls_refuse_and_say_why() {
    let ca = Ca::new();
    for verify_incoming in [true, false] {
        let edit = |config: &mut RuntimeConfig| {
            config.tls.internal_rpc.verify_incoming = verify_incoming;
        };
        let server = TestServer::start(&ca, edit).await;
        let (signing, _) = signing_servers(&ca, &server);
        let refused = signing.sign(request("client-one", &[])).await.unwrap_err();
        let is_clear = matches!(&refused, SignError::CertificateRequired(_)) == verify_incoming;
        assert!(is_clear && refused.to_string().contains("auto_encrypt.allow_tls"), "{refused}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_server_signs_for_its_own_datacenter_and_reasonable_names_only() {
    let ca = Ca::new();
    let server = TestServer::start(&ca, hands_out).await;
    let (signing, connections) = signing_servers(&ca, &server);
    let signed = signing.sign(request("client-one", &["localhost"])).await.unwrap();
    assert!(!signed.chain.is_empty());
    for wrong in [request("client/one", &[]), request("client-one", &["server.dc1.consul"])] {
        let refused = signing.sign(wrong).await.unwrap_err();
        assert!(matches!(refused, SignError::Refused { .. }), "{refused}");
    }
    let connection = connections.connect_anonymous(server.address, "dc1").await.unwrap();
    let mut client = v1::auto_encrypt_client::AutoEncryptClient::new(connection);
    let elsewhere = v1::SignRequest {
        csr: key_and_csr().1.into(),
        datacenter: "dc2".to_owned(),
        node: "client-one".to_owned(),
        ..v1::SignRequest::default()
    };
    let refused = client.sign(elsewhere).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test]
async fn an_agent_without_a_certificate_may_call_nothing_else() {
    let ca = Ca::new();
    let server = TestServer::start(&ca, hands_out).await;
    let (_, connections) = signing_servers(&ca, &server);
    let connection = connections.connect_anonymous(server.address, "dc1").await.unwrap();
    let request = v1::HttpRequest {
        protocol_version: PROTOCOL_VERSION,
        method: "GET".to_owned(),
        uri: "/v1/kv/a".to_owned(),
        ..v1::HttpRequest::default()
    };
    let mut forward = ForwardClient::new(connection.clone());
    let refused = [
        forward.http(request).await.unwrap_err(),
        forward.dns(v1::DnsRequest::default()).await.unwrap_err(),
        forward.watch(v1::WatchRequest::default()).await.unwrap_err(),
        PeerClient::new(connection.clone())
            .standing(v1::StandingRequest::default())
            .await
            .unwrap_err(),
        RaftClient::new(connection.clone()).vote(v1::VoteRequest::default()).await.unwrap_err(),
        lictor_api::mesh::v1::mesh_client::MeshClient::new(connection)
            .sign(lictor_api::mesh::v1::SignRequest::default())
            .await
            .unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert_eq!(status.message(), "a certificate is required");
    }
    let shared = connections.connect(server.address, "dc1").await.unwrap_err();
    assert!(shared.to_string().contains("no certificate"), "nothing else is opened: {shared}");
    server.stop().await;
}
