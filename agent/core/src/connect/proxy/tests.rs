use lictor_api::{
    mesh::v1::UpstreamRequest,
    types::{
        catalog::{RegisterRequest, ServiceKind},
        connect::{BuiltinCaConfig, CaRoot},
        health::HealthCheck,
        intention::{IntentionAction, SourceIntention},
    },
};

use super::*;
use crate::{
    fsm::{self, CaCommand, Command, IntentionCommand},
    state::{certificate_authority::PrivateKeyPem, watch::Touched},
};

const SETTINGS: Settings<'_> = Settings { datacenter: "dc1", default_allow: true, upstreams: &[] };

fn apply(state: &mut State, command: Command) {
    let index = state.index + 1;
    fsm::apply(state, index, command, &mut Touched::default());
}

fn proxy_of(service: &str, port: u16) -> NodeService {
    let mut proxy = NodeService {
        kind: ServiceKind::ConnectProxy,
        id: format!("{service}-sidecar-proxy").as_str().into(),
        service: format!("{service}-sidecar-proxy").as_str().into(),
        port,
        ..NodeService::default()
    };
    proxy.proxy.destination_service_name = service.to_owned();
    proxy.proxy.local_service_port = 8080;
    proxy
}

fn register(state: &mut State, node: &str, service: NodeService, status: CheckStatus) {
    let check = HealthCheck {
        name: format!("check of {}", service.id),
        service_id: service.id.clone(),
        status,
        ..HealthCheck::default()
    };
    apply(
        state,
        Command::Register(Box::new(RegisterRequest {
            node: node.into(),
            address: "10.0.0.1".to_owned(),
            datacenter: "dc1".to_owned(),
            service: Some(service),
            check: Some(check),
            ..RegisterRequest::default()
        })),
    );
}

fn mesh() -> State {
    let mut state = State::default();
    let config = BuiltinCaConfig::default();
    let certified = rcgen::generate_simple_self_signed(["root".to_owned()]).unwrap();
    let root = CaRoot { root_cert: certified.cert.pem(), ..CaRoot::default() };
    apply(
        &mut state,
        Command::Ca(Box::new(CaCommand::Initialize {
            cluster_id: "11111111-2222".to_owned(),
            config,
            root,
            signing_key: PrivateKeyPem::new(certified.signing_key.serialize_pem()),
        })),
    );
    state
}

fn compile(state: &State, proxy: &NodeService) -> ProxySnapshot {
    snapshot(state, &mut WatchSet::default(), Subject::Proxy(proxy), SETTINGS).unwrap()
}

fn web() -> NodeService {
    let mut web = proxy_of("web", 21000);
    web.proxy.upstreams = vec![RegisteredUpstream {
        destination_name: "db".to_owned(),
        local_bind_port: 5000,
        ..RegisteredUpstream::default()
    }];
    web
}

#[test]
fn a_proxy_learns_its_listener_application_and_upstreams() {
    let mut state = mesh();
    register(&mut state, "n1", proxy_of("db", 21001), CheckStatus::Passing);
    let compiled = compile(&state, &web());
    assert_eq!(
        compiled.proxy,
        Proxy {
            service: "web".to_owned(),
            proxy_id: "web-sidecar-proxy".to_owned(),
            bind_address: "0.0.0.0".to_owned(),
            bind_port: 21000,
            local_address: "127.0.0.1".to_owned(),
            local_port: 8080,
            local_connect_timeout_ms: 1_000,
            handshake_timeout_ms: 10_000,
        }
    );
    let upstream = &compiled.upstreams["db:127.0.0.1:5000"];
    assert_eq!(
        upstream.endpoints,
        [Endpoint {
            address: "10.0.0.1".to_owned(),
            port: 21001,
            spiffe_id: "spiffe://11111111-2222.consul/ns/default/dc/dc1/svc/db".to_owned(),
            node: "n1".to_owned(),
            weight: 1,
        }]
    );
    assert_eq!(compiled.roots.roots_der.len(), 1);
    assert_eq!(compiled.roots.trust_domain, "11111111-2222.consul");
}

