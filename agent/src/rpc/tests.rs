//! The mesh service over real sockets: an agent in memory, a listener on port 0, a tonic channel.

use std::{net::SocketAddr, time::Duration};

use lictor_api::{
    mesh::v1::{
        SignRequest, UpstreamRequest, WatchRequest, WatchResponse, mesh_client::MeshClient,
        watch_request::Subject,
    },
    types::intention::{IntentionAction, SourceIntention},
    wire,
};
use lictor_config::{Source, runtime::Listen};
use lictor_core::fsm::{Command, IntentionCommand};
use rcgen::{CertificateParams, KeyPair};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tonic::{Code, Streaming, transport::Channel};

use super::*;
use crate::{
    app::Running,
    http::server::{Listener, serve},
    kubernetes::{Identity, Pod},
    local::registration,
};

struct TestAgent {
    running: Running,
    client: MeshClient<Channel>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl TestAgent {
    async fn start() -> Self {
        let source = Source { node_name: Some("agent-one".into()), ..Source::default() };
        let mut config = lictor_config::build(source, true, Vec::new()).unwrap();
        config.listen = Listen::default();
        config.server_port = 0;
        (config.serf_lan_port, config.serf_wan_port) = (0, 0);
        let running = Running::start(config).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let agent = running.agent().clone();
        let routes = service(agent.clone(), shutdown.clone());
        let serving = tokio::spawn(serve(
            agent,
            vec![Listener::Tcp(listener)],
            Some(routes),
            lictor_runtime::Tasks::until(shutdown.clone()),
        ));
        let client = MeshClient::connect(format!("http://{address}")).await.unwrap();
        Self { running, client, shutdown, serving }
    }

    async fn stop(self) {
        drop(self.client);
        self.shutdown.cancel();
        self.serving.await.unwrap();
        self.running.shutdown().await;
    }

    fn register(&self, json: &str) {
        let definition = wire::from_slice(json.as_bytes()).unwrap();
        let local = &self.running.agent().local;
        local.register_service(definition, registration::Source::Http, false).unwrap();
    }

    /// `web` with a sidecar on 21000 whose checks pass, and an upstream to `db` on 5000.
    fn register_web(&self) {
        self.register(
            r#"{"Name":"web","Port":8080,"Connect":{"SidecarService":{"Port":21000,
                "Check":{"TTL":"1h","Status":"passing"},
                "Proxy":{"Upstreams":[{"DestinationName":"db","LocalBindPort":5000}]}}}}"#,
        );
    }

    /// The proxy of `db` on another node, with this check status.
    async fn register_db(&self, status: &str) {
        let json = format!(
            r#"{{"Node":"other","Address":"10.0.0.2",
                "Service":{{"Kind":"connect-proxy","ID":"db-proxy","Service":"db-proxy",
                            "Port":20000,"Proxy":{{"DestinationServiceName":"db"}}}},
                "Check":{{"CheckID":"c","Name":"c","ServiceID":"db-proxy","Status":"{status}"}}}}"#
        );
        let request = wire::from_slice(json.as_bytes()).unwrap();
        self.running
            .agent()
            .server()
            .unwrap()
            .propose(Command::Register(Box::new(request)))
            .await
            .unwrap();
    }

    async fn watch(&self, subject: Subject) -> Result<Streaming<WatchResponse>, tonic::Status> {
        let upstreams = match &subject {
            Subject::Service(_) => vec![UpstreamRequest {
                service: "db".to_owned(),
                bind_port: 9191,
                ..UpstreamRequest::default()
            }],
            _ => Vec::new(),
        };
        let request = WatchRequest {
            protocol_version: 1,
            subject: Some(subject),
            upstreams,
            node: String::new(),
        };
        Ok(self.client.clone().watch(request).await?.into_inner())
    }
}

async fn next(stream: &mut Streaming<WatchResponse>) -> WatchResponse {
    timeout(Duration::from_secs(10), stream.message())
        .await
        .expect("a message in time")
        .unwrap()
        .expect("the stream goes on")
}

#[tokio::test]
async fn a_sidecar_gets_a_snapshot_and_then_what_changed() {
    let agent = TestAgent::start().await;
    agent.register_web();
    agent.register_db("passing").await;
    let mut stream = agent.watch(Subject::SidecarFor("web".to_owned())).await.unwrap();

    let first = next(&mut stream).await;
    assert!(first.snapshot);
    let proxy = first.proxy.unwrap();
    assert_eq!((proxy.service.as_str(), proxy.bind_port, proxy.local_port), ("web", 21000, 8080));
    assert_eq!(first.roots.unwrap().roots_der.len(), 1);
    assert!(first.intentions.unwrap().default_allow);
    assert_eq!(first.upstreams[0].id, "db:127.0.0.1:5000");
    assert_eq!(first.upstreams[0].endpoints[0].address, "10.0.0.2");

    agent.register_db("critical").await;
    let delta = next(&mut stream).await;
    assert!(!delta.snapshot && delta.proxy.is_none() && delta.intentions.is_none());
    assert!(delta.upstreams[0].endpoints.is_empty());
    assert!(delta.index > first.index);

    let command = IntentionCommand::Upsert {
        destination: "web".to_owned(),
        source: SourceIntention {
            name: "api".to_owned(),
            action: Some(IntentionAction::Deny),
            ..SourceIntention::default()
        },
    };
    let server = agent.running.agent().server().unwrap();
    server.propose(Command::Intention(Box::new(command))).await.unwrap();
    let delta = next(&mut stream).await;
    let intentions = delta.intentions.unwrap().list;
    assert_eq!((intentions[0].source.as_str(), intentions[0].allow), ("api", false));
    assert!(delta.upstreams.is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn a_changed_registration_reaches_its_sidecar() {
    let agent = TestAgent::start().await;
    agent.register_web();
    let mut stream = agent.watch(Subject::ProxyId("web-sidecar-proxy".to_owned())).await.unwrap();
    assert!(next(&mut stream).await.snapshot);
    agent.register(r#"{"Name":"web","Port":9090,"Connect":{"SidecarService":{"Port":21000}}}"#);
    let delta = next(&mut stream).await;
    assert_eq!(delta.proxy.unwrap().local_port, 9090);
    assert_eq!(delta.removed_upstreams, ["db:127.0.0.1:5000"]);
    agent.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_the_server_stops() {
    let agent = TestAgent::start().await;
    let mut stream = agent.watch(Subject::Service("web2".to_owned())).await.unwrap();
    let first = next(&mut stream).await;
    assert_eq!(first.proxy.unwrap().bind_port, 0);
    assert_eq!(first.upstreams[0].id, "db:127.0.0.1:9191");
    agent.stop().await;
    let ended = timeout(Duration::from_secs(10), stream.message()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn unknown_and_ambiguous_sidecars_are_named() {
    let agent = TestAgent::start().await;
    let error = agent.watch(Subject::SidecarFor("web".to_owned())).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::NotFound, "No sidecar proxy registered for web")
    );
    agent.register_web();
    agent.register(
        r#"{"Kind":"connect-proxy","ID":"second","Name":"second","Port":21001,
            "Proxy":{"DestinationServiceName":"web","DestinationServiceID":"web"}}"#,
    );
    let error = agent.watch(Subject::SidecarFor("web".to_owned())).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let text = "More than one sidecar proxy registered for web.";
    assert!(error.message().starts_with(text), "{}", error.message());
    assert!(error.message().contains("second, web-sidecar-proxy"), "{}", error.message());
    let error = agent.watch(Subject::ProxyId("web".to_owned())).await.unwrap_err();
    assert_eq!(error.message(), "service web is not a proxy");
    let error = agent.watch(Subject::Service("a/b".to_owned())).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    agent.stop().await;
}

#[tokio::test]
async fn a_request_is_signed_in_the_name_asked_for() {
    let agent = TestAgent::start().await;
    let csr =
        CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
    let request =
        SignRequest { protocol_version: 1, csr_der: csr.der().to_vec(), service: "web".to_owned() };
    let signed = agent.client.clone().sign(request.clone()).await.unwrap().into_inner();
    assert_eq!(signed.service, "web");
    assert!(signed.spiffe_id.ends_with("/ns/default/dc/dc1/svc/web"), "{}", signed.spiffe_id);
    assert_eq!(signed.chain_der.len(), 1);
    assert_eq!(signed.roots.unwrap().roots_der.len(), 1);
    let bad = SignRequest { csr_der: b"no".to_vec(), ..request };
    let error = agent.client.clone().sign(bad).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    agent.stop().await;
}

fn pod() -> identity::Requester {
    let pod = Pod { name: "web-0".to_owned(), uid: "u-1".to_owned() };
    identity::Requester::Pod {
        identity: Identity {
            namespace: "shop".to_owned(),
            service_account: "web-account".to_owned(),
            pod: Some(pod.clone()),
        },
        pod,
    }
}

#[tokio::test]
async fn a_pod_gets_the_name_it_is_registered_under() {
    let agent = TestAgent::start().await;
    let shared = agent.running.agent();
    for (kind, id, service) in [("", "web-0-web", "web"), ("connect-proxy", "p", "web-proxy")] {
        let json = format!(
            r#"{{"Node":"n1-virtual","Address":"10.0.0.1",
                "Service":{{"Kind":"{kind}","ID":"{id}","Service":"{service}","Port":20000,
                    "Meta":{{"pod-uid":"u-1"}},"Proxy":{{"DestinationServiceName":"web"}}}}}}"#
        );
        let request = wire::from_slice(json.as_bytes()).unwrap();
        shared.server().unwrap().propose(Command::Register(Box::new(request))).await.unwrap();
    }
    // Whatever it asks for.
    let service = identity::service_of(shared, &pod(), "payments").await.unwrap();
    assert_eq!(service, "web");
    let asked = Some(Subject::Service("payments".to_owned()));
    let target = subject::find(shared, &pod(), asked, "").await.unwrap();
    assert_eq!(target.subject().service(), "web");
    assert!(matches!(target, subject::Target::Proxy { .. }));
    agent.stop().await;
}

#[test]
fn a_pod_without_registration_gets_its_service_accounts_name_or_nothing() {
    let identity::Requester::Pod { identity: owner, pod } = pod() else { unreachable!() };
    let granted = identity::unregistered(&owner, &pod, "web-account").unwrap();
    assert_eq!(granted, "web-account");
    let error = identity::unregistered(&owner, &pod, "payments").unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::Unavailable, "pod shop/web-0 is not registered yet")
    );
}