#[test]
fn opaque_settings_override_the_registration() {
    let mut web = web();
    web.address = "192.0.2.1".to_owned();
    let mut config = BTreeMap::new();
    for (key, value) in [
        ("bind_address", serde_json::json!("127.0.0.2")),
        ("bind_port", serde_json::json!("20000")),
        ("local_service_address", serde_json::json!("127.0.0.3:9090")),
        ("local_connect_timeout_ms", serde_json::json!(250.0)),
        ("handshake_timeout_ms", serde_json::json!(500)),
    ] {
        config.insert(key.to_owned(), value);
    }
    web.proxy.config = config;
    web.proxy.upstreams[0].config.insert("connect_timeout_ms".to_owned(), serde_json::json!(1500));
    let compiled = compile(&mesh(), &web);
    assert_eq!(
        compiled.proxy,
        Proxy {
            service: "web".to_owned(),
            proxy_id: "web-sidecar-proxy".to_owned(),
            bind_address: "127.0.0.2".to_owned(),
            bind_port: 20000,
            local_address: "127.0.0.3".to_owned(),
            local_port: 9090,
            local_connect_timeout_ms: 250,
            handshake_timeout_ms: 500,
        }
    );
    assert_eq!(compiled.upstreams["db:127.0.0.1:5000"].connect_timeout_ms, 1500);
}

#[test]
fn a_critical_instance_is_no_endpoint_and_a_warning_one_is() {
    let mut state = mesh();
    register(&mut state, "n1", proxy_of("db", 21001), CheckStatus::Critical);
    register(&mut state, "n2", proxy_of("db", 21002), CheckStatus::Warning);
    let compiled = compile(&state, &web());
    let ports: Vec<u32> = compiled.upstreams["db:127.0.0.1:5000"]
        .endpoints
        .iter()
        .map(|endpoint| endpoint.port)
        .collect();
    assert_eq!(ports, [21002]);
}

#[test]
fn a_delta_holds_only_what_changed() {
    let mut state = mesh();
    register(&mut state, "n1", proxy_of("db", 21001), CheckStatus::Passing);
    let before = compile(&state, &web());
    let first = diff(None, &before, 3);
    assert!(first.snapshot && first.roots.is_some() && first.upstreams.len() == 1);

    apply(
        &mut state,
        Command::Intention(Box::new(IntentionCommand::Upsert {
            destination: "web".to_owned(),
            source: SourceIntention {
                name: "*".to_owned(),
                action: Some(IntentionAction::Deny),
                ..SourceIntention::default()
            },
        })),
    );
    let denied = compile(&state, &web());
    let list = vec![Intention { source: "*".to_owned(), allow: false, precedence: 8 }];
    assert_eq!(
        diff(Some(&before), &denied, 4),
        WatchResponse {
            index: 4,
            intentions: Some(Intentions { default_allow: true, list }),
            ..WatchResponse::default()
        }
    );

    let mut without = web();
    without.proxy.upstreams.clear();
    let delta = diff(Some(&denied), &compile(&state, &without), 5);
    assert_eq!(delta.removed_upstreams, ["db:127.0.0.1:5000"]);
    assert!(delta.upstreams.is_empty() && delta.proxy.is_none() && !delta.snapshot);
}

#[test]
fn a_service_by_name_has_the_upstreams_it_was_told_of() {
    let told = [UpstreamRequest {
        service: "socat".to_owned(),
        bind_port: 9191,
        ..UpstreamRequest::default()
    }];
    let settings = Settings { upstreams: &told, ..SETTINGS };
    let mut state = mesh();
    register(&mut state, "n1", proxy_of("socat", 21000), CheckStatus::Passing);
    let compiled =
        snapshot(&state, &mut WatchSet::default(), Subject::Service("web2"), settings).unwrap();
    assert_eq!(compiled.proxy, Proxy { service: "web2".to_owned(), ..Proxy::default() });
    assert_eq!(compiled.upstreams["socat:127.0.0.1:9191"].endpoints.len(), 1);
}

#[test]
fn a_pod_listens_on_all_its_addresses() {
    let mut proxy = proxy_of("web", 20000);
    proxy.address = "10.1.2.3".to_owned();
    assert_eq!(compile(&mesh(), &proxy).proxy.bind_address, "10.1.2.3");
    proxy.meta.insert(META_POD_UID.to_owned(), "u".to_owned());
    assert_eq!(compile(&mesh(), &proxy).proxy.bind_address, "0.0.0.0");
}
